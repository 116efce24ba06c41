"""Arithmetic on whole arrays, entry by entry and rounded as NumPy rounds, for what NumPy's ufuncs are called with."""

import math
import operator
from functools import cache

import numpy as np
from numba import cuda

from fastgate.kernels.cuda import streams
from fastgate.kernels.jit import equation


@equation
def smaller(x, y):
    return x if x <= y or x != x else y


@equation
def larger(x, y):
    return x if x >= y or x != x else y


@equation
def _sign(x):
    size = abs(x)
    return x / size if size > 0 else x


@equation
def _logaddexp(x, y):
    apart = x - y
    return x + math.log1p(math.exp(-apart)) if apart > 0 else y + math.log1p(math.exp(apart))


@equation
def _where(is_first, x, y):
    return x if is_first else y


ARITHMETIC = {
    np.sqrt: math.sqrt,
    np.exp: math.exp,
    np.expm1: math.expm1,
    np.log: math.log,
    np.log1p: math.log1p,
    np.tanh: math.tanh,
    np.negative: operator.neg,
    np.absolute: abs,
    np.sign: _sign,
    np.add: operator.add,
    np.subtract: operator.sub,
    np.multiply: operator.mul,
    np.divide: operator.truediv,
    np.minimum: smaller,
    np.maximum: larger,
    np.logaddexp: _logaddexp,
    np.where: _where,
}
COMPARISONS = {
    np.less: operator.lt,
    np.greater: operator.gt,
    np.equal: operator.eq,
    np.not_equal: operator.ne,
}
KNOWN = ARITHMETIC | COMPARISONS


@equation
def _whole(x, i, n):
    return x[i]


@equation
def _number(x, i, n):
    return x


@equation
def _repeated(x, i, n):
    return x[i % n]


@equation
def _stretched(x, i, n):
    return x[i // n]


WHOLE, NUMBER, REPEATED, STRETCHED = _whole, _number, _repeated, _stretched


def reader(shape, target):
    """How an operand of this shape is read for a result of the `target` shape, and the n that it needs."""
    size, whole = math.prod(shape), math.prod(target)
    if size == whole:
        return WHOLE, 1
    own = shape
    while own and own[0] == 1:
        own = own[1:]
    if own == target[len(target) - len(own) :]:  # the last axes, the same for all others
        return REPEATED, size
    own = shape
    while own[-1] == 1:
        own = own[:-1]
    if len(shape) == len(target) and own == target[: len(own)]:  # the first axes
        return STRETCHED, whole // max(1, size)
    raise ValueError(f"cannot compute with arrays of shapes {shape} and {target} on the device")


def run(function, operands, readers, out, size):
    """operands: flat arrays or numbers, one to three of them, and how each is read -> out, which may be one of them"""
    kernel = kernel_of(function, *[read for read, _ in readers])
    own = [part for operand, (_, n) in zip(operands, readers, strict=True) for part in (operand, n)]
    streams.over(kernel, size, *own, out, size)


@cache
def kernel_of(function, *readers):
    at = (*readers, *readers[:1] * 2)
    at_x, at_y, at_z = at[:3]

    @cuda.jit
    def of_one(x, n_x, out, size):
        """x (N) -> out (N)"""
        for i in range(cuda.grid(1), size, cuda.gridsize(1)):
            out[i] = function(at_x(x, i, n_x))

    @cuda.jit
    def of_two(x, n_x, y, n_y, out, size):
        """x, y (N), or fewer, or numbers -> out (N)"""
        for i in range(cuda.grid(1), size, cuda.gridsize(1)):
            out[i] = function(at_x(x, i, n_x), at_y(y, i, n_y))

    @cuda.jit
    def of_three(x, n_x, y, n_y, z, n_z, out, size):
        """x, y, z (N), or fewer, or numbers -> out (N)"""
        for i in range(cuda.grid(1), size, cuda.gridsize(1)):
            out[i] = function(at_x(x, i, n_x), at_y(y, i, n_y), at_z(z, i, n_z))

    return (of_one, of_two, of_three)[len(readers) - 1]


@cuda.jit
def erfc(x, out, size):
    """x (N) -> out (N), 1 minus the error function"""
    for i in range(cuda.grid(1), size, cuda.gridsize(1)):
        out[i] = math.erfc(x[i])


@cuda.jit
def fill(out, value, size):
    """the number value -> out (N)"""
    for i in range(cuda.grid(1), size, cuda.gridsize(1)):
        out[i] = value


@cuda.jit
def gather(x, out):
    """x (L,M,N) of any strides -> out (L*M*N)"""
    M, N = x.shape[1], x.shape[2]
    for i in range(cuda.grid(1), out.shape[0], cuda.gridsize(1)):
        out[i] = x[i // (M * N), i // N % M, i % N]


@cuda.jit
def convert(x, out, size):
    """x (N) -> out (N) of another dtype"""
    for i in range(cuda.grid(1), size, cuda.gridsize(1)):
        out[i] = x[i]
