"""Any combination of options and sizes: outputs against the oracle, shapes and slopes of the gradients."""

import numpy as np
import reference
from cases import CELLS, draw, draw_states, join, make, split
from hypothesis import given, settings
from hypothesis import strategies as st

# The oracle sums in another order. Float32: 1.2e-7 a rounding, of which a step makes some and two layers more.
TOLERANCE = {"float32": {"rtol": 1e-5, "atol": 1e-5}, "float64": {"rtol": 1e-11, "atol": 1e-12}}

# As in test_gradients.py, of a sum over at most some thousand entries.
STEP, SLOPE = 1e-5, {"rtol": 1e-6, "atol": 1e-7}

# The same examples in every run, and time for the first one to compile its kernels.
REPRODUCIBLE = {"deadline": None, "derandomize": True, "database": None}


@st.composite
def problems(draw_one, dtypes=("float32", "float64"), cells=tuple(CELLS)):
    """A cell, its layer, the sizes of a batch, and lengths or None."""
    cell = draw_one(st.sampled_from(cells))
    options = {
        "dtype": draw_one(st.sampled_from(dtypes)),
        "num_layers": draw_one(st.integers(1, 2)),
        "bidirectional": draw_one(st.booleans()),
        "bias": draw_one(st.sampled_from([True, False, "single"])),
        "batch_first": draw_one(st.booleans()),
        "seed": draw_one(st.integers(0, 1000)),
    }
    B, T = draw_one(st.integers(0, 5)), draw_one(st.integers(0, 5))
    lengths = draw_one(st.none() | st.lists(st.integers(0, T), min_size=B, max_size=B))
    layer = make(cell, draw_one(st.integers(1, 5)), draw_one(st.integers(1, 20)), **options)
    if lengths is not None:
        lengths = np.array(lengths, np.int64)
    return cell, layer, B, T, lengths


@given(problems())
@settings(max_examples=150, **REPRODUCIBLE)
def test_forward_is_the_oracle(problem):
    cell, layer, B, T, lengths = problem
    x, start = draw(np.random.default_rng(layer.seed), layer, B, T)
    y, end = layer(x, join(start), lengths=lengths)
    expected_y, expected_end = reference.forward(
        cell, layer.params, x if layer.batch_first else x.swapaxes(0, 1), start, lengths,
        num_layers=layer.num_layers, directions=1 + layer.bidirectional,
    )  # fmt: skip
    tolerance = TOLERANCE[layer.dtype.name]
    np.testing.assert_allclose(y if layer.batch_first else y.swapaxes(0, 1), expected_y, **tolerance)
    assert y.dtype == layer.dtype
    for part, expected in zip(split(end), expected_end, strict=True):
        np.testing.assert_allclose(part, expected, **tolerance)
        assert part.dtype == layer.dtype


@given(problems())
@settings(max_examples=100, **REPRODUCIBLE)
def test_gradients_have_the_shapes_of_what_they_belong_to(problem):
    _, layer, B, T, lengths = problem
    rng = np.random.default_rng(layer.seed)
    x, start = draw(rng, layer, B, T)
    y, _, tape = layer.forward(x, join(start), lengths=lengths)
    gradients = layer.backward(tape, np.ones_like(y), join(draw_states(rng, layer, B)))
    expected = [x, *start, layer.params.flat, *layer.params.values()]
    found = [gradients.x, *split(gradients.state), gradients.params.flat, *gradients.params.values()]
    assert list(gradients.params) == list(layer.params)
    for gradient, array in zip(found, expected, strict=True):
        assert gradient.shape == array.shape
        assert gradient.dtype == layer.dtype
        assert np.isfinite(gradient).all()


# Not relu, at whose kinks a difference is no slope.
SMOOTH = tuple(cell for cell in CELLS if cell != "rnn_relu")


@given(problems(dtypes=("float64",), cells=SMOOTH))
@settings(max_examples=100, **REPRODUCIBLE)
def test_slope_along_a_random_direction(problem):
    _, layer, B, T, lengths = problem
    rng = np.random.default_rng(layer.seed)
    x, start = draw(rng, layer, B, T)
    y, _, tape = layer.forward(x, join(start), lengths=lengths)
    dy, d_end = rng.standard_normal(y.shape), draw_states(rng, layer, B)
    gradients = layer.backward(tape, dy, join(d_end))
    slopes = [gradients.x, *split(gradients.state), gradients.params.flat]

    origin = [x, *start, layer.params.flat]
    direction = [rng.standard_normal(array.shape) for array in origin]
    sides = []
    for step in (STEP, -STEP):
        x_moved, *start_moved, flat = (o + step * d for o, d in zip(origin, direction, strict=True))
        layer.params.flat = flat
        y, end = layer(x_moved, join(start_moved), lengths=lengths)
        sides.append(np.sum(y * dy) + sum(np.sum(e * d) for e, d in zip(split(end), d_end, strict=True)))
    expected = sum(np.sum(slope * d) for slope, d in zip(slopes, direction, strict=True))
    np.testing.assert_allclose((sides[0] - sides[1]) / (2 * STEP), expected, **SLOPE)
