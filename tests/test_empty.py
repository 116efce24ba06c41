"""Nothing to do is done right: no sequences, no steps, no valid steps."""

import numpy as np
import pytest

import fastgate as fg

I, H, L = 3, 4, 2
CELLS = {
    "LSTM": fg.LSTM,
    "GRU": fg.GRU,
    "GRU reset before": lambda *sizes, **options: fg.GRU(*sizes, reset_after=False, **options),
    "RNN": fg.RNN,
    "RNN relu": lambda *sizes, **options: fg.RNN(*sizes, nonlinearity="relu", **options),
}
cells = pytest.mark.parametrize("make", CELLS.values(), ids=CELLS.keys())
CASES = {
    "no sequences": (0, 5, None),
    "no steps": (3, 0, None),
    "neither": (0, 0, None),
    "no sequences with lengths": (0, 5, []),
    "no steps with lengths": (2, 0, [0, 0]),
    "all lengths zero": (3, 5, [0, 0, 0]),
}
cases = pytest.mark.parametrize(("B", "T", "lengths"), CASES.values(), ids=CASES.keys())


def states(layer, *middle, seed):
    """As the layer has it: one array, or a pair."""
    rng = np.random.default_rng(seed)
    shape = (L * (1 + layer.bidirectional), *middle, H)
    parts = tuple(rng.standard_normal(shape).astype(layer.dtype) for _ in range(2))
    return parts if isinstance(layer, fg.LSTM) else parts[0]


def same_states(ours, theirs):
    ours, theirs = (s if isinstance(s, tuple) else (s,) for s in (ours, theirs))
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


@cells
@cases
@pytest.mark.parametrize("batch_first", [True, False], ids=["batch first", "time first"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "both ways"])
def test_empty_batches(make, B, T, lengths, batch_first, bidirectional):
    layer = make(I, H, L, batch_first=batch_first, bidirectional=bidirectional, dropout=0.5, seed=0)
    D = 1 + bidirectional
    outer = (B, T) if batch_first else (T, B)
    x = np.full((*outer, I), np.nan)  # nothing of it is valid, so nothing of it may be read
    start, dstate = states(layer, B, seed=1), states(layer, B, seed=2)

    y, end = layer(x, start, lengths=lengths)
    assert same_states(end, start)
    y_kept, end, tape = layer.forward(x, start, lengths=lengths, rng_key=0)
    assert same_states(end, start)
    for output in (y, y_kept):
        assert output.shape == (*outer, D * H)
        assert output.dtype == np.float32
        assert not output.any()
    assert tape.nbytes >= 0

    for dy in (None, np.full(y.shape, np.nan)):
        gradients = layer.backward(tape, dy, dstate)
        assert same_states(gradients.state, dstate)
        assert gradients.x.shape == x.shape
        assert gradients.x.dtype == gradients.params.flat.dtype == np.float32
        assert not gradients.x.any()
        assert not gradients.params.flat.any()
        assert {n: a.shape for n, a in gradients.params.items()} == {n: a.shape for n, a in layer.params.items()}


@cells
def test_unbatched_without_steps(make):
    layer = make(I, H, L, seed=0)
    start, dstate = states(layer, seed=1), states(layer, seed=2)
    y, end, tape = layer.forward(np.zeros((0, I)), start)
    assert y.shape == (0, H)
    assert same_states(end, start)
    gradients = layer.backward(tape, y, dstate)
    assert gradients.x.shape == (0, I)
    assert same_states(gradients.state, dstate)
    assert not gradients.params.flat.any()


@cells
def test_step_of_no_sequences(make):
    layer = make(I, H, L, seed=0)
    for start in (None, states(layer, 0, seed=1)):
        y, end = layer.step(np.zeros((0, I)), start)
        assert y.shape == (0, H)
        assert y.dtype == np.float32
        assert same_states(end, states(layer, 0, seed=1))


def test_dtype_of_nothing():
    layer = fg.LSTM(I, H, L, seed=0, dtype="float64")
    y, end, tape = layer.forward(np.zeros((0, 2, I), np.float32))
    gradients = layer.backward(tape, y)
    arrays = [y, *end, gradients.x, *gradients.state, gradients.params.flat, layer.step(np.zeros((0, I)))[0]]
    assert {array.dtype for array in arrays} == {np.dtype(np.float64)}


def test_an_empty_list_of_no_sequences_needs_its_shape():
    with pytest.raises(ValueError, match=r"^x: expected shape \(batch, time, 3\)"):
        fg.LSTM(I, H)([])


@pytest.mark.parametrize("empty_rows", [[0], [2], [0, 2], [1]], ids=str)
def test_a_sequence_without_steps_beside_others(empty_rows):
    layer = fg.GRU(I, H, L, bidirectional=True, seed=0)
    x = np.random.default_rng(0).standard_normal((3, 4, I))
    lengths = np.array([4, 3, 2])
    lengths[empty_rows] = 0
    start = states(layer, 3, seed=1)
    y, end = layer(x, start, lengths=lengths)
    assert not y[empty_rows].any()
    assert np.array_equal(end[:, empty_rows], start[:, empty_rows])
    others = [n for n in range(3) if n not in empty_rows]
    y_others, end_others = layer(x[others], start[:, others], lengths=lengths[others])
    assert np.array_equal(y[others], y_others)
    assert np.array_equal(end[:, others], end_others)
