"""The one place where internal arrays are allocated."""

from math import prod

import numpy as np

ALIGNMENT = 64  # bytes: a cache line, and the widest vector


def empty(shape, dtype):
    """An uninitialised C-contiguous array that starts on a cache line."""
    dtype = np.dtype(dtype)
    size = prod(shape)
    raw = np.empty(size * dtype.itemsize + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size * dtype.itemsize].view(dtype).reshape(shape)


def zeros(shape, dtype):
    array = empty(shape, dtype)
    array[...] = 0
    return array
