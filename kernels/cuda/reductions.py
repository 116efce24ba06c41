"""One number of each row of an array, or of all of it, always added up in the same order."""

from functools import cache

import numpy as np
from numba import cuda, from_dtype

from fastgate.kernels.cuda import launch, streams
from fastgate.kernels.cuda.elementwise import larger, smaller
from fastgate.kernels.cuda.prims import SIMULATED
from fastgate.kernels.jit import equation

THREADS = 1 if SIMULATED else 128  # of a block, which reduces a row at a time; a power of two
MOST_BLOCKS = 1 if SIMULATED else 1 << 12
PARTS = 1 << 10  # of a whole array, each of which is a row at first


@equation
def itself(x, unit):
    return x


@equation
def _square(x, unit):
    return (x / unit) * (x / unit)


@equation
def _sum(x, y):
    return x + y


SUM, SQUARES, MAX, MIN = (itself, _sum), (_square, _sum), (itself, larger), (itself, smaller)


def start_of(kind, dtype):
    """What changes nothing."""
    if kind[1] is _sum:
        return dtype.type(0)
    limits = (-np.inf, np.inf) if dtype.kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return dtype.type(limits[kind[1] is smaller])


def of_rows(kind, x, out, width, unit=1.0):
    """x (M*N) in rows of `width`, of which the last may be shorter -> out (M), in whose dtype it is computed"""
    dtype = np.dtype(out.dtype)
    if out.size:
        kernel = kernel_of(*kind, dtype.name)
        blocks = min(out.size, MOST_BLOCKS)
        arguments = x, out, x.size, width, out.size, start_of(kind, dtype), dtype.type(unit)
        launch.run(kernel, blocks, THREADS, arguments, streams.stream())


@cache
def kernel_of(value, joined, dtype):
    real = from_dtype(np.dtype(dtype))

    @cuda.jit
    def kernel(x, out, size, width, rows, start, unit):
        """x (M*N) -> out (M)"""
        parts = cuda.shared.array(THREADS, real)
        thread = cuda.threadIdx.x
        for row in range(cuda.blockIdx.x, rows, cuda.gridDim.x):
            found = start
            for i in range(row * width + thread, min(size, (row + 1) * width), THREADS):
                found = joined(found, value(real(x[i]), unit))
            parts[thread] = found
            cuda.syncthreads()
            half = THREADS // 2
            while half:
                if thread < half:
                    parts[thread] = joined(parts[thread], parts[thread + half])
                cuda.syncthreads()
                half //= 2
            if thread == 0:
                out[row] = parts[0]
            cuda.syncthreads()  # before the next row is written there

    return kernel


def argmax(x, out, width):
    """x (M*N) -> out (M), the first column of the largest entry of each row"""
    streams.over(_argmax, out.size, x, out, width)


@cuda.jit
def _argmax(x, out, width):
    """x (M*N) -> out (M)"""
    for row in range(cuda.grid(1), out.shape[0], cuda.gridsize(1)):
        best = 0
        for j in range(1, width):
            if x[row * width + j] > x[row * width + best]:
                best = j
        out[row] = best
