"""A dense layer, y = x W^T + b, under the names that the CPU's has: three products of all rows. And sums of rows."""

import numpy as np
from numba import cuda

from fastgate.kernels.cuda import products, streams
from fastgate.kernels.cuda.arrays import empty, from_host


def pack_weights(W, b):
    """W (N,K)  b (N): as they are"""
    return W, b


def pack_backward_weights(W):
    """W (N,K): as it is"""
    return W


def forward(x, weights, N):
    """x (P,K) -> y (P,N)"""
    (W, b), (P, K) = weights, x.shape
    y = empty((P, N), x.dtype)
    products.product(x.flat, W.flat, y.flat, P, N, K, bias=b.flat, b_across=True)
    return y


def backward(x, W, dy, dW, db):
    """x (P,K)  W (N,K)  dy (P,N) -> dx (P,K)  dW (N,K)  db (N), both overwritten"""
    (N, K), P = dW.shape, dy.shape[0]
    dx = empty((P, K), x.dtype)
    products.product(dy.flat, W.flat, dx.flat, P, K, N)
    products.product(dy.flat, x.flat, dW.flat, N, K, P, a_across=True)
    products.sum_rows(dy.flat, db.flat, P, N, empty((products.COLUMN_PARTS * N,), x.dtype).flat)
    return dx


def scatter_add(source, index, first, rows, columns, out):
    """source (P,L)[:, :columns] -> out (M,N)[index] += source, as on the CPU; index (P) lies on the host

    It is sorted there, so that one thread adds up all that goes to one entry, always in the same order.
    """
    own = index[first : first + rows]
    order = np.argsort(own, kind="stable")
    named, starts = np.unique(own[order], return_index=True)
    table = from_host(np.concatenate([order, named, starts, [rows]]).astype(np.int64))
    streams.over(_add_rows, named.size * columns, source.flat, table.flat, rows, named.size, out.flat, columns)


@cuda.jit
def _add_rows(x, table, count, named, out, width):
    """x (P*N)  table: the P places sorted by row, R rows, where the R+1 of each begin -> out (M*N)"""
    for i in range(cuda.grid(1), named * width, cuda.gridsize(1)):
        r, j = i // width, i % width
        at = table[count + r] * width + j
        total = out[at]
        for p in range(table[count + named + r], table[count + named + r + 1]):
            total += x[table[p] * width + j]
        out[at] = total
