"""The one place where the kernels' internal arrays are allocated; results are made by NumPy where they are returned."""

from math import prod

import numpy as np

ALIGNMENT = 64  # bytes: a cache line, and the widest vector
SMALL = 4096  # bytes: below, finding an aligned start takes longer than it saves


def empty(shape, dtype):
    """An uninitialised C-contiguous array that, unless it is small, starts on a cache line."""
    size = prod(shape) * dtype.itemsize
    if size < SMALL:
        return np.empty(shape, dtype)
    raw = np.empty(size + ALIGNMENT, np.uint8)
    start = -raw.__array_interface__["data"][0] % ALIGNMENT
    return raw[start : start + size].view(dtype).reshape(shape)


def zeros(shape, dtype):
    array = empty(shape, dtype)
    array[...] = 0
    return array
