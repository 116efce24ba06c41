"""The device itself: what it is called, how long it works, and how fast a recurrence could be on it at all."""

from numba import cuda

from fastgate.kernels.cuda import streams
from fastgate.kernels.cuda.kinds import cell
from fastgate.kernels.cuda.plan import plan_for
from fastgate.kernels.cuda.streams import SIMULATED

NAMES = {"LSTM": ("lstm",), "GRU": ("gru",), "GRU reset_before": ("gru_reset_before",), "RNN": ("rnn",)}


def device_name():
    """And what Numba knows of it."""
    if SIMULATED:
        return "Numba's simulator, on the CPU"
    found = cuda.get_current_device()
    name = found.name.decode() if isinstance(found.name, bytes) else found.name
    major, minor = found.compute_capability[:2]
    return f"{name}, compute capability {major}.{minor}, {found.MULTIPROCESSOR_COUNT} multiprocessors"


def elapsed(run):
    """Milliseconds of what `run` queues, from the device's own clock; NaN in the simulator, which has none."""
    begin, end = cuda.event(), cuda.event()
    begin.record(streams.stream())
    run()
    end.record(streams.stream())
    end.synchronize()
    if SIMULATED:
        return float("nan")
    return begin.elapsed_time(end)


def floor(name, H, B, *, training, precision):
    """Microseconds of a step of the recurrence, as the model behind `plan.py` has them for the kernels it chooses."""
    kind = cell(*NAMES[name], precision=precision)
    sizes = kind.of("float32"), H, B
    time = plan_for(*sizes, keeps=training, precision=precision).forward.microseconds
    return time + (plan_for(*sizes, precision=kind.precision_of_gradients).backward.microseconds if training else 0.0)
