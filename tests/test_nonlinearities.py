"""The activations that gates can have: compiled as they mean it, with the slope of what they compute."""

import math

import numpy as np
import pytest
import reference
from kernel_tools import DTYPES

from fastgate.kernels.cpu import features
from fastgate.kernels.cpu.simd import lanes_of, load, store
from fastgate.kernels.jit import jit
from fastgate.kernels.nonlinearities import DEFAULTS, activation

PARAMETERS = {
    "affine": (-1.5, 0.25),
    "leaky_relu": (0.2,),
    "thresholded_relu": (0.7,),
    "scaled_tanh": (1.7, -0.6),
    "hard_sigmoid": (0.3, 0.4),
    "elu": (1.3,),
}
names = pytest.mark.parametrize("name", DEFAULTS)
bounds = pytest.mark.parametrize("bound", [None, 2.0], ids=["free", "clipped"])


def found(name, bound=None):
    return activation(name, PARAMETERS.get(name, ()), bound)


def plain(name, x, bound=None):
    x = x if bound is None else np.clip(x, -bound, bound)
    return reference.ACTIVATIONS[name](x, *PARAMETERS.get(name, ()))


def compiled(name, bound, x):
    """y and the slope there, by whole vectors."""
    function, slope = found(name, bound)

    @jit(variant=f"{name} {bound}")
    def loop(x, y, slopes):
        """x (1,N) -> y, slopes (1,N)"""
        for u in range(0, x.shape[1], lanes_of(x)):
            value = function(load(x, 0, u))
            store(y, 0, u, value)
            store(slopes, 0, u, slope(value))

    row = np.zeros((1, features.padded(x.size, x.dtype)), x.dtype)
    row[0, : x.size] = x
    y, slopes = np.empty_like(row), np.empty_like(row)
    loop(row, y, slopes)
    return y[0, : x.size], slopes[0, : x.size]


@names
@bounds
@pytest.mark.parametrize("dtype", DTYPES)
def test_values_and_slopes(name, bound, dtype):
    """Within a few roundings of results up to 20."""
    x = np.random.default_rng(0).uniform(-8, 8, 4000).astype(dtype)
    x = x[abs(abs(x) - 2) > 1e-3]  # where the clip bends it
    if name in ("thresholded_relu", "hard_sigmoid"):
        bends = {"thresholded_relu": (0.7,), "hard_sigmoid": (-4 / 3, 2.0)}[name]
        x = x[np.min([abs(x - bend) for bend in bends], axis=0) > 1e-3]
    y, slopes = compiled(name, bound, x)
    wide, step = x.astype(np.float64), 1e-6
    tolerance = 12 * np.finfo(dtype).eps
    np.testing.assert_allclose(y, plain(name, wide, bound), rtol=tolerance, atol=tolerance)
    expected = (plain(name, wide + step, bound) - plain(name, wide - step, bound)) / (2 * step)
    np.testing.assert_allclose(slopes, expected, rtol=0, atol=tolerance + 1e-8)


@names
@bounds
@pytest.mark.parametrize("dtype", DTYPES)
def test_edges(name, bound, dtype):
    """NaN passes, infinity gives the limit, and nothing that is large overflows on its way."""
    x = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0, -0.0], dtype)
    y, _ = compiled(name, bound, x)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = plain(name, x.astype(np.float64), bound)
    if name == "softsign" and bound is None:
        expected[1:3] = 1.0, -1.0  # not inf / inf
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-7)


@names
@bounds
def test_slope_is_the_derivative_in_terms_of_the_output(name, bound):
    """By the complex step, in plain Python."""
    function, slope = found(name, bound)
    for x in (-3.1, -1.9, -0.4, 0.3, 1.4, 2.6):
        derivative = np.imag(function(x + 1e-30j)) / 1e-30
        np.testing.assert_allclose(slope(function(x)), derivative, rtol=1e-12, atol=1e-15)


def test_softplus_keeps_its_digits_where_it_is_small():
    for dtype, least in ((np.float32, -80.0), (np.float64, -700.0)):
        x = np.linspace(least, 0, 20_001).astype(dtype)
        exact = np.log1p(np.exp(x.astype(np.longdouble)))
        assert (abs(compiled("softplus", None, x)[0] - exact) / exact).max() < 4 * np.finfo(dtype).eps


def test_a_clip_that_falls_together_with_saturation_has_no_slope():
    for bound in (30.0, 60.0):
        _, slopes = compiled("sigmoid", bound, np.array([-70.0, -40.0, 40.0, 70.0]))
        np.testing.assert_allclose(slopes, 0, atol=1e-15)


def test_defaults_are_onnx_s():
    assert math.isclose(DEFAULTS["hard_sigmoid"][0], 0.2)
    assert DEFAULTS["leaky_relu"] == (0.01,)
    assert DEFAULTS["elu"] == DEFAULTS["thresholded_relu"] == (1.0,)
