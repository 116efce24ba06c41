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


def forward(x, W, b):
    """x (P,K)  W (N,K)  b (N) -> y (P,N)"""
    N, K = W.shape
    width, Np = lanes(x.dtype), padded(N, x.dtype)
    panels = make_panels(pack_forward, W, N, ORDER, (Np // width, K, width))
    return _product(x, panels, b, N)


def backward(x, W, dy, dW, db):
    """x (P,K)  W (N,K)  dy (P,N) -> dx (P,K)  dW (N,K)  db (N), both overwritten"""
    (N, K), dtype = W.shape, x.dtype
    width, Kp, Np = lanes(dtype), padded(K, dtype), padded(N, dtype)
    da = memory.empty((dy.shape[0], Np), dtype)
    copy_rows(dy, 0, da, 0, N, dy.shape[0])
    panels = make_panels(pack_backward, W, N, ORDER, (Kp // width, Np, width))
    dx = _product(da, panels, np.zeros(K, dtype), K)
    total, bias_total, index = memory.zeros((K, Np), dtype), memory.zeros((1, Np), dtype), np.arange(dy.shape[0])
    outer(total, 0, x, index, 0, da, index, 0, Np)
    accumulate_rows(bias_total, da, index)
    unpack_gradient(total, N, np.array(ORDER), dW)
    unpack_gradient(bias_total, N, np.array(ORDER), db[:, None])
    return dx


def _product(x, panels, b, N):
    """x (P,K)  panels (Np/lanes,K,lanes)  b (N) -> (P,N)"""
    P, (blocks, K, width) = x.shape[0], panels.shape
    bias = memory.zeros((1, blocks * width), x.dtype)
    bias[0, :N] = b
    whole = memory.empty((P, blocks * width), x.dtype)
    parts = parts_for(P, P, K * N)
    cuts = [P * i // parts for i in range(parts + 1)]

    def run(first, last):
        project(whole, first, x, first, panels, bias, last - first)

    team.run([partial(run, *cut) for cut in pairwise(cuts)])
    if whole.shape[1] == N:
        return whole
    y = np.empty((P, N), x.dtype)
    copy_rows(whole, 0, y, 0, N, P)
    return y
