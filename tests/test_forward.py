"""Outputs and final states of every option against the oracle."""

import numpy as np
import pytest
import reference
from cases import CELLS, draw, in_double, join, make, split

from fastgate.kernels.cpu import direction

# Both sides do the same few hundred operations on numbers of size one, in another order: some 1e-15.
FLOAT64 = {"rtol": 1e-12, "atol": 1e-12}
# Units of float32's rounding (1.2e-7). An activation is good to a few, and the recurrence is no amplifier at this size.
UNITS = 16 * np.finfo(np.float32).eps

RAGGED = [3, 0, 5, 1, 5]
OPTIONS = {
    "plain": {},
    "two_layers": {"num_layers": 2},
    "three_layers": {"num_layers": 3},
    "bidirectional": {"bidirectional": True},
    "two_layers_bidirectional": {"num_layers": 2, "bidirectional": True},
    "time_first": {"batch_first": False},
    "no_bias": {"bias": False},
    "single_bias": {"bias": "single"},
    "all_at_once": {"num_layers": 2, "bidirectional": True, "batch_first": False, "bias": "single"},
}
LENGTHS = {
    "full": None,
    "ragged": RAGGED,
    "equal": [3] * 5,
    "all_zero": [0] * 5,
    "as_long_as_the_array": [5] * 5,
}

cells = pytest.mark.parametrize("cell", CELLS)
dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


def oracle(cell, layer, x, start, lengths):
    """y and final states by the reference, y in the layer's layout."""
    batch_major = x if layer.batch_first else x.swapaxes(0, 1)
    y, end = reference.forward(
        cell, layer.params, batch_major, start, lengths,
        num_layers=layer.num_layers, directions=1 + layer.bidirectional,
    )  # fmt: skip
    return y if layer.batch_first else y.swapaxes(0, 1), end


def check(cell, layer, options, x, start, lengths, state):
    """float64 against the oracle, float32 against our own float64."""
    y, end = layer(x, state, lengths=lengths)
    assert y.dtype == layer.dtype
    if layer.dtype == np.float64:
        expected_y, expected_end = oracle(cell, layer, x, start, lengths)
        tolerance = FLOAT64
    else:
        twin = in_double(layer, cell, **options)
        expected_y, expected_end = twin(x, None if state is None else join(start), lengths=lengths)
        expected_end = split(expected_end)
        tolerance = {"rtol": UNITS, "atol": UNITS}
    np.testing.assert_allclose(y, expected_y, **tolerance)
    for part, expected in zip(split(end), expected_end, strict=True):
        assert part.dtype == layer.dtype
        np.testing.assert_allclose(part, expected, **tolerance)


@cells
@dtypes
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_options(cell, dtype, options, lengths):
    layer = make(cell, 3, 5, dtype=dtype, **options)
    x, start = draw(np.random.default_rng(1), layer, 5, 5)
    check(cell, layer, options, x, start, lengths, join(start))


@cells
@dtypes
@pytest.mark.parametrize("H", [1, 3, 16, 17])
@pytest.mark.parametrize("I", [1, 5])
def test_sizes(cell, dtype, H, I):
    layer = make(cell, I, H, dtype=dtype)
    for B in (1, 3, 7):  # 7 rows are more than the tallest tile has
        for T in (1, 2, 5):
            x, start = draw(np.random.default_rng(B * 10 + T), layer, B, T)
            check(cell, layer, {}, x, start, None, join(start))


@cells
@dtypes
@pytest.mark.parametrize("lengths", [None, RAGGED], ids=["full", "ragged"])
def test_no_state_is_zero_state(cell, dtype, lengths):
    layer = make(cell, 3, 5, dtype=dtype, num_layers=2)
    x, start = draw(np.random.default_rng(2), layer, 5, 5)
    check(cell, layer, {"num_layers": 2}, x, [np.zeros_like(part) for part in start], lengths, None)


@pytest.mark.parametrize("missing", [0, 1], ids=["h", "c"])
def test_half_a_state_is_zero_in_the_other_half(missing):
    layer = make("lstm", 3, 5)
    x, start = draw(np.random.default_rng(3), layer, 4, 3)
    start[missing][...] = 0
    check("lstm", layer, {}, x, start, None, tuple(None if i == missing else part for i, part in enumerate(start)))


@cells
@dtypes
@pytest.mark.parametrize("batch_first", [True, False])
def test_one_unbatched_sequence_is_a_batch_of_one(cell, dtype, batch_first):
    layer = make(cell, 3, 5, dtype=dtype, num_layers=2, bidirectional=True, batch_first=batch_first)
    x, start = draw(np.random.default_rng(4), layer, 1, 6)
    y, end = layer(x, join(start))
    sequence = x.reshape(6, 3)
    y_alone, end_alone = layer(sequence, join([part[:, 0] for part in start]))
    np.testing.assert_array_equal(y_alone, y.reshape(6, 10))
    for alone, part in zip(split(end_alone), split(end), strict=True):
        np.testing.assert_array_equal(alone, part[:, 0])


@cells
@dtypes
@pytest.mark.parametrize("lengths", [None, [23, 11, 0, 22, 23]], ids=["full", "ragged"])
def test_gates_projected_chunk_by_chunk(monkeypatch, cell, dtype, lengths):
    # Chunks of 24 rows, which whole steps of five rows do not fill, instead of some thousand.
    monkeypatch.setattr(direction, "PROJECTED_BYTES", 1)
    layer = make(cell, 2, 3, dtype=dtype)
    x, start = draw(np.random.default_rng(5), layer, 5, 23)
    check(cell, layer, {}, x, start, lengths, join(start))


@cells
@dtypes
@pytest.mark.parametrize("B", [0, 3])
@pytest.mark.parametrize("T", [0, 4])
def test_empty_batches_and_sequences(cell, dtype, B, T):
    layer = make(cell, 2, 3, dtype=dtype, num_layers=2, bidirectional=True)
    x, start = draw(np.random.default_rng(6), layer, B, T)
    y, end = layer(x, join(start))
    assert y.shape == (B, T, 6)
    for part, before in zip(split(end), start, strict=True):
        assert part.shape == before.shape
        if T == 0:
            np.testing.assert_array_equal(part, before)


@cells
@dtypes
def test_nothing_is_read_beyond_a_length(cell, dtype):
    layer = make(cell, 3, 5, dtype=dtype, num_layers=2, bidirectional=True)
    x, start = draw(np.random.default_rng(7), layer, 5, 5)
    clean = layer(x, join(start), lengths=RAGGED)
    beyond = np.arange(5) >= np.array(RAGGED)[:, None]
    x[beyond] = np.nan
    y, end = layer(x, join(start), lengths=RAGGED)
    np.testing.assert_array_equal(y, clean[0])
    assert (y[beyond] == 0).all()
    for part, expected in zip(split(end), split(clean[1]), strict=True):
        np.testing.assert_array_equal(part, expected)
