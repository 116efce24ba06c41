"""Arithmetic on whole arrays, entry by entry and rounded as NumPy rounds, for what NumPy's ufuncs are called with."""

import math
import operator
from functools import cache

import numpy as np
from numba import cuda

from fastgate.kernels.cuda import streams
from fastgate.kernels.jit import equation


@equation
def _smaller(x, y):
    return x if x <= y or x != x else y


@equation
def _larger(x, y):
    return x if x >= y or x != x else y


OF_ONE = {np.sqrt: math.sqrt, np.negative: operator.neg, np.absolute: abs}
OF_TWO = {
    np.add: operator.add,
    np.subtract: operator.sub,
    np.multiply: operator.mul,
    np.divide: operator.truediv,
    np.minimum: _smaller,
    np.maximum: _larger,
}


def run(ufunc, inputs, out, size):
    """inputs: flat arrays of one dtype, or numbers of it -> out, which may be one of them"""
    if ufunc is np.square:
        ufunc, inputs = np.multiply, inputs * 2
    kernel = _of_one(OF_ONE[ufunc]) if len(inputs) == 1 else _of_two(OF_TWO[ufunc], *map(np.isscalar, inputs))
    streams.over(kernel, size, *inputs, out, size)


def is_known(ufunc):
    return ufunc is np.square or ufunc in OF_ONE or ufunc in OF_TWO


@cache
def _of_one(function):
    @cuda.jit
    def kernel(x, out, size):
        """x (N) -> out (N)"""
        for i in range(cuda.grid(1), size, cuda.gridsize(1)):
            out[i] = function(x[i])

    return kernel


@cache
def _of_two(function, is_first_a_number, is_second_a_number):
    @cuda.jit
    def kernel(x, y, out, size):
        """x, y (N) -> out (N)"""
        for i in range(cuda.grid(1), size, cuda.gridsize(1)):
            out[i] = function(x[i], y[i])

    @cuda.jit
    def kernel_of_number(x, y, out, size):
        """x (N), the number y -> out (N)"""
        for i in range(cuda.grid(1), size, cuda.gridsize(1)):
            out[i] = function(x[i], y)

    @cuda.jit
    def kernel_of_first_number(x, y, out, size):
        """the number x, y (N) -> out (N)"""
        for i in range(cuda.grid(1), size, cuda.gridsize(1)):
            out[i] = function(x, y[i])

    if is_first_a_number:
        return kernel_of_first_number
    return kernel_of_number if is_second_a_number else kernel


SUMMED = 1 << 10  # entries that one thread adds up


@cuda.jit
def sum_squares(x, out, size, unit):
    """x (N), the number unit -> out (N/SUMMED), the sums of (x / unit)**2 over so many entries each"""
    for i in range(cuda.grid(1), out.shape[0], cuda.gridsize(1)):
        out[i] = 0
        for j in range(i * SUMMED, min(size, (i + 1) * SUMMED)):
            value = np.float64(x[j]) / unit
            out[i] += value * value


@cuda.jit
def fill(out, value, size):
    """the number value -> out (N)"""
    for i in range(cuda.grid(1), size, cuda.gridsize(1)):
        out[i] = value


@cuda.jit
def copy_columns(x, x_width, x_at, out, out_width, out_at, columns, size):
    """x (M,N)[:, x_at:] -> out (M,K)[:, out_at:], so many columns; N and K are the widths"""
    for i in range(cuda.grid(1), size, cuda.gridsize(1)):
        row, column = i // columns, i % columns
        out[row * out_width + out_at + column] = x[row * x_width + x_at + column]


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
