"""Entries of arrays in another order."""

from numba import cuda


@cuda.jit
def take(x, index, out, width):
    """x (M*N)  index (P), below 0 for zeros -> out (P*N), such rows"""
    for i in range(cuda.grid(1), out.shape[0], cuda.gridsize(1)):
        row = index[i // width]
        if row < 0:
            out[i] = 0
        else:
            out[i] = x[row * width + i % width]


@cuda.jit
def swap(x, out, rows, columns, inner):
    """x (M*N*K) -> out (N*M*K)"""
    for i in range(cuda.grid(1), out.shape[0], cuda.gridsize(1)):
        k, at = i % inner, i // inner
        out[i] = x[((at % rows) * columns + at // rows) * inner + k]


@cuda.jit
def flip(x, out, steps, inner):
    """x (M*T*K) -> out (M*T*K), the steps of each reversed"""
    for i in range(cuda.grid(1), out.shape[0], cuda.gridsize(1)):
        k, at = i % inner, i // inner
        outer, step = at // steps, at % steps
        out[i] = x[(outer * steps + steps - 1 - step) * inner + k]


@cuda.jit
def columns(x, first, pitch, out, out_first, out_pitch, width, size):
    """x (M*L)[first : first+width] of each row -> out (M*N)[out_first : out_first+width]"""
    for i in range(cuda.grid(1), size, cuda.gridsize(1)):
        row, j = i // width, i % width
        out[row * out_pitch + out_first + j] = x[row * pitch + first + j]


@cuda.jit
def pick(x, index, out, width):
    """x (M*N)  index (M) -> out (M), one entry of each row"""
    for row in range(cuda.grid(1), out.shape[0], cuda.gridsize(1)):
        out[row] = x[row * width + index[row]]


@cuda.jit
def place(values, index, out, width, size):
    """values (M)  index (M) -> out (M*N), one entry of each row; the others are left alone"""
    for row in range(cuda.grid(1), size, cuda.gridsize(1)):
        out[row * width + index[row]] = values[row]
