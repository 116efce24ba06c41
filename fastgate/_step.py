"""One time step from Python: as little work as possible before the kernel, about a microsecond."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastgate import _border, _errors, _stack
from fastgate._arrays import Array, as_floating
from fastgate._kernels import cpu, memory
from fastgate._params import Snapshot
from fastgate._tape import State
from fastgate._weights import Place

if TYPE_CHECKING:
    from fastgate._recurrent import Recurrent


class Ready(NamedTuple):
    """Everything that does not change from step to step; each thread has its own, with its own scratch memory."""

    snapshot: Snapshot
    x_shape: tuple[int, ...]
    state_shape: tuple[int, int, int]
    kernel: Any
    weights: tuple[Any, ...]  # of each layer
    scratch: Array
    no_memory: Array  # stands for c where a cell has none


def step(layer: "Recurrent", x: Any, state: Any) -> tuple[Array, State]:
    dtype, has_memory = layer.dtype, layer._cell.has_memory
    x = as_floating("x", x, dtype)
    ready = getattr(layer._local, "ready", None)
    if ready is None or ready.snapshot is not layer.params._snapshot or ready.x_shape != x.shape:
        ready = layer._local.ready = _prepare(layer, x)
    _, x_shape, shape, kernel, weights, scratch, no_memory = ready

    unbatched = len(x_shape) == 1
    if unbatched:
        x = x.reshape(1, x_shape[0])
    h_start = c_start = no_memory
    if has_memory and type(state) is tuple and len(state) == 2:
        h_start, c_start = state
    elif not has_memory:
        h_start = state
    if not (_fits(h_start, shape, dtype) and (_fits(c_start, shape, dtype) or not has_memory)):
        parts = _border.read_states(layer, "state", state, shape[1], unbatched=unbatched)
        h_start, c_start = parts if has_memory else (parts[0], no_memory)

    h_end = np.empty(shape, dtype)
    c_end = np.empty(shape, dtype) if has_memory else no_memory
    for depth, packed in enumerate(weights):
        kernel(x, h_start, c_start, depth, *packed, scratch, h_end, c_end)
        x = h_end[depth]
    if unbatched:
        return x[0].copy(), _border.write_states([h_end, c_end] if has_memory else [h_end], unbatched=True)
    return x.copy(), (h_end, c_end) if has_memory else h_end


def _fits(array: Any, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> bool:
    """Whether a kernel can read the array as it is."""
    return type(array) is np.ndarray and array.dtype is dtype and array.shape == shape and array.flags.carray


def _prepare(layer: "Recurrent", x: Array) -> Ready:
    if layer.bidirectional:
        raise _errors.no_single_step()
    I, H = layer.input_size, layer.hidden_size
    if x.ndim not in (1, 2) or x.shape[-1] != I:
        raise _errors.wrong_shape("x", f"(batch, {I}) or ({I},)", x.shape)
    B = 1 if x.ndim == 1 else x.shape[0]
    snapshot = layer.params._snapshot
    weights = tuple(_stack.packed(layer, snapshot, Place(depth, 0)) for depth in range(layer.num_layers))
    scratch = memory.empty((B * (3 + layer._cell.places), cpu.features.padded(H, layer.dtype)), layer.dtype)
    shape = (layer.num_layers, B, H)
    no_memory = np.empty((layer.num_layers, 0, H), layer.dtype)
    return Ready(snapshot, x.shape, shape, layer._cell.step, weights, scratch, no_memory)
