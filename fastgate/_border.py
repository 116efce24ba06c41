"""The border between a user's arrays and the kernels: what did the user mean, and is it right?"""

from typing import Any, NamedTuple

import numpy as np

from fastgate import _errors
from fastgate._arrays import Array, as_floating, as_real, is_ready
from fastgate._configuration import Configured
from fastgate._kernels import cpu
from fastgate._segments import Segments, read_steps
from fastgate._tape import State

RUNS_IN_STRETCHES = False  # as `_device_border` does
LARGEST_REMEMBERED = 1 << 20  # bytes of zeros


class Batch(NamedTuple):
    """What follows from the shape of an input, which steps of it run, and the number of threads."""

    schedule: Any
    slices: int  # of the units of each step
    size: int  # sequences
    is_unbatched: bool
    x_shape: tuple[int, int, int]  # inside there is always an axis of sequences
    y_shape: tuple[int, int, int]
    zeros: tuple[Array, ...]  # the states where none are given; nobody writes there
    segments: Segments | None = None  # into which resets cut the sequences

    @property
    def users_y_shape(self) -> tuple[int, ...]:
        """That of y as the user has it."""
        return users_shape(self, self.y_shape)


def read_batch(
    layer: Configured, cell: Any, x: Any, lengths: Any, mask: Any, reset: Any = None
) -> tuple[Array, Batch, bool]:
    """x as it is laid out, contiguous and in the layer's dtype; the batch; whether this x is a copy."""
    if lengths is None and mask is None and reset is None and is_ready(x, layer.dtype):
        known = layer._local.__dict__.get("batch")
        if known is not None and known[0] == x.shape and known[1] == cpu.team.get_threads() and known[2] is cell:
            batch: Batch = known[3]
            return (x[None] if batch.is_unbatched else x), batch, False
    x = as_real("x", x)
    check_input(layer, x.shape)
    is_unbatched, B, T = sizes_of(layer, x.shape)
    shape, batch_first = (1, *x.shape) if is_unbatched else x.shape, layer.batch_first or is_unbatched
    counts, times, valid, owners, segments = read_steps(lengths, mask, reset, x, layer.batch_first)
    own = as_floating("x", x, layer.dtype, valid)
    sequences, rows = (B, B * T) if counts is None else (counts.size, int(counts.sum()))
    parts, slices = _shares(layer, cell, sequences, rows)
    if counts is None:
        schedule = cpu.uniform_schedule(B, T, batch_first, parts)
    else:
        schedule = cpu.Schedule(counts, T, batch_first, parts, times=times, owners=owners)
    layout = layer._layout
    batch = Batch(
        schedule,
        slices,
        B,
        is_unbatched,
        shape,
        (*shape[:2], layout.directions * layout.output_size),
        tuple(np.zeros(own, layer.dtype) for own in state_shapes(layer, B)),
        segments,
    )
    if counts is None and segments is None and batch.zeros[0].nbytes <= LARGEST_REMEMBERED:
        layer._local.batch = x.shape, cpu.team.get_threads(), cell, batch
    return own.reshape(shape), batch, not np.may_share_memory(own, x)


def check_input(layer: Configured, shape: tuple[int, ...]) -> None:
    """Raise unless this is the shape of an input."""
    if len(shape) not in (2, 3) or shape[-1] != layer.input_size:
        order = "batch, time" if layer.batch_first else "time, batch"
        raise _errors.wrong_shape("x", f"({order}, {layer.input_size}) or (time, {layer.input_size})", shape)


def sizes_of(layer: Configured, shape: tuple[int, ...]) -> tuple[bool, int, int]:
    """Of an input: whether it is unbatched, B and T."""
    if len(shape) == 2:
        return True, 1, shape[0]
    return (False, shape[0], shape[1]) if layer.batch_first else (False, shape[1], shape[0])


def state_shapes(layer: Configured, B: int) -> list[tuple[int, int, int]]:
    """Of h, or of h and c."""
    layout = layer._layout
    sizes = (layout.output_size, layout.hidden_size) if layer._cell.has_memory else (layout.output_size,)
    return [(layout.num_layers * layout.directions, B, size) for size in sizes]


def check_output(layer: Configured, out: Any, batch: Batch, x: Array, start: list[Array]) -> Array:
    """`out` as kernels take it; raise unless y can be written there."""
    if not is_ready(out, layer.dtype):  # which is writable too
        expected = f"a writable C-contiguous array of dtype {layer.dtype}"
        if not isinstance(out, np.ndarray):
            raise _errors.wrong_type("out", expected, type(out).__name__)
        raise _errors.wrong_type("out", expected, f"dtype {out.dtype}, strides {out.strides}, shape {out.shape}")
    if out.shape != (expected_shape := users_shape(batch, batch.y_shape)):
        raise _errors.wrong_shape("out", f"that of y, {expected_shape}", out.shape)
    for name, array in (("x", x), *(("state", part) for part in start)):
        if np.may_share_memory(out, array):
            raise _errors.shared_output(name)
    own: Array = out.reshape(batch.y_shape)
    return own


def users_shape(batch: Batch, shape: tuple[int, ...]) -> tuple[int, ...]:
    """That of x, y or their gradients as the user has it."""
    return shape[1:] if batch.is_unbatched else shape


def _shares(layer: Configured, cell: Any, B: int, rows: int) -> tuple[int, int]:
    """Into how many parts the sequences are shared out, or into how many slices the units."""
    slices = int(cpu.slices_for(cell, B, rows, layer._multiply_adds, layer.hidden_size, layer.dtype))
    return (1, slices) if slices > 1 else (int(cpu.parts_for(B, rows, layer._multiply_adds)), 1)


def read_states(layer: Configured, name: str, state: Any, zeros: tuple[Array, ...], *, unbatched: bool) -> list[Array]:
    """One or two arrays, shaped as `zeros`, which stand where none is given."""
    if state is None:
        return list(zeros)
    parts = parts_of_state(layer, name, state)
    return [_read_state(layer, *part, own, unbatched) for part, own in zip(parts, zeros, strict=True)]


def parts_of_state(layer: Configured, name: str, state: Any) -> list[tuple[str, Any]]:
    """Each array of a state that is given, after its name."""
    if not layer._cell.has_memory:
        if isinstance(state, tuple):
            raise _errors.wrong_type(name, "one array h: only an LSTM has a pair", "a tuple")
        return [(name, state)]
    if not isinstance(state, (tuple, list)) or len(state) != 2:
        raise _errors.wrong_type(name, "a pair (h, c)", type(state).__name__)
    return [(f"{name}[0] (h)", state[0]), (f"{name}[1] (c)", state[1])]


def _read_state(layer: Configured, name: str, value: Any, zeros: Array, unbatched: bool) -> Array:
    if value is None:
        return zeros
    if is_ready(value, layer.dtype) and value.shape == zeros.shape and not unbatched:
        return value  # type: ignore[no-any-return]
    array = as_floating(name, value, layer.dtype)
    check_state(name, array, zeros, unbatched)
    return array.reshape(zeros.shape)


def check_state(name: str, array: Any, zeros: Any, unbatched: bool) -> None:
    """Raise unless it has the shape of a state."""
    expected = (zeros.shape[0], zeros.shape[2]) if unbatched else zeros.shape
    if array.shape != expected:
        raise _errors.wrong_shape(name, f"{expected}", array.shape)


def write_states(batch: Batch, parts: list[Array]) -> State:
    return join_states(parts, unbatched=batch.is_unbatched)


def join_states(parts: list[Array], *, unbatched: bool) -> State:
    """As the user has them."""
    shaped = [part[:, 0] for part in parts] if unbatched else parts
    return (shaped[0], shaped[1]) if len(shaped) == 2 else shaped[0]


def states_of_run(layer: Configured, batch: Batch, given: list[Array]) -> tuple[list[Array], list[Array]]:
    """Those to start from, as the kernels' sequences are, and memory for those at the end."""
    start = given if batch.segments is None else batch.segments.start(given, layer._layout.directions)
    return start, [np.empty(part.shape, layer.dtype) for part in start]


def end_gradient(layer: Configured, batch: Batch, end: list[Array]) -> list[Array]:
    """Those in the final states, as the kernels' sequences are."""
    return end if batch.segments is None else batch.segments.end_gradient(end, layer._layout.directions)


def start_gradient(layer: Configured, batch: Batch, start: list[Array]) -> list[Array]:
    """Those in the initial states, as the user's sequences are."""
    return start if batch.segments is None else batch.segments.start_gradient(start, layer._layout.directions)


def write_output(batch: Batch, y: Array, out: Array | None = None, *, is_locked: bool = False) -> Array:
    """y, or dx, as the user has it."""
    if out is not None:
        return out
    if is_locked:
        y.flags.writeable = False
    return y[0] if batch.is_unbatched else y


def write_end(layer: Configured, batch: Batch, end: list[Array]) -> State:
    """The final states as the user has them."""
    own = end if batch.segments is None else batch.segments.end(end, layer._layout.directions)
    return write_states(batch, own)


def read_output_gradient(layer: Configured, dy: Any, batch: Batch) -> Array:
    """As y is laid out, zeros where there is none."""
    return _read_like(layer, "dy", dy, "y", batch.y_shape, batch)


def read_input_tangent(layer: Configured, dx: Any, batch: Batch) -> Array:
    """As x is laid out, zeros where there is none."""
    return _read_like(layer, "dx", dx, "x", batch.x_shape, batch)


def _read_like(layer: Configured, name: str, value: Any, like: str, shape: tuple[int, int, int], batch: Batch) -> Array:
    if value is None:
        return np.zeros(shape, layer.dtype)
    if is_ready(value, layer.dtype) and value.shape == shape and not batch.is_unbatched:
        return value  # type: ignore[no-any-return]
    value = as_real(name, value)
    if value.shape != (expected := users_shape(batch, shape)):
        raise _errors.wrong_shape(name, f"that of {like}, {expected}", value.shape)
    valid = np.zeros(expected[:-1], bool)
    valid.reshape(-1)[batch.schedule.user_rows(0)] = True
    return as_floating(name, value, layer.dtype, valid).reshape(shape)
