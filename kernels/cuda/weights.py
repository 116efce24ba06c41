"""Parameters as the kernels read them, and gradients back: the gates of a unit side by side."""

from functools import cache
from typing import Any, NamedTuple

from numba import cuda

from fastgate.kernels.cuda import arrays, streams
from fastgate.kernels.cuda.small import widened


class Weights(NamedTuple):
    W_ih: Any  # (H,G,I)
    W_hh: Any  # (H,G,size), with `size` units of h: H, unless the cell is projected
    bias: Any  # (H,G), both of them added
    own: Any  # (H,P), see `cells.py`
    W_hr: Any  # (size,H), empty unless the cell is projected

    def in_order(self):
        """As `device_step.py` reads them."""
        return widened(self.W_ih, "W_ih"), widened(self.W_hh, "W_hh"), self.bias, self.own


class BackwardWeights(NamedTuple):
    W_ih: Any  # (H,R,I), zero where a gradient is none of the input's
    W_hh: Any  # (H,G,size)
    W_T: Any  # (size,H,G), the last axis of W_hh first
    peepholes: Any  # (H,P), empty where there are none
    W_hr: Any  # as in `Weights`


class Extras(NamedTuple):
    """What only some cells have, or None."""

    peepholes: Any = None  # (P,H)
    W_hr: Any = None  # (size,H)


NO_EXTRAS = Extras()


def pack_weights(cell, W_ih, W_hh, b_ih, b_hh, extras=NO_EXTRAS, slices=1):
    """W_ih (G*H,I)  W_hh (G*H,size)  b_ih, b_hh (G*H), zero where there is none; on either side"""
    W_ih, W_hh, b_ih, b_hh = map(arrays.on_device, (W_ih, W_hh, b_ih, b_hh))
    gates, apart = cell.gates, cell.has_candidate_bias
    H = W_hh.shape[0] // len(gates)
    bias = arrays.empty((H, len(gates)), W_hh.dtype)
    streams.over(_biases, bias.size, b_ih.flat, b_hh.flat, bias.flat, len(gates), H, int(apart))
    own = _by_unit(b_hh[-H:].reshape(1, H)) if apart else _peepholes(extras, H, W_hh.dtype)
    return Weights(interleave(W_ih, gates), interleave(W_hh, gates), bias, own, _projection(extras, W_hh.dtype))


def pack_backward_weights(cell, W_ih, W_hh, extras=NO_EXTRAS):
    """W_ih (G*H,I)  W_hh (G*H,size)"""
    rest = cell.gradients - len(cell.gates)
    own, columns = interleave(W_hh, cell.gates), W_hh.shape[1]
    W_T = arrays.empty((columns, len(own), len(cell.gates)), W_hh.dtype)
    streams.over(_transpose, own.size, own.flat, W_T.flat, own.size // columns, columns)
    inputs, dtype = interleave(W_ih, cell.gates + (-1,) * rest), W_hh.dtype
    return BackwardWeights(inputs, own, W_T, _peepholes(extras, len(own), dtype), _projection(extras, dtype))


def _by_unit(rows):
    """rows (P,H) -> (H,P)"""
    out = arrays.empty(rows.shape[::-1], rows.dtype)
    streams.over(_transpose, out.size, rows.flat, out.flat, *rows.shape)
    return out


def _peepholes(extras, H, dtype):
    return arrays.empty((H, 0), dtype) if extras.peepholes is None else _by_unit(arrays.on_device(extras.peepholes))


def _projection(extras, dtype):
    return arrays.empty((0, 0), dtype) if extras.W_hr is None else arrays.on_device(extras.W_hr).copy()


def interleave(W, gates):
    """W (G*H,K) -> (H,N,K), for each unit its rows of the `gates`, zeros for -1"""
    H, K = W.shape[0] // (1 + max(gates)), W.shape[1]
    out = arrays.empty((H, len(gates), K), W.dtype)
    streams.over(_interleave(gates), out.size, W.flat, out.flat, H, K)
    return out


def separate(gradient, places, out):
    """gradient (N,H,R,K), of whose R those at `places` are gates -> out (N,G*H,K), as it was for -1"""
    N, H, R, K = gradient.shape
    streams.over(_separate(places, R), out.size, gradient.flat, out.flat, N, H, K)


@cuda.jit
def _transpose(x, out, rows, columns):
    """x (M,N) -> out (N,M)"""
    for i in range(cuda.grid(1), rows * columns, cuda.gridsize(1)):
        out[i] = x[i % rows * columns + i // rows]


@cuda.jit
def _biases(b_ih, b_hh, bias, G, H, is_apart):
    """b_ih, b_hh (G*H) -> bias (H*G), their sum, but for the last of b_hh that is apart"""
    for i in range(cuda.grid(1), G * H, cuda.gridsize(1)):
        at = i % G * H + i // G
        bias[i] = b_ih[at]
        if not is_apart or i % G < G - 1:
            bias[i] += b_hh[at]


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
    def kernel(gradient, out, N, H, K):
        """gradient (N*H*R*K) -> out (N*G*H*K)"""
        for i in range(cuda.grid(1), N * G * H * K, cuda.gridsize(1)):
            row, k = i // K, i % K
            n, unit, place = row // (G * H), row % H, places[row // H % G]
            if place >= 0:
                out[i] = gradient[((n * H + unit) * R + place) * K + k]

    return kernel
