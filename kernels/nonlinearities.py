"""The activations that a gate can have, by name: each with its slope, for its parameters and perhaps a clip.

Definitions are those of ONNX's recurrent operators. A text is written for a precision, `real`: float gives its meaning,
for Python numbers, and float32 and float64 what is compiled. A slope sees only the output, so the function must be
monotone; `DEFAULTS` says how many parameters each one takes.
"""

from functools import cache
from math import factorial
from typing import Any, NamedTuple

import numpy as np

from fastgate.kernels.activations import (
    LN2_HIGH,
    LN2_LOW,
    LOG2_E,
    by_precision,
    f32,
    f64,
    relu,
    relu_slope,
    sigmoid,
    sigmoid_slope,
    tanh,
    tanh_slope,
)
from fastgate.kernels.arithmetic import choose, clip, complement, fma, indicator, like, magnitude, power_of_two
from fastgate.kernels.jit import equation


class Activation(NamedTuple):
    function: Any
    slope: Any  # of the output


SIGMOID, TANH, RELU = Activation(sigmoid, sigmoid_slope), Activation(tanh, tanh_slope), Activation(relu, relu_slope)


def _linear(real):
    one = real(1)

    def function(x):
        return x

    def slope(y):
        return like(y, one)

    return function, slope


def _affine(real, alpha, beta):
    alpha, beta = real(alpha), real(beta)

    def function(x):
        return fma(x, alpha, beta)

    def slope(y):
        return like(y, alpha)

    return function, slope


def _leaky_relu(real, alpha):
    alpha, one = real(alpha), real(1)

    def function(x):
        return choose(x, x, x * alpha)

    def slope(y):
        return choose(y, one, alpha)

    return function, slope


def _thresholded_relu(real, alpha):
    alpha, zero = real(alpha), real(0)

    def function(x):
        return choose(x - alpha, x, zero)

    def slope(y):
        return indicator(y)

    return function, slope


def _scaled_tanh(real, alpha, beta):
    alpha, beta, steepest = real(alpha), real(beta), real(alpha * beta)

    def function(x):
        return tanh(x * beta) * alpha

    def slope(y):
        t = y / alpha
        return complement(t * t) * steepest

    return function, slope


def _hard_sigmoid(real, alpha, beta):
    alpha, beta, zero, one = real(alpha), real(beta), real(0), real(1)

    def function(x):
        return clip(fma(x, alpha, beta), zero, one)

    def slope(y):
        return choose(y, choose(complement(y), alpha, zero), zero)

    return function, slope


def _elu(real, alpha):
    alpha, zero, half, two, one, least = real(alpha), real(0), real(0.5), real(2), real(1), real(-np.inf)

    def function(x):
        t = tanh(clip(x, least, zero) * half)
        return choose(x, x, t * two / complement(t) * alpha)  # exp(x) - 1 = 2 t / (1 - t)

    def slope(y):
        return choose(y, one, y + alpha)

    return function, slope


def _softsign(real):
    zero, large = real(0), real(1e30)  # beyond which it is +-1, and not inf / inf

    def function(x):
        x = clip(x, -large, large)
        return x / (choose(x, x, zero - x) + real(1))

    def slope(y):
        distance = complement(choose(y, y, zero - y))
        return distance * distance

    return function, slope


def _softplus(real):
    zero, half, two, largest = real(0), real(0.5), real(2), real(np.inf)

    def function(x):
        return clip(x, zero, largest) + log_of_one_plus(exp_of_negative(choose(x, zero - x, x)))

    def slope(y):
        t = tanh(y * half)
        return t * two / (t + real(1))  # 1 - exp(-y)

    return function, slope


# Text; defaults of its parameters, ONNX's where it has some.
TEXTS = {
    "linear": (_linear, ()),
    "affine": (_affine, (1.0, 0.0)),
    "leaky_relu": (_leaky_relu, (0.01,)),
    "thresholded_relu": (_thresholded_relu, (1.0,)),
    "scaled_tanh": (_scaled_tanh, (1.0, 1.0)),
    "hard_sigmoid": (_hard_sigmoid, (0.2, 0.5)),
    "elu": (_elu, (1.0,)),
    "softsign": (_softsign, ()),
    "softplus": (_softplus, ()),
}
PLAIN = {"sigmoid": SIGMOID, "tanh": TANH, "relu": RELU}
DEFAULTS = {**dict.fromkeys(PLAIN, ()), **{name: defaults for name, (_, defaults) in TEXTS.items()}}


@cache
def activation(name, parameters=(), bound=None):
    """The `Activation` of this name; with a `bound`, of what is first clipped to [-bound, bound]."""
    found = PLAIN[name] if name in PLAIN else _compiled(TEXTS[name][0], *parameters)
    if bound is None:
        return found
    return _compiled(_clipped, *found, bound, found.function(bound) < found.function(-bound))


def _clipped(real, function, slope, bound, falls):
    lowest, highest, zero = real(bound if falls else -bound), real(-bound if falls else bound), real(0)
    # Compilers may round y and what it is compared with differently, as in a product fused with a sum; Python's numbers
    # stand for either precision.
    bound, margin = real(bound), real(4 * np.finfo(f32 if real is float else real).eps)

    def clipped(x):
        return function(clip(x, -bound, bound))

    def clipped_slope(y):
        low, high = function(like(y, lowest)), function(like(y, highest))
        low, high = fma(magnitude(low), margin, low), fma(magnitude(high), zero - margin, high)
        return choose(y - low, choose(high - y, slope(y), zero), zero)

    return clipped, clipped_slope


def _compiled(text, *arguments):
    meaning, in_float32, in_float64 = (text(real, *arguments) for real in (float, f32, f64))
    for function, *texts in zip(meaning, in_float32, in_float64, strict=True):
        by_precision(function, *texts)
    return Activation(*meaning)


# --------------------------------------------------------------------------------------- exp and log1p, for softplus


def exp_of_negative(x):
    return np.exp(x)


def log_of_one_plus(u):
    """For u from 0 to 1."""
    return np.log1p(u)


def _polynomial(coefficients):
    """c[0] + x * (c[1] + x * (...))"""
    first, *others = coefficients
    rest = _polynomial(others) if others else None

    @equation
    def value(x):
        return like(x, first) if rest is None else fma(rest(x), x, first)

    return value


# 1.5 * 2**digits rounds to integers; ln 2 in two parts, the first with trailing zeros (float64: as in `activations.py`,
# float32: Cephes); the least argument; how many terms of the two series reach the rounding.
_CONSTANTS = {
    f32: (23, 0.693359375, -2.12194440e-4, -87.0, 8, 9),
    f64: (52, float(LN2_HIGH), float(LN2_LOW), -708.0, 14, 18),
}


def _exp(real):
    digits, high, low, least, terms, _ = _CONSTANTS[real]
    rounder, high, low, least, zero = real(1.5 * 2.0**digits), real(-high), real(-low), real(least), real(0)
    log2_e, series = real(LOG2_E), _polynomial([real(1 / factorial(n)) for n in range(terms)])

    def exp(x):
        x = clip(x, least, zero)
        k = fma(x, log2_e, rounder) - rounder
        return series(fma(k, low, fma(k, high, x))) * power_of_two(k)

    return exp


def _log1p(real):
    # log(1 + u) = 2 (s + s**3 / 3 + s**5 / 5 + ...) with s = u / (2 + u), which is at most 1 / 3
    two, series = real(2), _polynomial([real(2 / (2 * n + 1)) for n in range(_CONSTANTS[real][-1])])

    def log1p(u):
        s = u / (u + two)
        return series(s * s) * s

    return log1p


by_precision(exp_of_negative, _exp(f32), _exp(f64))
by_precision(log_of_one_plus, _log1p(f32), _log1p(f64))
