"""The border between the user's arrays and the rows that kernels work on.

A row is one sequence at one time step; rows lie in the order of a schedule (see `fastgate.kernels.cpu.schedule`).
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastgate import _errors
from fastgate._arrays import Array, as_floating, as_lengths, as_real
from fastgate._kernels import cpu, memory
from fastgate._tape import State, Tape

if TYPE_CHECKING:
    from fastgate._recurrent import Recurrent


class Batch(NamedTuple):
    """A checked input."""

    rows: Array  # (P,I)
    schedule: Any
    shape: tuple[int, ...]  # of x as it was given
    sequences: int
    is_copy: bool  # rows are not the user's memory


def read_batch(layer: "Recurrent", x: Any, lengths: Any) -> Batch:
    x = as_real("x", x)
    I = layer.input_size
    if x.ndim not in (2, 3) or x.shape[-1] != I:
        order = "batch, time" if layer.batch_first else "time, batch"
        raise _errors.wrong_shape("x", f"({order}, {I}) or (time, {I})", x.shape)
    batch_first = layer.batch_first or x.ndim == 2
    if x.ndim == 2:
        if lengths is not None:
            raise _errors.wrong_shape("x", "of 3 dimensions beside lengths", x.shape)
        B, T = 1, x.shape[0]
    else:
        B, T = x.shape[:2] if batch_first else (x.shape[1], x.shape[0])
    valid = None
    if lengths is not None:
        lengths = as_lengths(lengths, B, T)
        valid = np.arange(T) < lengths[:, None]
        valid = valid if batch_first else valid.T
    own = as_floating("x", x, layer.dtype, valid).reshape(B * T, I)
    steps = B * T if lengths is None else int(lengths.sum())
    parts = cpu.parts_for(steps, B, layer._multiply_adds_per_step())
    if lengths is None:
        schedule = cpu.uniform_schedule(B, T, batch_first, parts)
    else:
        schedule = cpu.Schedule(lengths, T, batch_first, parts)
    rows = own
    if not schedule.in_user_order:
        rows = memory.empty((schedule.rows, I), layer.dtype)
        cpu.gather(own, 0, schedule.user, I, rows, 0)
    return Batch(rows, schedule, x.shape, B, is_copy=not np.may_share_memory(rows, x))


def read_states(layer: "Recurrent", name: str, state: Any, B: int, *, unbatched: bool) -> list[Array]:
    """One or two arrays (num_layers * D, B, H), zeros by default."""
    shape = (layer.num_layers * layer._layout.directions, B, layer.hidden_size)
    if not layer._cell.has_memory:
        if isinstance(state, tuple):
            raise _errors.wrong_type(name, "one array h: only an LSTM has a pair", "a tuple")
        return [_read_state(layer, name, state, shape, unbatched)]
    if state is None:
        state = (None, None)
    if not isinstance(state, (tuple, list)) or len(state) != 2:
        raise _errors.wrong_type(name, "a pair (h, c)", type(state).__name__)
    names = (f"{name}[0] (h)", f"{name}[1] (c)")
    return [_read_state(layer, *pair, shape, unbatched) for pair in zip(names, state, strict=True)]


def _read_state(layer: "Recurrent", name: str, value: Any, shape: tuple[int, int, int], unbatched: bool) -> Array:
    if value is None:
        return np.zeros(shape, layer.dtype)
    array = as_floating(name, value, layer.dtype)
    expected = (shape[0], shape[2]) if unbatched else shape
    if array.shape != expected:
        raise _errors.wrong_shape(name, f"{expected}", array.shape)
    return array.reshape(shape)


def write_states(parts: list[Array], *, unbatched: bool) -> State:
    shaped = [part[:, 0] if unbatched else part for part in parts]
    return (shaped[0], shaped[1]) if len(shaped) == 2 else shaped[0]


def write_output(layer: "Recurrent", outputs: list[Array], batch: Batch) -> Array:
    """Each direction's rows (P,Hp) -> y as x is laid out, zero beyond each length."""
    schedule, H = batch.schedule, layer.hidden_size
    shape = (*batch.shape[:-1], len(outputs) * H)
    y = (np.zeros if schedule.is_ragged else np.empty)(shape, layer.dtype)
    for direction, rows in enumerate(outputs):
        index = schedule.user[schedule.reverse] if direction else schedule.user
        cpu.scatter(rows, 0, index, H, y.reshape(-1, shape[-1]), direction * H)
    return y


def read_output_gradient(layer: "Recurrent", dy: Any, tape: Tape) -> Array:
    """dy -> rows (P,D*H), zeros where there is none."""
    schedule, shape = tape.schedule, tape.y_shape
    if dy is None:
        return memory.zeros((schedule.rows, shape[-1]), layer.dtype)
    dy = as_real("dy", dy)
    if dy.shape != shape:
        raise _errors.wrong_shape("dy", f"that of y, {shape}", dy.shape)
    valid = np.zeros(shape[:-1], bool)
    valid.reshape(-1)[schedule.user] = True
    own = as_floating("dy", dy, layer.dtype, valid).reshape(valid.size, shape[-1])
    rows = memory.empty((schedule.rows, shape[-1]), layer.dtype)
    cpu.gather(own, 0, schedule.user, shape[-1], rows, 0)
    return rows


def write_input_gradient(layer: "Recurrent", rows: Array, tape: Tape) -> Array:
    """Rows (P,I) -> dx as x was laid out, zero beyond each length."""
    dx = np.zeros(tape.x_shape, layer.dtype)
    cpu.scatter(rows, 0, tape.schedule.user, layer.input_size, dx.reshape(-1, layer.input_size), 0)
    return dx
