"""One time step from Python: as little work as possible before the kernel, about a microsecond.

That holds for what a stream usually is: contiguous arrays in the layer's dtype, batched, with the state of the step
before. The compiled kernel itself refuses anything else (types by a TypeError, shapes by returning False), and such a
step is then checked and converted like every other call.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

from fastgate import _border, _errors, _stack
from fastgate._arrays import Array, as_floating
from fastgate._configuration import Configured
from fastgate._kernels import cpu, memory
from fastgate._params import Snapshot
from fastgate._tape import State
from fastgate._weights import Place

LARGEST_KEPT = 1 << 20  # bytes of scratch memory that a thread may hold on to between steps


class Ready(NamedTuple):
    """Everything that does not change from step to step; each thread has its own, with its own scratch memory."""

    snapshot: Snapshot
    state_shape: tuple[int, int, int]
    kernel: Any
    layers: tuple[tuple[int, Any, Any, Any, Array, Array], ...]  # number, packed weights, scratch states and gates
    dtype: np.dtype[Any]
    has_memory: bool
    no_memory: Array  # stands for c where a cell has none


def step(layer: Configured, x: Any, state: Any) -> tuple[Array, State]:
    try:
        snapshot, shape, kernel, layers, dtype, has_memory, no_memory = layer._local.ready
    except AttributeError:
        return _first_step(layer, x, state)
    if snapshot is not layer.params._snapshot:
        return _first_step(layer, x, state)
    pair = state if has_memory else (state, no_memory)
    if type(pair) is not tuple or len(pair) != 2:
        return _first_step(layer, x, state)
    h_start, c_start = pair
    if not (type(x) is ndarray and type(h_start) is ndarray and type(c_start) is ndarray):
        return _first_step(layer, x, state)

    h_end = np.empty(shape, dtype)
    c_end = np.empty(shape, dtype) if has_memory else no_memory
    try:
        for own in layers:
            if not kernel(x, h_start, c_start, *own, h_end, c_end):
                return _first_step(layer, x, state)
            x = h_end[own[0]]
    except TypeError:
        return _first_step(layer, x, state)
    return x.copy(), (h_end, c_end) if has_memory else h_end


def _first_step(layer: Configured, x: Any, state: Any) -> tuple[Array, State]:
    """A step of anything that a step can be of; or the error."""
    if layer.bidirectional:
        raise _errors.no_single_step()
    x = as_floating("x", x, layer.dtype)
    if x.ndim not in (1, 2) or x.shape[-1] != layer.input_size:
        raise _errors.wrong_shape("x", f"(batch, {layer.input_size}) or ({layer.input_size},)", x.shape)
    unbatched = x.ndim == 1
    x = x.reshape(-1, layer.input_size)
    start = _border.read_states(layer, "state", state, x.shape[0], unbatched=unbatched)
    ready = _prepare(layer, x.shape[0])
    end = [np.empty(ready.state_shape, layer.dtype) for _ in start]
    h_start, c_start = start if len(start) == 2 else (start[0], ready.no_memory)
    h_end, c_end = end if len(end) == 2 else (end[0], ready.no_memory)
    for own in ready.layers:
        ready.kernel(x, h_start, c_start, *own, h_end, c_end)
        x = h_end[own[0]]
    y = x.copy()
    return (y[0] if unbatched else y), _border.write_states(end, unbatched=unbatched)


def _prepare(layer: Configured, B: int) -> Ready:
    snapshot, cell = layer.params._snapshot, layer._cell
    ready: Ready | None = getattr(layer._local, "ready", None)
    if ready is not None and ready.snapshot is snapshot and ready.state_shape[1] == B:
        return ready
    width = cpu.features.padded(layer.hidden_size, layer.dtype)
    packed = [_stack.packed(layer, snapshot, Place(i, 0)) for i in range(layer.num_layers)]
    columns = packed[0].bias.shape[1]
    scratch = memory.empty((3 * B, width), layer.dtype), memory.empty((B, columns), layer.dtype)
    layers = tuple((i, *weights, *scratch) for i, weights in enumerate(packed))
    no_memory = np.empty((layer.num_layers, 0, layer.hidden_size), layer.dtype)
    ready = Ready(
        snapshot,
        (layer.num_layers, B, layer.hidden_size),
        cell.step_for(layer.dtype, layers[0][2].dtype),
        layers,
        layer.dtype,
        cell.has_memory,
        no_memory,
    )
    if sum(array.nbytes for array in scratch) <= LARGEST_KEPT:
        layer._local.ready = ready
    return ready
