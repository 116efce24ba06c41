"""sigmoid, tanh, relu and their slopes: one text for a SIMD vector, a CUDA scalar and a Python number.

A slope is the derivative written in terms of the activation's *output*. Python numbers (the tests' complex ones too)
use NumPy's tanh; compiled code uses the approximations below, which saturate at exactly 0 and +-1 and pass NaN.
"""

import numpy as np
from numba.core import types
from numba.core.extending import overload

from fastgate.kernels.arithmetic import clip, complement, fma, indicator, magnitude, power_of_two, quotient, with_sign
from fastgate.kernels.jit import INLINED, equation

f32, f64 = np.float32, np.float64


def tanh(x):
    return np.tanh(x)


def sigmoid(x):
    return 0.5 * tanh(0.5 * x) + 0.5


def relu(x):
    return clip(x, 0.0, np.inf)


@equation
def tanh_slope(y):
    return complement(y * y)


@equation
def sigmoid_slope(y):
    return y * complement(y)


@equation
def relu_slope(y):
    return indicator(y)


def _tanh_float32(x):
    # Odd rational approximation of degree 13 / 6; coefficients: Eigen 3.4, generic_fast_tanh_float. At the first clamp
    # the quotient is 1 or a rounding above it, with and without fused multiply-adds, which few numbers have; the second
    # makes it exactly 1: a gate that is shut leaks nothing.
    x = clip(x, f32(-8.06601), f32(8.06601))
    # Polynomials in halves (Estrin): half as long a chain as Horner's, which is what one step of one row waits for.
    s = x * x
    s2 = s * s
    p_low = fma(
        s2,
        fma(s, f32(5.12229709037114e-08), f32(1.48572235717979e-05)),
        fma(s, f32(6.37261928875436e-04), f32(4.89352455891786e-03)),
    )
    p_high = fma(s2, f32(-2.76076847742355e-16), fma(s, f32(2.00018790482477e-13), f32(-8.60467152213735e-11)))
    p = fma(s2 * s2, p_high, p_low)
    q = fma(
        s2,
        fma(s, f32(1.19825839466702e-06), f32(1.18534705686654e-04)),
        fma(s, f32(2.26843463243900e-03), f32(4.89352518554385e-03)),
    )
    return clip(quotient(x * p, q), f32(-1.0), f32(1.0))


# ln 2 in two parts, the first with trailing zeros so that k * LN2_HIGH is exact (Cody and Waite 1980; values: fdlibm).
LN2_HIGH, LN2_LOW = f64(6.93147180369123816490e-01), f64(1.90821492927058770002e-10)
LOG2_E = f64(1.44269504088896340736)
ROUNDER = f64(1.5 * 2.0**52)  # adding and subtracting it rounds to the nearest integer


def _tanh_float64(x):
    # tanh|x| = e / (e + 2) with e = expm1(2|x|) = 2**k * expm1(r) + (2**k - 1);  expm1(r) by its Taylor series.
    t = clip(magnitude(x) * f64(2.0), f64(0.0), f64(40.0))
    k = fma(t, LOG2_E, ROUNDER) - ROUNDER
    r = fma(k, -LN2_LOW, fma(k, -LN2_HIGH, t))
    p = fma(r, f64(1 / 6227020800), f64(1 / 479001600))
    p = fma(p, r, f64(1 / 39916800))
    p = fma(p, r, f64(1 / 3628800))
    p = fma(p, r, f64(1 / 362880))
    p = fma(p, r, f64(1 / 40320))
    p = fma(p, r, f64(1 / 5040))
    p = fma(p, r, f64(1 / 720))
    p = fma(p, r, f64(1 / 120))
    p = fma(p, r, f64(1 / 24))
    p = fma(p, r, f64(1 / 6))
    p = fma(p, r, f64(1 / 2))
    p = fma(p, r * r, r)
    scale = power_of_two(k)
    e = fma(scale, p, scale - f64(1.0))
    return with_sign(e / (e + f64(2.0)), x)


def _sigmoid_float32(x):
    return fma(tanh(x * f32(0.5)), f32(0.5), f32(0.5))


def _sigmoid_float64(x):
    return fma(tanh(x * f64(0.5)), f64(0.5), f64(0.5))


def _relu_float32(x):
    return clip(x, f32(0.0), f32(np.inf))


def _relu_float64(x):
    return clip(x, f64(0.0), f64(np.inf))


BY_PRECISION = {}  # of each function below and of further ones: what it is in float32, and in float64


def by_precision(function, float32, float64):
    """Compile `function` as the text for the precision of its argument."""
    BY_PRECISION[function] = {"float32": float32, "float64": float64}

    @overload(function, jit_options=INLINED, strict=False)  # whatever the argument is called
    def choose(x):
        precision = getattr(x, "dtype", x)  # of a vector, or of a scalar
        return {types.float32: float32, types.float64: float64}.get(precision)


by_precision(tanh, _tanh_float32, _tanh_float64)
by_precision(sigmoid, _sigmoid_float32, _sigmoid_float64)
by_precision(relu, _relu_float32, _relu_float64)
