"""A dense layer, y = x W^T + b, by the same tiles as the recurrent ones; rows are shared out over the threads."""

from functools import partial
from itertools import pairwise

import numpy as np

from fastgate.kernels import memory
from fastgate.kernels.cpu import team
from fastgate.kernels.cpu.direction import make_panels, outer, parts_for
from fastgate.kernels.cpu.features import lanes, padded
from fastgate.kernels.cpu.gradients import accumulate_rows
from fastgate.kernels.cpu.matmul import project
from fastgate.kernels.cpu.pack import pack_backward, pack_forward, unpack_gradient
from fastgate.kernels.cpu.rows import copy_rows

ORDER = (0,)


def pack_weights(W, b):
    """W (N,K)  b (N) -> panels and bias (1,Np), for `forward`"""
    N, K = W.shape
    width, Np = lanes(W.dtype), padded(N, W.dtype)
    bias = memory.zeros((1, Np), W.dtype)
    bias[0, :N] = b
    return make_panels(pack_forward, W, N, ORDER, (Np // width, K, width)), bias


def pack_backward_weights(W):
    """W (N,K) -> panels and bias (1,Kp) of zeros, for `backward`"""
    N, K = W.shape
    width, Kp, Np = lanes(W.dtype), padded(K, W.dtype), padded(N, W.dtype)
    return make_panels(pack_backward, W, N, ORDER, (Kp // width, Np, width)), memory.zeros((1, Kp), W.dtype)


def forward(x, weights, N):
    """x (P,K) -> y (P,N)"""
    return _product(x, *weights, N)


def backward(x, weights, dy, dW, db):
    """x (P,K)  dy (P,N) -> dx (P,K)  dW (N,K)  db (N), both overwritten"""
    (N, K), dtype, P = dW.shape, x.dtype, dy.shape[0]
    Np = padded(N, dtype)
    da = memory.empty((P, Np), dtype)
    copy_rows(dy, 0, da, 0, N, P)
    dx = _product(da, *weights, K)
    total, bias_total, index = memory.zeros((K, Np), dtype), memory.zeros((1, Np), dtype), np.arange(P)
    outer(total, 0, x, index, 0, da, index, 0, Np)
    accumulate_rows(bias_total, da, index)
    unpack_gradient(total, N, np.array(ORDER), dW)
    unpack_gradient(bias_total, N, np.array(ORDER), db[:, None])
    return dx


def _product(x, panels, bias, N):
    """x (P,K)  panels (Np/lanes,K,lanes)  bias (1,Np) -> (P,N)"""
    P, (blocks, K, width) = x.shape[0], panels.shape
    whole = memory.empty((P, blocks * width), x.dtype)
    parts = parts_for(P, P, K * N)
    cuts = [P * i // parts for i in range(parts + 1)]

    def run(first, last):
        project(whole, first, x, first, panels, bias, last - first)

    team.run([partial(run, *cut) for cut in pairwise(cuts)])
    if whole.shape[1] == N:
        return whole
    y = memory.empty((P, N), x.dtype)
    copy_rows(whole, 0, y, 0, N, P)
    return y
