"""The border between the user's arrays and the internal ones: rows are picked by index and padded to whole vectors.

Only here is a user's array touched, and only at rows that an index names: what lies beyond a sequence's length is
never read, and no vector load can run over an end. All take index[first : first+rows].
"""

from fastgate.kernels.jit import jit


@jit
def gather(source, index, first, rows, out, out_at):
    """source (M,N)[index] -> out (P,N)[out_at:]"""
    for p in range(rows):
        row = index[first + p]
        for j in range(out.shape[1]):
            out[out_at + p, j] = source[row, j]


@jit
def scatter(source, at, column, index, first, rows, columns, out, out_column):
    """source (P,L)[at:, column : column+columns] -> out (M,N)[index, out_column:]; other rows are left alone"""
    for p in range(rows):
        row = index[first + p]
        for j in range(columns):
            out[row, out_column + j] = source[at + p, column + j]


@jit
def scatter_add(source, index, first, rows, columns, out):
    """source (P,L)[:, :columns] -> out (M,N)[index] += source"""
    for p in range(rows):
        row = index[first + p]
        for j in range(columns):
            out[row, j] += source[p, j]


@jit
def copy_rows(source, source_at, out, out_at, columns, rows):
    """source (M,L)[source_at:, :columns] -> out (P,N)[out_at:]; zeros up to the end of each row"""
    for n in range(rows):
        for j in range(columns):
            out[out_at + n, j] = source[source_at + n, j]
        for j in range(columns, out.shape[1]):
            out[out_at + n, j] = 0.0


@jit
def clear(out, rows):
    """out (P,N)[:rows] = 0"""
    for p in range(rows):
        for j in range(out.shape[1]):
            out[p, j] = 0.0
