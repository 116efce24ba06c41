"""Arrays on NVIDIA GPUs, and steps of layers inside your own kernels there.

Layers with ``device="cuda"`` take whatever lies on the GPU, of CuPy, PyTorch, JAX or Numba, and give a `DeviceArray`
back, which these libraries take in turn; nothing goes through the host. For NumPy's arrays they give NumPy's, copied
there and back::

    layer = fg.LSTM(64, 256, device="cuda")
    y, state = layer(x)  # NumPy in, NumPy out
    y, state = layer(torch_tensor)  # on the GPU
    y = torch.from_dlpack(y)  # or numpy.asarray(y), a copy

So do `Linear`, `Embedding`, `LayerNorm` and whole models, after ``model.to("cuda")``: between their layers nothing
leaves the GPU. Layers without parameters compute where their input lies; so do losses and metrics. What tells which
steps count, lengths and masks, stays on the host, as do the integers of an `Embedding` and what `Masking` and
`RepeatPast` look at: where these lie on the GPU, they are copied back. `fit` copies each batch to the GPU once. Of
float64 there nobody looks whether it fits into a layer's float32: what does not is infinite.

Work is queued on the default stream, or on that of `on_stream`. It waits for the streams of whatever arrays it is
given, and who takes its results waits for it, as both protocols have it. Without a GPU all of it also runs, slowly, in
Numba's simulator, which rounds no products, whatever a layer's `precision`: with the environment variable
``NUMBA_ENABLE_CUDASIM=1``.

Streams must outlive the arrays that were used on them. Another library may use memory that it frees again at once, even
while work of this one that reads it is still queued: run such work on that library's own stream, by `on_stream`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgate import _errors, _stack
from fastgate._arrays import as_real
from fastgate._kernels import on
from fastgate._placed import as_device
from fastgate._quantized import Quantized
from fastgate._recurrent import Recurrent

__all__ = ["DeviceArray", "array", "device_step", "missing", "on_stream", "release"]

_kernels = on("cuda")
DeviceArray: Any = _kernels.DeviceArray


def array(x: npt.ArrayLike) -> Any:
    """A copy of an array, as a `DeviceArray`.

    Parameters
    ----------
    x : array_like
        Of real numbers or booleans.

    Returns
    -------
    DeviceArray
        In the same dtype, with native bytes.

    Raises
    ------
    TypeError, RuntimeError
        If it is no such array, or there is no device.
    """
    as_device("cuda")
    own = as_real("x", x)
    if own.dtype.itemsize > 8:
        raise _errors.wrong_type("x", "numbers of at most 8 bytes", f"dtype {own.dtype}")
    return _kernels.from_host(own.astype(own.dtype.newbyteorder("="), copy=False))


def device_step(layer: Any) -> tuple[Any, Any]:
    """One time step for your own kernels: a function for ``@numba.cuda.jit`` code, and the weights it takes.

    Each thread that calls it advances one sequence::

        from numba import cuda

        step, weights = fastgate.cuda.device_step(layer)


        @cuda.jit
        def simulate(weights, x, h, c, h_next, c_next):
            n = cuda.grid(1)
            if n < x.shape[0]:
                step(weights, x[n], h[n], c[n], h_next[n], c_next[n])


        simulate[blocks, threads](weights, x, h, c, h_next, c_next)

    Per sequence ``x`` is (I,) and states are (num_layers, H), all in the layer's dtype; ``h_next[-1]`` is the output.
    ``c`` is an LSTM's memory; other cells do not read it, and a GRU with ``reset_after=False`` uses ``c_next`` as
    scratch memory. The states before and after must not share memory.

    Parameters
    ----------
    layer : LSTM, GRU or RNN
        On any device; of one direction, without a projection and not quantized.

    Returns
    -------
    step : device function
    weights : array of Numba's, on the device
        A snapshot: later writes to ``layer.params`` do not change it.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        If it is no such layer, or there is no device.
    """
    if not isinstance(layer, Recurrent):
        raise _errors.wrong_type("layer", "an LSTM, GRU or RNN", type(layer).__name__)
    if layer.bidirectional:
        raise _errors.no_single_step("device_step")
    if layer._layout.is_projected:
        raise _errors.not_embeddable(layer, f"proj_size={layer._layout.output_size}", "device_step")
    if isinstance(layer, Quantized):
        reason = f"weights={layer.weights!r}; use the layer that it was made from"
        raise _errors.not_embeddable(layer, reason, "device_step")
    own = layer.to("cuda")
    snapshot, places = own.params._snapshot, own._layout.places()
    packed = [_stack.packed(own, own._cell, snapshot, place) for place in places]
    parts = [part.copy_to_host().reshape(-1) for weights in packed for part in weights.in_order()]
    sizes = own.input_size, own.hidden_size, own.num_layers
    step = _kernels.make_step(own._cell.of(own.dtype), *sizes, own.dtype.name)
    return step, _kernels.as_numba(_kernels.from_host(np.concatenate(parts)).flat)


@contextmanager
def on_stream(stream: Any) -> Iterator[None]:
    """Inside the ``with``, what this thread computes on the GPU is queued on a stream.

    Parameters
    ----------
    stream : stream of Numba's, or the address of one
        As ``torch.cuda.current_stream().cuda_stream`` or ``cupy.cuda.get_current_stream().ptr``.

    Raises
    ------
    TypeError, RuntimeError
        If it is neither, or there is no device.
    """
    as_device("cuda")
    is_address = isinstance(stream, int) and not isinstance(stream, bool) and stream >= 0
    if not is_address and not hasattr(stream, "auto_synchronize"):
        expected = "a stream of Numba's, or the address of one, an integer"
        raise _errors.wrong_type("stream", expected, repr(stream))
    with _kernels.on_stream(_kernels.external(stream) if isinstance(stream, int) else stream):
        yield


def release() -> None:
    """Give memory that is kept for later calls, and that nobody uses now, back to the driver, for other programs."""
    if missing() is None:
        _kernels.release()


def missing() -> str | None:
    """What this machine lacks for ``device="cuda"``; None if it lacks nothing."""
    found: str | None = _kernels.missing()
    return found
