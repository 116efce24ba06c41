"""Products of whole sequences: by cuBLAS where it is found, else by a tile kernel of our own.

All matrices are row-major pieces of flat arrays.
"""

from functools import cache

import numpy as np
from numba import cuda, float32, float64

from fastgate.kernels.arithmetic import fma
from fastgate.kernels.cuda import cublas, launch, streams
from fastgate.kernels.cuda.streams import SIMULATED

EACH = 4  # rows and columns of a thread
BLOCK = EACH if SIMULATED else 64  # rows and columns of a block of threads
DEPTH = 4 if SIMULATED else 16  # of what lies in shared memory at once
THREADS = (BLOCK // EACH) ** 2


def product(
    a, b, out, rows, columns, depth, *, bias=None, added=False, a_across=False, b_across=False, precision="highest",
    batch=1,
):  # fmt: skip
    """a (rows,depth)  b (depth,columns)  bias (columns) -> out (rows,columns), or added to it

    Flat arrays; `a_across` and `b_across` say that (depth,rows) or (columns,depth) is what lies in memory. Of many
    products at once, an axis of the `batch` lies before that of rows or columns: a (depth,batch,rows), if across. To
    what `precision` allows cuBLAS to round them, see `cublas.WAYS`; our own tiles round nothing.
    """
    if not batch * rows * columns:
        return
    if depth and cublas.is_there():
        if bias is not None:
            over_rows(_repeat, out, rows, columns, bias)
        how = added or bias is not None, precision, batch, streams.stream()
        cublas.multiply(a, b, out, rows, columns, depth, a_across, b_across, *how)
        return
    kernel = _tiles(a_across, b_across, bias is not None, added, str(out.dtype))
    across = -(-columns // BLOCK)
    blocks = across * -(-rows // BLOCK)
    arguments = a, b, out if bias is None else bias, out, rows, columns, depth, across, blocks, batch
    launch.run(kernel, blocks * batch, THREADS, arguments, streams.stream())


def over_rows(kernel, out, rows, columns, *arguments):
    streams.over(kernel, rows * columns, *arguments, out, rows, columns)


@cuda.jit
def _repeat(bias, out, rows, columns):
    """bias (N) -> out (M*N), in every row"""
    for i in range(cuda.grid(1), rows * columns, cuda.gridsize(1)):
        out[i] = bias[i % columns]


@cache
def _tiles(a_across, b_across, has_bias, added, dtype):
    """A thread has 4 x 4 entries of `out`; a block walks along the depth with a piece of a and b in shared memory."""
    real, number = (float32, np.float32) if dtype == "float32" else (float64, np.float64)
    zero, threads_across, pitch, entries = number(0), BLOCK // EACH, BLOCK + 1, BLOCK * DEPTH

    @cuda.jit
    def kernel(a, b, bias, out, rows, columns, depth, across, blocks, batch):
        """a (B*M*K), across (K*B*M)  b (K*B*N), across (B*N*K)  bias (N) -> out (B*M*N)"""
        tile_a = cuda.shared.array((DEPTH, pitch), real)
        tile_b = cuda.shared.array((DEPTH, pitch), real)
        sums = cuda.local.array((EACH, EACH), real)
        thread = cuda.threadIdx.x
        number, block = cuda.blockIdx.x // blocks, cuda.blockIdx.x % blocks
        first_row, first_column = (block // across) * BLOCK, (block % across) * BLOCK
        own_row, own_column = thread // threads_across, thread % threads_across
        for i in range(EACH):
            for j in range(EACH):
                sums[i, j] = zero
        for k in range(0, depth, DEPTH):
            for entry in range(thread, entries, THREADS):
                # Neighbouring threads read neighbouring numbers, whichever way the matrix lies.
                m, p = (entry % BLOCK, entry // BLOCK) if a_across else (entry // DEPTH, entry % DEPTH)
                row, at = first_row + m, k + p
                tile_a[p, m] = zero
                if row < rows and at < depth:
                    tile_a[p, m] = (
                        a[(at * batch + number) * rows + row] if a_across else a[(number * rows + row) * depth + at]
                    )
                n, p = (entry // DEPTH, entry % DEPTH) if b_across else (entry % BLOCK, entry // BLOCK)
                column, at = first_column + n, k + p
                tile_b[p, n] = zero
                if column < columns and at < depth:
                    tile_b[p, n] = (
                        b[(number * columns + column) * depth + at]
                        if b_across
                        else b[(at * batch + number) * columns + column]
                    )
            cuda.syncthreads()
            for p in range(DEPTH):
                for i in range(EACH):
                    for j in range(EACH):
                        x, y = tile_a[p, own_row + i * threads_across], tile_b[p, own_column + j * threads_across]
                        sums[i, j] = fma(x, y, sums[i, j])
            cuda.syncthreads()
        for i in range(EACH):
            for j in range(EACH):
                row, column = first_row + own_row + i * threads_across, first_column + own_column + j * threads_across
                if row < rows and column < columns:
                    at = (number * rows + row) * columns + column
                    if added:
                        out[at] += sums[i, j]
                    elif has_bias:
                        out[at] = sums[i, j] + bias[column]
                    else:
                        out[at] = sums[i, j]

    return kernel


COLUMN_PARTS = 1 if SIMULATED else 64


def sum_rows(x, out, rows, columns, scratch):
    """x (rows,columns) -> out (columns), the sums over rows in a fixed order; scratch (COLUMN_PARTS*columns)"""
    streams.over(_sum_parts, COLUMN_PARTS * columns, x, scratch, rows, columns)
    streams.over(_sum_scratch, columns, scratch, out, columns)


@cuda.jit
def _sum_parts(x, out, rows, columns):
    """x (M*N) -> out (P*N), each of P parts of the rows summed up"""
    each = (rows + COLUMN_PARTS - 1) // COLUMN_PARTS
    for i in range(cuda.grid(1), COLUMN_PARTS * columns, cuda.gridsize(1)):
        part, column = i // columns, i % columns
        out[i] = 0
        for row in range(part * each, min(rows, (part + 1) * each)):
            out[i] += x[row * columns + column]


@cuda.jit
def _sum_scratch(parts, out, columns):
    """parts (P*N) -> out (N)"""
    for column in range(cuda.grid(1), columns, cuda.gridsize(1)):
        out[column] = 0
        for part in range(COLUMN_PARTS):
            out[column] += parts[part * columns + column]
