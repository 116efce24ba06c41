"""The promise about bits: the same whatever the number of threads, the split of the batch, or the way through time."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cases import CELLS, draw, draw_states, join, make, split

import fastgate as fg
from fastgate.kernels.cpu import sharing

B, T, I = 7, 6, 5
RAGGED = np.array([4, 6, 0, 1, 6, 3, 2])

cells = pytest.mark.parametrize("cell", CELLS)
dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
sizes = pytest.mark.parametrize("H", [5, 70])  # less than a vector; more than one tile of vectors, and a rest
lengths_given = pytest.mark.parametrize("lengths", [None, RAGGED], ids=["full", "ragged"])


@pytest.fixture(params=["sequences", "units"])
def threads(monkeypatch, request):
    """Set the number of threads, and let them share work however small: sequences of a batch, or units of a step."""
    before = fg.get_num_threads()
    monkeypatch.setattr(sharing, "FLOPS_PER_THREAD", 1.0)
    monkeypatch.setattr(sharing, "FLOPS_PER_TURN", 1.0)
    monkeypatch.setattr(sharing, "SEQUENCES_PER_THREAD", {"sequences": 0, "units": B}[request.param])
    yield fg.set_num_threads
    fg.set_num_threads(before)


def same(found, expected):
    assert len(found) == len(expected)
    for i, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        # Not ==, for which 0 and -0 would be one.
        assert ours.tobytes() == theirs.tobytes(), f"array {i}: {np.abs(ours - theirs).max()}"


class Data:
    """x, start, and cotangents of y and of the final states, whose rows can be picked."""

    def __init__(self, x, start, dy, d_end, lengths):
        self.x, self.start, self.dy, self.d_end, self.lengths = x, start, dy, d_end, lengths

    def rows(self, index):
        states = [[part[:, index] for part in parts] for parts in (self.start, self.d_end)]
        lengths = None if self.lengths is None else self.lengths[index]
        return Data(self.x[index], states[0], self.dy[index], states[1], lengths)


def draw_data(layer, lengths=None):
    rng = np.random.default_rng(3)
    x, start = draw(rng, layer, B, T)
    outputs = layer.hidden_size * (1 + layer.bidirectional)
    dy = rng.standard_normal((B, T, outputs)).astype(layer.dtype)
    return Data(x, start, dy, draw_states(rng, layer, B), lengths)


def of_sequences(layer, data):
    """Everything in which each sequence has its own share: y, final states, dx, gradients in the start."""
    y, end, tape = layer.forward(data.x, join(data.start), lengths=data.lengths, rng_key=1)
    gradients = layer.backward(tape, data.dy, join(data.d_end))
    return [y, *split(end), gradients.x, *split(gradients.state)], gradients.params.flat, tape


@cells
@dtypes
@sizes
@lengths_given
def test_any_number_of_threads(threads, cell, dtype, H, lengths):
    layer = make(cell, I, H, dtype=dtype, num_layers=2, bidirectional=True, dropout=0.3)
    data = draw_data(layer, lengths)
    results = []
    for count in (1, 2, 3) if H > 64 or sharing.SEQUENCES_PER_THREAD == 0 else (1,):
        threads(count)
        arrays, params, tape = of_sequences(layer, data)
        assert count in (len(tape.batch.schedule.parts), tape.batch.slices)  # else nothing is tested
        y, end = layer(data.x, join(data.start), lengths=lengths)
        results.append([*arrays, params, y, *split(end)])
    for result in results:
        same(result, results[0])


SPLITS = {
    "one_by_one": [[n] for n in range(B)],
    "halves": [[0, 1, 2, 3], [4, 5, 6]],
    "tail": [[0], [1, 2, 3, 4, 5, 6]],
    "permuted": [[4, 2, 6, 0, 5, 1, 3]],
}


@cells
@dtypes
@sizes
@lengths_given
@pytest.mark.parametrize("parts", SPLITS.values(), ids=SPLITS)
def test_any_split_of_the_batch(cell, dtype, H, lengths, parts):
    layer = make(cell, I, H, dtype=dtype, num_layers=2, bidirectional=True)
    data = draw_data(layer, lengths)
    whole, _, _ = of_sequences(layer, data)
    for part in parts:
        index = np.array(part)
        expected, _, _ = of_sequences(layer, data.rows(index))
        states = 1 if len(data.start) == 1 else 2
        axes = [0, *[1] * states, 0, *[1] * states]
        same([array.take(index, axis) for array, axis in zip(whole, axes, strict=True)], expected)


@cells
@dtypes
def test_a_ragged_row_is_its_own_short_sequence(cell, dtype):
    layer = make(cell, I, 17, dtype=dtype, num_layers=2, bidirectional=True)
    data = draw_data(layer, RAGGED)
    y, end = layer(data.x, join(data.start), lengths=RAGGED)
    for n, steps in enumerate(RAGGED):
        y_n, end_n = layer(data.x[n, :steps], join([part[:, n] for part in data.start]))
        same([y[n, :steps], *[part[:, n] for part in split(end)]], [y_n, *split(end_n)])


@cells
@dtypes
def test_full_lengths_are_no_lengths(cell, dtype):
    layer = make(cell, I, 17, dtype=dtype, num_layers=2, bidirectional=True)
    without, dparams, _ = of_sequences(layer, draw_data(layer))
    given, dparams_given, _ = of_sequences(layer, draw_data(layer, np.full(B, T)))
    same([*given, dparams_given], [*without, dparams])


@cells
@dtypes
def test_either_order_of_batch_and_time(cell, dtype):
    layers = [make(cell, I, 17, dtype=dtype, num_layers=2, dropout=0.4, batch_first=first) for first in (True, False)]
    data = draw_data(layers[0], RAGGED)
    turned = Data(data.x.swapaxes(0, 1), data.start, data.dy.swapaxes(0, 1), data.d_end, RAGGED)
    (y, *rest), params, _ = of_sequences(layers[0], data)
    (y_turned, *rest_turned), params_turned, _ = of_sequences(layers[1], turned)
    at = len(data.start)
    rest_turned[at] = rest_turned[at].swapaxes(0, 1)  # dx
    same([y_turned.swapaxes(0, 1), *rest_turned, params_turned], [y, *rest, params])


@cells
@dtypes
@sizes
@pytest.mark.parametrize("unbatched", [False, True])
def test_stepping_is_the_whole_sequence(cell, dtype, H, unbatched):
    layer = make(cell, I, H, dtype=dtype, num_layers=2)
    data = draw_data(layer)
    x, state = data.x, join(data.start)
    if unbatched:
        x, state = x[:1], join([part[:, 0] for part in data.start])
    y, end = layer(x[0] if unbatched else x, state)
    for t in range(T):
        y_t, state = layer.step(x[0, t] if unbatched else x[:, t], state)
        same([y_t], [y[t] if unbatched else y[:, t]])
    same(split(state), split(end))


@cells
@dtypes
@sizes
@pytest.mark.parametrize("cut", [1, 4])
def test_a_sequence_in_two_parts(cell, dtype, H, cut):
    layer = make(cell, I, H, dtype=dtype, num_layers=2)
    data = draw_data(layer)
    y, end = layer(data.x, join(data.start))
    y_first, state = layer(data.x[:, :cut], join(data.start))
    y_second, state = layer(data.x[:, cut:], state)
    same([np.concatenate([y_first, y_second], axis=1), *split(state)], [y, *split(end)])


@cells
@dtypes
@sizes
@lengths_given
def test_inference_is_forward_without_dropout(cell, dtype, H, lengths):
    layer = make(cell, I, H, dtype=dtype, num_layers=2, bidirectional=True, dropout=0.5)
    data = draw_data(layer, lengths)
    y, end = layer(data.x, join(data.start), lengths=lengths)
    y_kept, end_kept, _ = layer.forward(data.x, join(data.start), lengths=lengths, training=False)
    same([y_kept, *split(end_kept)], [y, *split(end)])


@cells
@dtypes
@lengths_given
def test_twice_is_the_same(cell, dtype, lengths):
    layer = make(cell, I, 17, dtype=dtype, num_layers=2, bidirectional=True, dropout=0.5)
    data = draw_data(layer, lengths)
    first, params, _ = of_sequences(layer, data)
    second, params_again, _ = of_sequences(layer, data)
    same([*second, params_again], [*first, params])


@cells
def test_many_callers_at_once(threads, cell):
    layer = make(cell, I, 17, num_layers=2, bidirectional=True)
    data = draw_data(layer, RAGGED)
    expected, params, _ = of_sequences(layer, data)
    threads(2)
    with ThreadPoolExecutor(4) as callers:
        for arrays, found, _ in callers.map(lambda _: of_sequences(layer, data), range(12)):
            same([*arrays, found], [*expected, params])
