"""The one place where the kernels' internal arrays are allocated; results are made by NumPy where they are returned."""

import threading
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


# The operating system hands out zeroed pages, one fault for each, and even a small array takes a while to make: what a
# thread needs again and again, and nobody keeps, is what it used before.
MOST_KEPT = 1 << 26  # bytes for each thread; where they do not suffice, the memory asked for longest ago makes room
_local = threading.local()


def scratch(purpose, shape, dtype):
    """An uninitialised array, as from `empty`, whose memory this thread gets again when it asks for this purpose."""
    kept = _local.__dict__
    found = kept.get(purpose)
    if found is not None:
        raw, own_shape, own_dtype, array = found
        if own_shape == shape and own_dtype is dtype:
            return array
    size = prod(shape) * dtype.itemsize
    if found is None or not size <= raw.size:
        kept.pop(purpose, None)
        room = 1 << max(size - 1, 0).bit_length()  # a power of two: shapes vary, and this may soon be enough for all
        if room > MOST_KEPT // 2:
            return empty(shape, dtype)
        while room + sum(other.size for other, *_ in kept.values()) > MOST_KEPT:
            kept.pop(next(iter(kept)))  # whoever still works there holds a reference of their own
        raw = empty((room,), np.dtype(np.uint8))
    array = raw[:size].view(dtype).reshape(shape)
    kept[purpose] = raw, shape, dtype, array
    return array
