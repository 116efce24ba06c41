"""One time step from Python: as little work as possible before the kernel, about a microsecond.

That holds for what a stream usually is: contiguous arrays in the layer's dtype, batched, with the state of the step
before. The compiled kernel itself refuses anything else (types by a TypeError, shapes by returning False), and such a
step is then checked and converted like every other call.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy import empty, ndarray

from fastgate import _border, _errors, _stack
from fastgate._arrays import Array, as_floating
from fastgate._configuration import Configured
from fastgate._kernels import cpu, memory
from fastgate._params import Snapshot
from fastgate._tape import State
from fastgate._weights import Place
from fastgate.c.function import CFunction
from fastgate.stream import Streamed

LARGEST_KEPT = 1 << 20  # bytes of scratch memory that a thread may hold on to between steps


class Ready(NamedTuple):
    """Everything that does not change from step to step; each thread has its own, with its own scratch memory."""

    snapshot: Snapshot
    kernel: Any
    fixed: Array  # what the kernel reads of each layer, as words: `own` keeps the memory
    y_shape: tuple[int, int]
    h_shape: tuple[int, int, int]
    c_shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    no_memory: Array | None  # stands for c where a cell has none
    own: Any


class Steps(Configured, Streamed):
    """What lets a recurrent layer be stepped."""

    def step(self, x: npt.ArrayLike, state: Any = None) -> tuple[Array, State]:
        """Advance by one time step.

        Parameters
        ----------
        x : array_like, (B, I) or (I,)
        state : as returned by `step` or by calling the layer, (num_layers, B, H) or unbatched (num_layers, H)

        Returns
        -------
        y : ndarray, (B, H) or (H,)
        state : as the argument
            Fresh arrays; the same bits as running the whole sequence at once.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or shape, or the layer is bidirectional.
        """
        try:
            snapshot, kernel, fixed, y_shape, h_shape, c_shape, dtype, no_memory, _ = self._local.ready
        except AttributeError:
            return _first_step(self, x, state)
        pair = state if no_memory is None else (state, no_memory)
        if snapshot is not self.params._snapshot or type(pair) is not tuple or len(pair) != 2:
            return _first_step(self, x, state)
        h, c = pair
        if not (type(x) is ndarray and type(h) is ndarray and type(c) is ndarray):
            return _first_step(self, x, state)

        y, h_end = empty(y_shape, dtype), empty(h_shape, dtype)
        c_end = empty(c_shape, dtype) if no_memory is None else no_memory
        try:
            if not kernel(x, h, c, fixed, y, h_end, c_end):
                return _first_step(self, x, state)
        except TypeError:
            return _first_step(self, x, state)
        return y, (h_end, c_end) if no_memory is None else h_end

    def _streamed(self) -> tuple[list[tuple[str, Configured]], tuple[int]]:
        if self.bidirectional:
            raise _errors.no_single_step("stream")
        return [("", self)], (self.input_size,)

    def cfunc(self) -> CFunction:
        """The step of one sequence as a pointer to a C function, for code that is not Python.

        Returns
        -------
        CFunction
            With the weights of this moment, and everything that a caller has to know.

        Raises
        ------
        ValueError
            If the layer is bidirectional.
        """
        return CFunction(self.to("cpu"))


def _first_step(layer: Configured, x: Any, state: Any) -> tuple[Array, State]:
    """A step of anything that a step can be of; or the error."""
    if layer.bidirectional:
        raise _errors.no_single_step()
    if layer.device != "cpu":
        return _step_of_sequence(layer, x, state)
    x = as_floating("x", x, layer.dtype)
    if x.ndim not in (1, 2) or x.shape[-1] != layer.input_size:
        raise _errors.wrong_shape("x", f"(batch, {layer.input_size}) or ({layer.input_size},)", x.shape)
    unbatched = x.ndim == 1
    x = x.reshape(-1, layer.input_size)
    ready = _prepare(layer, x.shape[0])
    zeros = tuple(np.zeros(shape, layer.dtype) for shape in _border.state_shapes(layer, x.shape[0]))
    start = _border.read_states(layer, "state", state, zeros, unbatched=unbatched)
    y, end = empty(ready.y_shape, layer.dtype), [empty(part.shape, layer.dtype) for part in start]
    h, c = start if len(start) == 2 else (start[0], ready.no_memory)
    h_end, c_end = end if len(end) == 2 else (end[0], ready.no_memory)
    ready.kernel(x, h, c, ready.fixed, y, h_end, c_end)
    return (y[0] if unbatched else y), _border.join_states(end, unbatched=unbatched)


def _step_of_sequence(layer: Any, x: Any, state: Any) -> tuple[Array, State]:
    """On another device: a sequence of one step."""
    x = x if hasattr(x, "reshape") else as_floating("x", x, layer.dtype)
    if len(x.shape) not in (1, 2) or x.shape[-1] != layer.input_size:
        raise _errors.wrong_shape("x", f"(batch, {layer.input_size}) or ({layer.input_size},)", tuple(x.shape))
    axis = int(layer.batch_first) if len(x.shape) == 2 else 0
    y, end = layer(x.reshape(*x.shape[:axis], 1, *x.shape[axis:]), state)
    return y.reshape((*x.shape[:-1], y.shape[-1])), end


def _prepare(layer: Configured, B: int) -> Ready:
    snapshot, L, H, size = layer.params._snapshot, layer.num_layers, layer.hidden_size, layer._layout.output_size
    ready: Ready | None = getattr(layer._local, "ready", None)
    if ready is not None and ready.snapshot is snapshot and ready.h_shape[1] == B:
        return ready
    packed = [_stack.packed(layer, layer._cell, snapshot, Place(i, 0)) for i in range(L)]
    states = memory.empty((3 * B, cpu.features.padded(H, layer.dtype)), layer.dtype)
    a = memory.empty((B, packed[0].bias.shape[1]), layer.dtype)
    kernel, fixed = layer._cell.step_for(layer.dtype, packed[0].W_ih.dtype)
    ready = Ready(
        snapshot,
        kernel,
        fixed.words([(*weights, states, a) for weights in packed]),
        (B, size),
        (L, B, size),
        (L, B, H),
        layer.dtype,
        None if layer._cell.has_memory else empty((L, 0, H), layer.dtype),
        (packed, states, a),
    )
    if states.nbytes + a.nbytes <= LARGEST_KEPT:
        layer._local.ready = ready
    return ready
