"""The border between the user's arrays and the internal ones: rows are picked by index and padded to whole vectors.

Only here is a user's array touched, and only at rows that an index names: what lies beyond a sequence's length is
never read, and no vector load can run over an end.
"""

from fastgate.kernels.jit import jit


@jit
def gather(source, column, index, columns, out, out_column):
    """source (M,L)[index, column : column+columns] -> out (P,N)[:, out_column:]; zeros up to the end of each row"""
    for p in range(index.size):
        row = index[p]
        for j in range(columns):
            out[p, out_column + j] = source[row, column + j]
        for j in range(out_column + columns, out.shape[1]):
            out[p, j] = 0.0


@jit
def scatter(source, column, index, columns, out, out_column):
    """source (P,L)[:, column : column+columns] -> out (M,N)[index, out_column:]; other rows are left alone"""
    for p in range(index.size):
        row = index[p]
        for j in range(columns):
            out[row, out_column + j] = source[p, column + j]


@jit
def scatter_add(source, index, columns, out, out_column):
    """source (P,L)[:, :columns] -> out (M,N)[index, out_column:] += source"""
    for p in range(index.size):
        row = index[p]
        for j in range(columns):
            out[row, out_column + j] += source[p, j]


@jit
def copy_rows(source, source_at, out, out_at, columns, rows):
    """source (M,L)[source_at:, :columns] -> out (P,N)[out_at:]; zeros up to the end of each row"""
    for n in range(rows):
        for j in range(columns):
            out[out_at + n, j] = source[source_at + n, j]
        for j in range(columns, out.shape[1]):
            out[out_at + n, j] = 0.0
