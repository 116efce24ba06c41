"""float32 as sums of bfloat16, for products that tensor cores then do nearly as exactly."""

import numpy as np
from numba import cuda

from fastgate.kernels.cuda import arrays, streams
from fastgate.kernels.cuda.tensor import pack_bfloat16, round_bfloat16

TOGETHER = 64  # words, so that each part begins where any load may


def split(purpose, x, size):
    """x (N), flat -> two flat arrays of bfloat16, the first near x, the second near what that leaves of it"""
    words = -(-size // (2 * TOGETHER)) * TOGETHER
    both = arrays.scratch(("two of bfloat16", purpose), (2, words), np.dtype(np.int32))
    streams.over(_split, words, x, both.flat, size, words)
    return both[0].flat, both[1].flat


@cuda.jit
def _split(x, out, size, words):
    """x (N) -> out (2*W), words of two bfloat16: of x, then of what is left of x"""
    for i in range(cuda.grid(1), words, cuda.gridsize(1)):
        low = x[2 * i] if 2 * i < size else np.float32(0)
        high = x[2 * i + 1] if 2 * i + 1 < size else np.float32(0)
        out[i] = pack_bfloat16(high, low)
        out[words + i] = pack_bfloat16(high - round_bfloat16(high), low - round_bfloat16(low))
