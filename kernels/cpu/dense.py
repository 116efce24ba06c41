"""A dense layer, y = x W^T + b, by the same tiles as the recurrent ones; rows are shared out over the threads."""

from functools import lru_cache, partial
from itertools import pairwise

import numpy as np

from fastgate.kernels import memory
from fastgate.kernels.cpu import team
from fastgate.kernels.cpu.cells import Place
from fastgate.kernels.cpu.features import lanes, padded
from fastgate.kernels.cpu.gradients import CHUNK, weight_gradients
from fastgate.kernels.cpu.layout import group_columns
from fastgate.kernels.cpu.matmul import project
from fastgate.kernels.cpu.rows import copy_rows
from fastgate.kernels.cpu.sharing import cuts_of, threads_for
from fastgate.kernels.cpu.weight_gradients import Sums, block_for, panels_for, places_of
from fastgate.kernels.cpu.weights import backward_panels, forward_panels

PLACES = (Place(0),)


@lru_cache
def _columns(N, width):
    """One group of one gate."""
    return group_columns([(0,)], N, width)


def pack_weights(W, b):
    """W (N,K)  b (N) -> panels and bias (1,Np), for `forward`"""
    N = W.shape[0]
    bias = memory.zeros((1, padded(N, W.dtype)), W.dtype)
    bias[0, :N] = b
    return forward_panels(W, _columns(N, lanes(W.dtype))), bias


def pack_backward_weights(W):
    """W (N,K) -> panels and bias (1,Kp) of zeros, for `backward`"""
    N, K = W.shape
    return backward_panels(W, np.arange(N)), memory.zeros((1, padded(K, W.dtype)), W.dtype)


def forward(x, weights, N):
    """x (P,K) -> y (P,N)"""
    return _product(x, *weights, N)


def backward(x, weights, dy, dW, db):
    """x (P,K)  dy (P,N) -> dx (P,K)  dW (N,K)  db (N), both overwritten"""
    (N, K), dtype, P = dW.shape, x.dtype, dy.shape[0]
    dx = _product(dy, *weights, K)
    none = np.empty((0, 0), dtype)
    sums = Sums((dW, none, db[None], np.empty((1, 0), dtype)))
    cuts, rows = np.append(np.arange(0, P, CHUNK), P), np.arange(P)
    workers = threads_for(P * K * N)

    operands = x, rows, none, none, rows, dy, rows, cuts, places_of(PLACES, N), N

    def call(worker):
        scratch = panels_for(K, dtype, worker, "x"), none, none, block_for(dtype, worker)
        return *operands, *sums.arrays, *scratch, True, worker, workers

    team.run_kernel(weight_gradients, [call(worker) for worker in range(workers)])
    sums.finish()
    return dx


def _product(x, panels, bias, N):
    """x (P,K)  panels (Np/lanes,K,lanes)  bias (1,Np) -> (P,N)"""
    P, (blocks, K, width) = x.shape[0], panels.shape
    whole = memory.empty((P, blocks * width), x.dtype)
    cuts = cuts_of(P, threads_for(P * K * N))

    def run(first, last):
        project(whole, first, x, first, panels, bias, last - first)

    team.run([partial(run, *cut) for cut in pairwise(cuts)])
    if whole.shape[1] == N:
        return whole
    y = memory.empty((P, N), x.dtype)
    copy_rows(whole, 0, y, 0, N, P)
    return y
