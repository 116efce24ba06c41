"""The border between a user's arrays and the kernels: what did the user mean, and is it right?"""

from typing import Any, NamedTuple

import numpy as np

from fastgate import _errors
from fastgate._arrays import Array, as_floating, as_lengths, as_real, is_ready
from fastgate._configuration import Configured
from fastgate._kernels import cpu
from fastgate._tape import State, Tape


class Batch(NamedTuple):
    """A checked input."""

    x: Array  # as the user laid it out, contiguous and in the layer's dtype
    schedule: Any
    slices: int  # of the units of each step
    sequences: int
    is_copy: bool  # x is not the user's memory


def read_batch(layer: Configured, x: Any, lengths: Any) -> Batch:
    if lengths is None and is_ready(x, layer.dtype):
        known = layer._local.__dict__.get("batch")
        if known is not None and known[0] == (x.shape, cpu.team.get_threads()):
            schedule, slices, B = known[1]
            return Batch(x, schedule, slices, B, False)
    x = as_real("x", x)
    if x.ndim not in (2, 3) or x.shape[-1] != layer.input_size:
        order = "batch, time" if layer.batch_first else "time, batch"
        raise _errors.wrong_shape("x", f"({order}, {layer.input_size}) or (time, {layer.input_size})", x.shape)
    if x.ndim == 2:
        batch_first, B, T = True, 1, x.shape[0]
    else:
        batch_first = layer.batch_first
        B, T = x.shape[:2] if batch_first else (x.shape[1], x.shape[0])
    if lengths is None:
        own = as_floating("x", x, layer.dtype)
        parts, slices = _shares(layer, B, B * T)
        schedule = cpu.uniform_schedule(B, T, batch_first, parts)
        layer._local.batch = (x.shape, cpu.team.get_threads()), (schedule, slices, B)
        return Batch(own, schedule, slices, B, not np.may_share_memory(own, x))
    if x.ndim == 2:
        raise _errors.wrong_shape("x", "of 3 dimensions beside lengths", x.shape)
    lengths = as_lengths(lengths, B, T)
    valid = np.arange(T) < lengths[:, None]
    own = as_floating("x", x, layer.dtype, valid if batch_first else valid.T)
    rows = int(lengths.sum())
    parts, slices = _shares(layer, B, rows)
    if rows == B * T:  # which others may have, too
        schedule = cpu.uniform_schedule(B, T, batch_first, parts)
    else:
        schedule = cpu.Schedule(lengths, T, batch_first, parts)
    return Batch(own, schedule, slices, B, not np.may_share_memory(own, x))


def output_shape(layer: Configured, batch: Batch) -> tuple[int, ...]:
    """That of y."""
    return *batch.x.shape[:-1], layer._layout.directions * layer.hidden_size


def check_output(layer: Configured, out: Any, batch: Batch, start: list[Array]) -> None:
    """Raise unless y can be written into `out`."""
    if not is_ready(out, layer.dtype):  # which is writable too
        expected = f"a writable C-contiguous array of dtype {layer.dtype}"
        if not isinstance(out, np.ndarray):
            raise _errors.wrong_type("out", expected, type(out).__name__)
        raise _errors.wrong_type("out", expected, f"dtype {out.dtype}, strides {out.strides}, shape {out.shape}")
    if out.shape != output_shape(layer, batch):
        raise _errors.wrong_shape("out", f"that of y, {output_shape(layer, batch)}", out.shape)
    for name, array in (("x", batch.x), *(("state", part) for part in start)):
        if np.may_share_memory(out, array):
            raise _errors.shared_output(name)


def _shares(layer: Configured, B: int, rows: int) -> tuple[int, int]:
    """Into how many parts the sequences are shared out, or into how many slices the units."""
    slices = int(cpu.slices_for(layer._cell, B, rows, layer._multiply_adds, layer.hidden_size, layer.dtype))
    return (1, slices) if slices > 1 else (int(cpu.parts_for(B, rows, layer._multiply_adds)), 1)


def read_states(layer: Configured, name: str, state: Any, B: int, *, unbatched: bool) -> list[Array]:
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


def _read_state(layer: Configured, name: str, value: Any, shape: tuple[int, int, int], unbatched: bool) -> Array:
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


def read_output_gradient(layer: Configured, dy: Any, tape: Tape) -> Array:
    """As dy is laid out, zeros where there is none."""
    if dy is None:
        return np.zeros(tape.y_shape, layer.dtype)
    if is_ready(dy, layer.dtype) and dy.shape == tape.y_shape:
        return dy  # type: ignore[no-any-return]
    dy = as_real("dy", dy)
    if dy.shape != tape.y_shape:
        raise _errors.wrong_shape("dy", f"that of y, {tape.y_shape}", dy.shape)
    valid = np.zeros(tape.y_shape[:-1], bool)
    valid.reshape(-1)[tape.schedule.user_rows(0)] = True
    return as_floating("dy", dy, layer.dtype, valid)
