"""Where and how kernels run: on which stream, in how many threads, and how their Python text is compiled."""

from contextlib import contextmanager
from functools import lru_cache
from threading import local

from numba import cuda

from fastgate.kernels.cuda import driver, launch
from fastgate.kernels.cuda.memory import Memory
from fastgate.kernels.cuda.prims import SIMULATED

THREADS = 1 if SIMULATED else 256  # of a block; the simulator takes a thread of Python for each
MOST_BLOCKS = 1 if SIMULATED else 1 << 12  # beyond, a thread takes several entries

local_state = local()


def stream():
    """What this thread's kernels and copies are queued on; 0: the default one, which all others wait for."""
    return getattr(local_state, "stream", 0)


@contextmanager
def on_stream(own):
    """Inside, this thread's work is queued there."""
    before = stream()
    local_state.stream = own
    try:
        yield
    finally:
        local_state.stream = before


DEFAULT = 1  # as the protocols by which arrays are shared call it


def address_of(own):
    """As these protocols name a stream."""
    return DEFAULT if SIMULATED or not own else int(own)


@lru_cache
def external(address):
    """The other way; one object for each."""
    return 0 if SIMULATED or address is None or address <= DEFAULT else cuda.external_stream(address)


def of_copies():
    """Four streams of this thread: two for copies to the device, for kernels, and for copies back."""
    kept, number = local_state.__dict__.setdefault("of_copies", {}), driver.device_number()
    if number not in kept:
        kept[number] = [cuda.stream() for _ in range(4)]
    return kept[number]


def over(kernel, count, *arguments):
    """Run a kernel whose threads share out `count` entries among them, as `cuda.grid` and `cuda.gridsize` tell."""
    if count:
        blocks = min(-(-count // THREADS), MOST_BLOCKS)
        launch.run(kernel, blocks, THREADS, arguments, stream())


def synchronize():
    """Wait until the stream is done, so that the host can read; raise if a kernel has waited in vain, or failed."""
    own = stream()
    try:
        if own:
            own.synchronize()
        else:
            cuda.synchronize()
    except Exception as error:
        raise RuntimeError(
            f"the GPU failed in what was queued before ({error}): nothing more can be computed on it in this process"
        ) from error
    check_progress()


def error_flag():
    """(1,) int32 of this thread, which the host sees, too: kernels write 1 there if they have waited in vain."""
    flags = local_state.__dict__.setdefault("flags", {})
    number = driver.device_number()
    if number not in flags:
        flag, address = driver.shared_flag()
        flags[number] = Memory(address, (1,), flag.dtype, flag)
    return flags[number]


def check_progress():
    """Raise if a kernel of this thread has waited in vain, and has said so by now."""
    for flag in getattr(local_state, "flags", {}).values():
        if flag.owner[0]:
            cuda.synchronize()  # others that wait, too, say it now, and not of later calls
            flag.owner[0] = 0
            raise RuntimeError(
                "a kernel on the GPU did not make progress: its blocks wait for one another, and some do not run,"
                " perhaps because another program holds the GPU; what was computed since is not valid"
            )
