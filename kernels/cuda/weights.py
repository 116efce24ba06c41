"""Parameters as the kernels read them, and gradients back: the gates of a unit side by side."""

from functools import cache
from typing import Any, NamedTuple

from numba import cuda

from fastgate.kernels.cuda import arrays, streams
from fastgate.kernels.cuda.small import widened


class Weights(NamedTuple):
    W_ih: Any  # (H,G,I)
    W_hh: Any  # (H,G,H)
    bias: Any  # (H,G), both of them added
    b_q: Any  # (H) that of the candidate which is not, zero where a cell has none

    def in_order(self):
        """As `device_step.py` reads them."""
        return widened(self.W_ih, "W_ih"), widened(self.W_hh, "W_hh"), self.bias, self.b_q


class BackwardWeights(NamedTuple):
    W_ih: Any  # (H,R,I), zero where a gradient is none of the input's
    W_hh: Any  # (H,G,H)
    W_T: Any  # (H,H,G), the last axis of W_hh first


class Extras(NamedTuple):
    """What other devices know."""

    peepholes: None = None
    W_hr: None = None


def pack_weights(cell, W_ih, W_hh, b_ih, b_hh, extras=None, slices=1):
    """W_ih (G*H,I)  W_hh (G*H,H)  b_ih, b_hh (G*H), zero where there is none; on either side"""
    W_ih, W_hh, b_ih, b_hh = map(arrays.on_device, (W_ih, W_hh, b_ih, b_hh))
    H, gates = W_hh.shape[1], cell.gates
    bias, b_q = arrays.empty((H, len(gates)), W_hh.dtype), arrays.empty((H,), W_hh.dtype)
    streams.over(_biases, H, b_ih.flat, b_hh.flat, bias.flat, b_q.flat, len(gates), H, int(cell.has_candidate_bias))
    return Weights(interleave(W_ih, gates), interleave(W_hh, gates), bias, b_q)


def pack_backward_weights(cell, W_ih, W_hh, extras=None):
    """W_ih (G*H,I)  W_hh (G*H,H)"""
    rest = cell.gradients - len(cell.gates)
    own, columns = interleave(W_hh, cell.gates), W_hh.shape[1]
    W_T = arrays.empty((columns, len(own), len(cell.gates)), W_hh.dtype)
    streams.over(_transpose, own.size, own.flat, W_T.flat, own.size // columns, columns)
    return BackwardWeights(interleave(W_ih, cell.gates + (-1,) * rest), own, W_T)


def interleave(W, gates):
    """W (G*H,K) -> (H,N,K), for each unit its rows of the `gates`, zeros for -1"""
    H, K = W.shape[0] // (1 + max(gates)), W.shape[1]
    out = arrays.empty((H, len(gates), K), W.dtype)
    streams.over(_interleave(gates), out.size, W.flat, out.flat, H, K)
    return out


def separate(gradient, places, out):
    """gradient (H,R,K), of whose R those at `places` are gates -> out (G*H,K)"""
    R, K = gradient.shape[1:]
    streams.over(_separate(places, R), out.size, gradient.flat, out.flat, len(gradient), K)


@cuda.jit
def _transpose(x, out, rows, columns):
    """x (M,N) -> out (N,M)"""
    for i in range(cuda.grid(1), rows * columns, cuda.gridsize(1)):
        out[i] = x[i % rows * columns + i // rows]


@cuda.jit
def _biases(b_ih, b_hh, bias, b_q, G, H, has_own):
    """b_ih, b_hh (G*H) -> bias (H*G)  b_q (H)"""
    for u in range(cuda.grid(1), H, cuda.gridsize(1)):
        for g in range(G):
            bias[u * G + g] = b_ih[g * H + u] + b_hh[g * H + u]
        b_q[u] = 0
        if has_own:
            bias[u * G + G - 1] = b_ih[(G - 1) * H + u]
            b_q[u] = b_hh[(G - 1) * H + u]


@cache
def _interleave(gates):
    N = len(gates)

    @cuda.jit
    def kernel(W, out, H, K):
        """W (G*H*K) -> out (H*N*K)"""
        for i in range(cuda.grid(1), H * N * K, cuda.gridsize(1)):
            row, k = i // K, i % K
            gate = gates[row % N]
            if gate < 0:
                out[i] = 0
            else:
                out[i] = W[(gate * H + row // N) * K + k]

    return kernel


@cache
def _separate(places, R):
    G = len(places)

    @cuda.jit
    def kernel(gradient, out, H, K):
        """gradient (H*R*K) -> out (G*H*K)"""
        for i in range(cuda.grid(1), G * H * K, cuda.gridsize(1)):
            row, k = i // K, i % K
            out[i] = gradient[((row % H) * R + places[row // H]) * K + k]

    return kernel
