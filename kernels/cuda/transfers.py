"""Copies between host and device: large ones by way of pinned memory, piece by piece.

While one piece is on its way, the next is written into pinned memory (or the last one read from it).
"""

from threading import local

import numpy as np
from numba import cuda

from fastgate.kernels.cuda import driver, streams
from fastgate.kernels.cuda.streams import SIMULATED

PIECE = 1 << 23  # bytes; twice as many are pinned for each thread that copies more than one
_here = local()


class _Pinned:
    """Half of a thread's pinned memory, and an event after the last copy from or to it."""

    def __init__(self):
        self.memory, self.event = cuda.pinned_array(PIECE, np.uint8), cuda.event()

    def of(self, dtype, size):
        return self.memory[: size * dtype.itemsize].view(dtype)


def _pinned():
    kept, number = _here.__dict__, driver.device_number()
    if number not in kept:
        kept[number] = _Pinned(), _Pinned()
    return kept[number]


def _pieces(host):
    """Slices of an array (N), and for each of them one half of the pinned memory, as large as it, when that is free."""
    entries = PIECE // host.itemsize
    for number, first in enumerate(range(0, host.size, entries)):
        part, own = slice(first, min(first + entries, host.size)), _pinned()[number % 2]
        own.event.synchronize()  # what was there has left, on whichever stream: perhaps to be read in another copy
        yield part, own, own.of(host.dtype, part.stop - part.start)


def upload(host, device):
    """host (N) -> device (N), of the same dtype; `host` may be written again when this returns"""
    stream = streams.stream()
    device.use_at((driver.device_number(), stream))
    if host.nbytes <= PIECE:
        if host.size:
            driver.copy_to_device(device.address, host, stream)
            streams.synchronize()
        return
    for part, own, piece in _pieces(host):
        piece[...] = host[part]
        driver.copy_to_device(device[part].address, piece, stream)
        own.event.record(stream)


def download(device, host):
    """device (N) -> host (N), of the same dtype"""
    stream = streams.stream()
    if host.nbytes <= PIECE:
        if host.size:
            driver.copy_to_host(device.address, host, stream)
            streams.synchronize()
        return
    before = None
    for part, own, piece in _pieces(host):
        driver.copy_to_host(device[part].address, piece, stream)
        own.event.record(stream)
        if before is not None:
            _arrived(*before)
        before = own, piece, host[part]
    _arrived(*before)
    streams.synchronize()


def copy(source, target):
    """source -> target, `Memory` of one dtype and size"""
    _queue(driver.copy_on_device, (source, target), source.address, target.address, source.size * source.dtype.itemsize)


def set_bytes(target, byte):
    """byte -> all bytes of a `Memory`"""
    _queue(driver.set_bytes, (target,), target.address, byte, target.size * target.dtype.itemsize)


def _queue(work, memories, *arguments):
    stream = streams.stream()
    if memories[0].size:
        for memory in memories:
            memory.use_at((driver.device_number(), stream))
        work(*arguments, stream)


def _arrived(own, piece, target):
    own.event.synchronize()
    target[...] = piece


def wait_for(other):
    """What this thread queues from now on waits for what is on another stream."""
    let_wait(streams.stream(), other)


def let_wait(theirs, ours):
    """What is queued on their stream from now on waits for what is on ours; 0 is the default one."""
    if SIMULATED or theirs is ours:  # in order by itself
        return
    event = cuda.event(timing=False)
    event.record(ours)
    event.wait(theirs or cuda.default_stream())
