"""Weights stored in fewer bits: float16, bfloat16 in uint16, or int8 with one scale for each unit and gate.

They are rounded already, so that nothing is lost in storing them. Kernels take float32, which these are turned back
into before each run: in scratch memory, where one layer's weights follow another's.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from fastgate.kernels.cuda import arrays, streams

STORED = {"bfloat16": np.dtype(np.uint16), "float16": np.dtype(np.float16), "int8": np.dtype(np.int8)}
LARGEST = 127  # of the integers; where a scale is not the smallest, each row has one of them
SMALLEST_SCALE = np.float32(2.0**-100)
BITS = np.dtype(np.uint32)  # of a float32


class Small(NamedTuple):
    """Weights (H,N,K) in a format."""

    storage: str
    stored: Any  # (H,N,K)
    scales: Any  # (H*N), of integers

    def widened(self, purpose):
        """(H,N,K) in float32, until another is widened for this purpose."""
        out = arrays.scratch(("widened", purpose), self.stored.shape, np.dtype(np.float32))
        if self.storage == "bfloat16":
            streams.over(_append_bits, out.size, self.stored.flat, out.flat.view(BITS), out.size)
        elif self.storage == "float16":
            arrays.convert(self.stored, out)
        else:
            streams.over(_multiply, out.size, self.stored.flat, self.scales.flat, out.flat, out.size, out.shape[2])
        return out


def quantize_weights(weights, storage):
    """A `Weights` of what is rounded to this format -> the same, stored in it"""
    return weights._replace(W_ih=_stored(weights.W_ih, storage), W_hh=_stored(weights.W_hh, storage))


def widened(weights, purpose):
    """As float32, whether they are small or not."""
    return weights.widened(purpose) if isinstance(weights, Small) else weights


def _stored(weights, storage):
    out = arrays.empty(weights.shape, STORED[storage])
    H, N, K = weights.shape
    scales = arrays.empty((H * N if storage == "int8" else 0,), weights.dtype)
    if storage == "bfloat16":
        streams.over(_drop_bits, out.size, weights.flat.view(BITS), out.flat, out.size)
    elif storage == "float16":
        arrays.convert(weights, out)
    else:
        streams.over(_divide, scales.size, weights.flat, out.flat, scales.flat, scales.size, K)
    return Small(storage, out, scales)


@cuda.jit
def _drop_bits(x, out, size):
    """x (N), bits of float32 -> out (N), the upper half of each"""
    for i in range(cuda.grid(1), size, cuda.gridsize(1)):
        out[i] = x[i] >> 16


@cuda.jit
def _append_bits(x, out, size):
    """x (N), bits of bfloat16 -> out (N), those of float32"""
    for i in range(cuda.grid(1), size, cuda.gridsize(1)):
        out[i] = np.uint32(x[i]) << np.uint32(16)


@cuda.jit
def _divide(x, out, scales, rows, K):
    """x (M*K), in each row integers times a number -> out (M*K), the integers  scales (M), the numbers"""
    for row in range(cuda.grid(1), rows, cuda.gridsize(1)):
        scale = SMALLEST_SCALE
        for k in range(K):
            scale = max(scale, abs(x[row * K + k]) / np.float32(LARGEST))
        scales[row] = scale
        for k in range(K):
            out[row * K + k] = math.floor(x[row * K + k] / scale + np.float32(0.5))


@cuda.jit
def _multiply(x, scales, out, size, K):
    """x (M*K), integers  scales (M) -> out (M*K)"""
    for i in range(cuda.grid(1), size, cuda.gridsize(1)):
        out[i] = np.float32(x[i]) * scales[i // K]
