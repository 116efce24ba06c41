"""Long sequences, gates that are shut, large weights, and numbers that are none."""

import numpy as np
import pytest
from cases import CELLS, draw, join, make, split

LONG = 100_000
CHUNK = 1000

GATED = ("lstm", "gru", "gru_reset_before", "gru_reset_carry")

cells = pytest.mark.parametrize("cell", CELLS)
dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


@pytest.mark.parametrize("cell", GATED)
def test_a_long_sequence_is_the_sum_of_its_parts(cell):
    layer = make(cell, 2, 4)
    rng = np.random.default_rng(0)
    x, start = draw(rng, layer, 1, LONG)
    dy = rng.standard_normal((1, LONG, 4))
    y, end, tape = layer.forward(x, join(start))
    whole = layer.backward(tape, dy)
    assert all(np.isfinite(array).all() for array in (y, whole.x, whole.params.flat, *split(whole.state)))

    state, tapes = join(start), []
    for t in range(0, LONG, CHUNK):
        y_part, state, tape = layer.forward(x[:, t : t + CHUNK], state)
        np.testing.assert_array_equal(y_part, y[:, t : t + CHUNK])
        tapes.append(tape)
    for part, expected in zip(split(state), split(end), strict=True):
        np.testing.assert_array_equal(part, expected)

    d_state, params = None, np.zeros_like(whole.params.flat)
    for t in reversed(range(0, LONG, CHUNK)):
        part = layer.backward(tapes[t // CHUNK], dy[:, t : t + CHUNK], d_state)
        d_state, params = part.state, params + part.params.flat
        np.testing.assert_allclose(part.x, whole.x[:, t : t + CHUNK], rtol=1e-11, atol=1e-13)
    for part, expected in zip(split(d_state), split(whole.state), strict=True):
        np.testing.assert_allclose(part, expected, rtol=1e-11, atol=1e-13)
    # A sum of 1e5 terms in another order: half of 1e5 roundings of 1e-16, at the very most.
    np.testing.assert_allclose(params, whole.params.flat, rtol=1e-11, atol=1e-11 * abs(params).max())


@dtypes
@pytest.mark.parametrize("cell", GATED)
def test_a_long_run_in_either_precision(cell, dtype):
    layer = make(cell, 2, 4, dtype=dtype)
    x, start = draw(np.random.default_rng(1), layer, 1, LONG)
    y, _, tape = layer.forward(x, join(start))
    gradients = layer.backward(tape, np.ones_like(y))
    assert abs(y).max() <= 1
    assert np.isfinite(gradients.x).all()
    assert np.isfinite(gradients.params.flat).all()


# Pre-activations from which on sigmoid is exactly 0 and 1: the rounding of tanh, at half of it, to exactly 1.
SHUT = {"float32": 17.0, "float64": 40.0}


def hold(layer, biases):
    """Small random weights that move a pre-activation by less than 2, beside a bias for each gate."""
    layer.params.flat = 0.1 * layer.params.flat
    name = "bias_ih_l0" if "bias_ih_l0" in layer.params else "bias_l0"
    layer.params[name] = np.repeat(biases, layer.hidden_size)


@dtypes
def test_a_held_lstm_cell_does_not_leak(dtype):
    layer = make("lstm", 1, 5, dtype=dtype)
    shut = SHUT[dtype] + 2
    hold(layer, [-shut, shut, 1.0, 0.0])  # nothing in, nothing forgotten, a candidate to keep out
    x, (h, c) = draw(np.random.default_rng(2), layer, 2, LONG)
    _, (_, c_end), tape = layer.forward(x, (h, c))
    np.testing.assert_array_equal(c_end, c)
    dc = np.ones_like(c)
    gradients = layer.backward(tape, dstate=(None, dc))
    np.testing.assert_array_equal(gradients.state[1], dc)
    assert (gradients.x == 0).all()


@dtypes
@pytest.mark.parametrize("cell", ["gru", "gru_reset_before"])
def test_a_held_gru_does_not_leak(cell, dtype):
    layer = make(cell, 1, 5, dtype=dtype)
    hold(layer, [0.0, SHUT[dtype] + 2, 1.0])  # z keeps the state, and n would change it
    x, (h,) = draw(np.random.default_rng(3), layer, 2, LONG)
    y, end, tape = layer.forward(x, h)
    np.testing.assert_array_equal(end, h)
    assert (y == h[0][:, None]).all()
    dh = np.ones_like(h)
    gradients = layer.backward(tape, dstate=dh)
    np.testing.assert_array_equal(gradients.state, dh)
    assert (gradients.x == 0).all()


@dtypes
@pytest.mark.parametrize("cell", [*GATED, "rnn_tanh"])
@pytest.mark.parametrize("scale", [1e2, 1e4])
def test_large_weights(cell, dtype, scale):
    layer = make(cell, 3, 17, dtype=dtype, num_layers=2)
    layer.params.flat = scale * layer.params.flat
    x, start = draw(np.random.default_rng(4), layer, 3, 6)
    y, end, tape = layer.forward(x, join(start))
    gradients = layer.backward(tape, np.ones_like(y))
    assert abs(y).max() <= 1
    for array in (*split(end), gradients.x, *split(gradients.state), gradients.params.flat):
        assert np.isfinite(array).all()


@dtypes
@cells
def test_nan_stays_in_its_row_and_after_its_time(cell, dtype):
    layer = make(cell, 3, 17, dtype=dtype)
    x, start = draw(np.random.default_rng(5), layer, 5, 6)
    row, t = 2, 3
    y_clean, end_clean, tape = layer.forward(x, join(start))
    clean = layer.backward(tape, np.ones_like(y_clean))
    x[row, t, 1] = np.nan
    y, end, tape = layer.forward(x, join(start))
    found = layer.backward(tape, np.ones_like(y))

    assert np.isnan(y[row, t:]).all()
    np.testing.assert_array_equal(y[row, :t], y_clean[row, :t])
    assert np.isnan(found.params["weight_ih_l0"]).any()  # not hidden from whoever looks at the gradients
    others = [n for n in range(5) if n != row]
    np.testing.assert_array_equal(y[others], y_clean[others])
    np.testing.assert_array_equal(found.x[others], clean.x[others])
    for state, state_clean in ((end, end_clean), (found.state, clean.state)):
        for part, part_clean in zip(split(state), split(state_clean), strict=True):
            np.testing.assert_array_equal(part[:, others], part_clean[:, others])
    assert all(np.isnan(part[:, row]).all() for part in split(end))
    if cell != "rnn_relu":  # whose slope is 0 or 1
        assert np.isnan(found.x[row, : t + 1]).all()
        assert all(np.isnan(part[:, row]).all() for part in split(found.state))


@dtypes
@pytest.mark.parametrize("cell", [*GATED, "rnn_tanh"])
@pytest.mark.parametrize("H", [16, 5])  # whole vectors, and units beside padding
def test_infinity_shuts_gates_like_any_large_number(cell, dtype, H):
    layer = make(cell, 3, H, dtype=dtype)
    x, start = draw(np.random.default_rng(6), layer, 3, 6)
    results = []
    for value in (1e30, np.inf):
        x[1, 3, 0] = value
        y, end, tape = layer.forward(x, join(start))
        gradients = layer.backward(tape, np.ones_like(y))
        results.append([y, *split(end), gradients.x, *split(gradients.state)])
    for large, infinite in zip(*results, strict=True):
        assert np.isfinite(large).all()
        np.testing.assert_array_equal(infinite, large)


@dtypes
@cells
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinity_stays_in_its_row(cell, dtype, value):
    layer = make(cell, 3, 17, dtype=dtype, num_layers=2)
    x, start = draw(np.random.default_rng(7), layer, 5, 6)
    row, others = 2, [0, 1, 3, 4]
    y_clean, _, tape = layer.forward(x, join(start))
    clean = layer.backward(tape, np.ones_like(y_clean))
    x[row, 3] = value
    y, _, tape = layer.forward(x, join(start))
    found = layer.backward(tape, np.ones_like(y))
    np.testing.assert_array_equal(y[others], y_clean[others])
    np.testing.assert_array_equal(y[row, :3], y_clean[row, :3])
    np.testing.assert_array_equal(found.x[others], clean.x[others])
