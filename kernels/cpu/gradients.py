"""Gradients of weights: products over all rows of a batch, after the loop over time.

Rows are taken in the order of an index that does not depend on how the batch was split over workers, and are never
split themselves: workers share the columns. So the bits of a gradient are the same for any number of threads.
"""

from fastgate.kernels.cpu.features import TILE_COLUMNS, TILE_ROWS
from fastgate.kernels.cpu.simd import lanes_of, load, store, zero_of
from fastgate.kernels.cpu.tile import multiply_tile
from fastgate.kernels.jit import jit

# Rows summed up at a time: a chunk of both operands stays in the second-level cache, and rounding errors grow with the
# chunk and the number of chunks, not with the number of rows.
CHUNK = 256


@jit
def accumulate_outer(total, total_column, a, a_index, a_column, d, d_index, d_column, first, last, a_chunk, d_chunk):
    """a (Q,L)[a_index, a_column:]  d (R,N)[d_index, d_column:] -> total (K,M)[:, total_column:] += a.T @ d

    Only vectors [first, last) of the columns.  scratch a_chunk (CHUNK,K), d_chunk (TILE_COLUMNS,CHUNK,lanes)
    """
    K, M = total.shape
    width = lanes_of(total)
    tiles = -(-K // TILE_ROWS)
    for begin in range(0, a_index.size, CHUNK):
        depth = min(CHUNK, a_index.size - begin)
        for k in range(depth):
            for i in range(K):
                a_chunk[k, i] = a[a_index[begin + k], a_column + i]
        for c in range(first, last, TILE_COLUMNS):
            columns = min(TILE_COLUMNS, last - c)
            for j in range(columns):
                for k in range(depth):
                    vector = load(d, d_index[begin + k], d_column + (c + j) * width)
                    store(d_chunk, j, k * width, vector)
            r = 0
            for tile in range(tiles):
                height = (K - r) // (tiles - tile)
                at = r * M + total_column + c * width
                multiply_tile(
                    height, columns, depth,
                    total, at, M, total, at, M,
                    a_chunk, r, 1, K, d_chunk, 0, d_chunk.shape[1],
                )  # fmt: skip
                r += height


@jit
def accumulate_rows(total, d, d_index):
    """d (R,M)[d_index] -> total (1,M) += sum over rows"""
    for begin in range(0, d_index.size, CHUNK):
        end = min(begin + CHUNK, d_index.size)
        for u in range(0, total.shape[1], lanes_of(total)):
            part = zero_of(total)
            for p in range(begin, end):
                part = part + load(d, d_index[p], u)
            store(total, 0, u, load(total, 0, u) + part)
