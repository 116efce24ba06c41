"""The one place where the kernels' internal arrays are allocated; results are made by NumPy where they are returned."""

import threading
from contextlib import contextmanager
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


# The operating system hands out zeroed pages, one fault for each: large arrays that a thread needs again and again, and
# nobody keeps, are taken from what it used before.
MOST_KEPT = 1 << 26  # bytes for each thread
_local = threading.local()


@contextmanager
def borrowed(shape, dtype):
    """An uninitialised array, as from `empty`, that must not outlive the `with`."""
    free = _local.__dict__.setdefault("free", {})
    size = prod(shape) * dtype.itemsize
    room = 1 << size.bit_length()  # few different sizes, however the shapes vary
    same = free.setdefault(room, [])
    raw = same.pop() if same else empty((room,), np.dtype(np.uint8))
    try:
        yield raw[:size].view(dtype).reshape(shape)
    finally:
        if room + sum(each * len(kept) for each, kept in free.items()) <= MOST_KEPT:
            same.append(raw)
