"""The compiled activations: tanh over every float32 there is, the rest densely."""

import numpy as np
import pytest
from kernel_tools import DTYPES, apply_unary, bits, unary

from fastgate.kernels import activations

CHUNK = 1 << 20
INFINITY_BITS = 0x7F800000
# Where x * p, with p = 0.0049 near 0, is denormal and has lost digits that the quotient does not give back.
TINY = np.float32(512) * np.finfo(np.float32).tiny

tanh, sigmoid, relu = unary(activations.tanh), unary(activations.sigmoid), unary(activations.relu)


# ---------------------------------------------------------------------------------------------- float32 tanh, all of it


@pytest.fixture(scope="module")
def every_tanh():
    """The worst over all 2**32 patterns.

    The true value is what costs: it is x itself below 2**-13 and 1 above 10 (nearer than 2**-27), NumPy's in between.
    """
    worst = dict.fromkeys(("absolute", "relative", "tiny", "falls", "largest"), 0.0)
    worst |= dict.fromkeys(("odd", "saturates", "infinity", "nan"), True)
    small, large = int(np.float32(2.0**-13).view(np.uint32)), int(np.float32(10.0).view(np.uint32))
    positive, negative = np.empty((1, CHUNK), np.float32), np.empty((1, CHUNK), np.float32)
    previous = 0
    for start in range(0, 1 << 31, CHUNK):
        x = np.arange(start, start + CHUNK, dtype=np.uint32).view(np.float32)
        tanh(x[None], positive)
        tanh(-x[None], negative)
        y = positive[0]
        if start >= INFINITY_BITS:
            at_infinity = int(start == INFINITY_BITS)
            worst["infinity"] &= not at_infinity or (y[0] == 1 and negative[0, 0] == -1)
            worst["nan"] &= bool(
                np.isnan(positive[0, at_infinity:]).all() and np.isnan(negative[0, at_infinity:]).all()
            )
            continue
        worst["odd"] &= bool((bits(negative) == bits(-positive)).all())
        if start >= large:
            worst["saturates"] &= bool((y == 1).all())
            continue
        steps = bits(y)
        worst["falls"] = max(worst["falls"], previous - int(steps[0]), -int(np.diff(steps).min()))
        worst["largest"] = max(worst["largest"], y.max())
        previous = int(steps[-1])
        exact = x.astype(np.float64)
        if start >= small:
            np.tanh(exact, out=exact)
        error = np.abs(y - exact)
        worst["absolute"] = max(worst["absolute"], error.max())
        tiny = int(np.searchsorted(x, TINY))
        worst["tiny"] = max(worst["tiny"], (error[:tiny] - 4.2e-7 * exact[:tiny]).max(initial=0))
        worst["relative"] = max(worst["relative"], (error[tiny:] / exact[tiny:]).max(initial=0))
    return worst


def test_tanh_float32_error(every_tanh):
    """Found: 2.9e-7 with FMA, 4.1e-7 without (five and seven steps below 1)."""
    assert every_tanh["absolute"] < 4.2e-7
    assert every_tanh["relative"] < 4.2e-7


def test_tanh_float32_of_denormals_and_their_neighbours(every_tanh):
    """Found: 1.44e-43, a hundred denormal steps, beside the relative error of all others."""
    assert every_tanh["tiny"] < 1.5e-43


def test_tanh_float32_falls_by_no_more_than_its_error(every_tanh):
    """Between neighbours it may fall, by 7 units in the last place with FMA and 8 without: the sum of two errors."""
    assert every_tanh["falls"] <= 8


def test_tanh_float32_stays_within_one(every_tanh):
    assert every_tanh["largest"] <= 1


def test_tanh_float32_is_exactly_odd(every_tanh):
    """-0 included."""
    assert every_tanh["odd"]


def test_tanh_float32_saturates_exactly(every_tanh):
    """A gate that is shut must not leak: a cell held by 1 - 2**-23 would lose 1.2 % in 10**5 steps."""
    assert every_tanh["saturates"]
    assert every_tanh["infinity"]


def test_tanh_float32_passes_nan(every_tanh):
    """All 16 million of them."""
    assert every_tanh["nan"]


# --------------------------------------------------------------------------------------------------------- float64 tanh


def dense(limit, count=200_000, seed=0):
    """Both signs, every binary exponent from 2**-1074 to `limit`, and a plain grid."""
    rng = np.random.default_rng(seed)
    spread = 2.0 ** rng.uniform(-1074, np.log2(limit), count)
    near = 2.0 ** rng.uniform(-30, np.log2(limit), count)
    positive = np.concatenate([spread, near, np.linspace(0, limit, count), np.ldexp(1.0, np.arange(-1074, 5))])
    return np.concatenate([positive, -positive])


@pytest.mark.skipif(np.finfo(np.longdouble).nmant <= 52, reason="no number type wider than float64 to compare with")
def test_tanh_float64_error():
    """Found: 2.43 units in the last place, near 0.2; 1.6e-16 absolute."""
    x = dense(40.0)
    y = apply_unary(tanh, x)
    exact = np.tanh(x.astype(np.longdouble))
    error = np.abs(y - exact) / np.spacing(np.abs(exact).astype(np.float64))
    assert error.max() < 3
    assert np.abs(y).max() <= 1


def test_tanh_float64_is_exactly_odd_and_keeps_the_sign_of_zero():
    x = np.append(dense(40.0), [0.0, np.inf])
    np.testing.assert_array_equal(bits(apply_unary(tanh, -x)), bits(-apply_unary(tanh, x)))


def test_tanh_float64_falls_by_no_more_than_its_error():
    """On neighbouring numbers at random places, where the function is steep enough for its error to show."""
    places = np.random.default_rng(1).uniform(0.0, 22.0, 200).astype(np.float64)
    x = (bits(places)[:, None] + np.arange(1000)).reshape(-1).view(np.float64)
    falls = -np.diff(bits(apply_unary(tanh, x)).reshape(200, 1000), axis=1)
    assert falls.max() <= 3


@pytest.mark.parametrize("dtype", DTYPES)
def test_edges_of_tanh(dtype):
    largest, denormal = np.finfo(dtype).max, np.finfo(dtype).smallest_subnormal
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, largest, -largest, 25.0, -25.0], dtype)
    expected = np.array([0.0, -0.0, 1.0, -1.0, np.nan, 1.0, -1.0, 1.0, -1.0], dtype)
    y = apply_unary(tanh, x)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(np.signbit(y[:4]), np.signbit(expected[:4]))
    assert 0 <= apply_unary(tanh, np.array([denormal], dtype))[0] <= denormal


# -------------------------------------------------------------------------------------------------------------- sigmoid


@pytest.mark.parametrize(("dtype", "bound"), [(np.float32, 2.5e-7), (np.float64, 2e-16)], ids=["float32", "float64"])
def test_sigmoid_error(dtype, bound):
    """Found: 1.6e-7 (2.1e-7 without FMA) and 1.4e-16. Absolute: it comes from tanh, and near 0 has few digits."""
    x = np.concatenate([np.linspace(-40, 40, 2_000_001), dense(40.0)]).astype(dtype)
    y = apply_unary(sigmoid, x)
    wide = x.astype(np.longdouble)
    exact = 1 / (1 + np.exp(-wide))
    assert np.abs(y - exact).max() < bound
    assert y.min() >= 0
    assert y.max() <= 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid_saturates_exactly_and_passes_nan(dtype):
    shut = {np.float32: 17.0, np.float64: 40.0}[dtype]  # from where on 1 is the nearest number
    x = np.array([-shut, shut, -np.inf, np.inf, np.finfo(dtype).min, np.finfo(dtype).max, 0.0, -0.0, np.nan], dtype)
    expected = np.array([0, 1, 0, 1, 0, 1, 0.5, 0.5, np.nan], dtype)
    np.testing.assert_array_equal(apply_unary(sigmoid, x), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid_of_opposite_numbers_adds_up_to_one(dtype):
    x = dense(40.0).astype(dtype)
    total = apply_unary(sigmoid, x) + apply_unary(sigmoid, -x)
    np.testing.assert_allclose(total, 1, rtol=0, atol=np.finfo(dtype).eps)


# ------------------------------------------------------------------------------------------------- relu, and the slopes


@pytest.mark.parametrize("dtype", DTYPES)
def test_relu(dtype):
    denormal, largest = np.finfo(dtype).smallest_subnormal, np.finfo(dtype).max
    x = np.array([-np.inf, np.inf, np.nan, -1.5, 1.5, denormal, -denormal, largest, -largest, 0.0], dtype)
    expected = np.array([0, np.inf, np.nan, 0, 1.5, denormal, 0, largest, 0, 0], dtype)
    np.testing.assert_array_equal(apply_unary(relu, x), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("slope", "meaning"),
    [
        (activations.tanh_slope, lambda y: 1 - y * y),
        (activations.sigmoid_slope, lambda y: y * (1 - y)),
        (activations.relu_slope, lambda y: (y > 0).astype(y.dtype)),
    ],
    ids=["tanh", "sigmoid", "relu"],
)
def test_slopes_in_terms_of_the_output(slope, meaning, dtype):
    y = np.linspace(-1, 1, 1001).astype(dtype)
    np.testing.assert_array_equal(apply_unary(unary(slope), y), meaning(y))


@pytest.mark.parametrize(
    "function", [activations.tanh, activations.sigmoid, activations.relu], ids=lambda f: f.__name__
)
def test_compiled_and_python_activation_agree(function):
    """The Python body is the meaning that the equations' tests differentiate."""
    x = np.linspace(-6, 6, 101)
    expected = np.array([function(value) for value in x.tolist()])
    np.testing.assert_allclose(apply_unary(unary(function), x), expected, rtol=1e-15, atol=3e-16)
