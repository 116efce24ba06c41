"""Where and how kernels run: on which stream, in how many threads, and how their Python text is compiled."""

from contextlib import contextmanager
from threading import local

from numba import cuda
from numba.core import config

SIMULATED = bool(config.ENABLE_CUDASIM)
THREADS = 1 if SIMULATED else 256  # of a block; the simulator takes a thread of Python for each
MOST_BLOCKS = 1 if SIMULATED else 1 << 12  # beyond, a thread takes several entries

_here = local()


def stream():
    """What this thread's kernels and copies are queued on; 0: the default one, which all others wait for."""
    return getattr(_here, "stream", 0)


@contextmanager
def on_stream(own):
    """Inside, this thread's work is queued there."""
    before = stream()
    _here.stream = own
    try:
        yield
    finally:
        _here.stream = before


def over(kernel, count, *arguments):
    """Run a kernel whose threads share out `count` entries among them, as `cuda.grid` and `cuda.gridsize` tell."""
    if count:
        blocks = min(-(-count // THREADS), MOST_BLOCKS)
        kernel[blocks, THREADS, stream()](*arguments)


def synchronize():
    """Wait until the stream is done: what the host reads is there then."""
    own = stream()
    if own:
        own.synchronize()
    else:
        cuda.synchronize()
