"""The border between a user's arrays and the kernels of a GPU; `_border.py` is that of the CPU, with the same names.

What comes from NumPy is copied there, and results back. What lies on the GPU stays there: its steps are put in order
where they are not yet, and results are `DeviceArray`s.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastgate import _border, _errors
from fastgate._arrays import Array, as_floating, as_real, check_real
from fastgate._configuration import Configured
from fastgate._kernels import on
from fastgate._places import check_fits
from fastgate._segments import Segments, read_steps
from fastgate._tape import State


class Batch(NamedTuple):
    """As `_border.Batch`; x_shape and y_shape are those inside, (T,B,F)."""

    schedule: Any
    slices: int
    size: int
    is_unbatched: bool
    x_shape: tuple[int, int, int]
    y_shape: tuple[int, int, int]
    zeros: tuple[Any, ...]  # only when `read_states` gives them out
    segments: Segments | None
    stays: bool  # whether results stay on the device, where x was
    leading: tuple[int, int]  # axes of the user's arrays
    stream: Any  # on which everything of this run is queued

    def users_shape(self, features: int) -> tuple[int, ...]:
        """That of the user's array of so many features."""
        return (*(self.leading[1:] if self.is_unbatched else self.leading), features)

    @property
    def users_y_shape(self) -> tuple[int, ...]:
        """That of y as the user has it."""
        return self.users_shape(self.y_shape[2])


def read_batch(
    layer: Configured, cell: Any, x: Any, lengths: Any, mask: Any, reset: Any = None
) -> tuple[Any, Batch, bool]:
    """x inside; the batch; whether this x is a copy."""
    cuda = on("cuda")
    parameters: Any = layer.params.flat
    if cuda.is_on_device(parameters):  # not those of a quantized layer
        cuda.wait_for(parameters.stream)
    stays = cuda.is_on_device(x)
    array = _as_real_there("x", x) if stays else as_real("x", x)
    _border.check_input(layer, tuple(array.shape))
    is_unbatched, B, T = _border.sizes_of(layer, array.shape)
    batch_first = layer.batch_first or is_unbatched
    counts, times, valid, owners, segments = read_steps(lengths, mask, reset, array, layer.batch_first)
    schedule = cuda.Schedule(B, T, batch_first, counts, times, owners)
    check_fits("x", x, layer.dtype, valid)
    rows = _rows_inside(layer, "x", array, schedule, valid, stays)
    layout = layer._layout
    batch = Batch(
        schedule,
        1,
        B,
        is_unbatched,
        rows.shape,
        (*rows.shape[:2], layout.directions * layout.output_size),
        tuple(cuda.empty(own, layer.dtype) for own in _border.state_shapes(layer, B)),
        segments,
        stays,
        (B, T) if batch_first else (T, B),
        cuda.stream(),
    )
    return rows, batch, not (stays and schedule.is_identity and array.dtype == layer.dtype)


RUNS_IN_STRETCHES = True
STRETCH = 1 << 25  # bytes of x: with fewer, launches would take longer than is gained


def in_stretches(layer: Any, x: Any, state: Any, out: Any) -> tuple[Any, State] | None:
    """y and the final states of a long run from NumPy to NumPy, stretch of time by stretch: while one is computed, the
    next is copied to the device and the one before back. None where that cannot be, or is not worth it.
    """
    if type(x) is not np.ndarray or x.ndim != 3 or x.shape[-1] != layer.input_size:
        return None  # or an error, which whole runs raise
    if layer.bidirectional or out is not None:
        return None
    _, B, T = _border.sizes_of(layer, x.shape)
    steps = max(1, STRETCH // max(1, B * layer.input_size * layer.dtype.itemsize))
    if 2 * steps > T:
        return None
    cuda, by_batch = on("cuda"), layer.batch_first
    y = np.empty((*x.shape[:2], layer._layout.output_size), layer.dtype)
    *to_device, kernels, back = cuda.of_copies()
    places = []  # of every second stretch each, on a stream of its own: it waits for the last but one alone
    for stream in to_device:
        with cuda.on_stream(stream):
            places.append(cuda.empty((B * steps * layer.input_size,), layer.dtype))
    before: tuple[Any, Any] | None = None
    for number, first in enumerate(range(0, T, steps)):
        part = (slice(None), slice(first, first + steps)) if by_batch else slice(first, first + steps)
        stream, place = to_device[number % 2], places[number % 2]
        with cuda.on_stream(stream):
            given = as_floating("x", x[part], layer.dtype)
            own = place[: given.size].reshape(given.shape)
            own[...] = given
        with cuda.on_stream(kernels):
            found, state = layer(own, state)
        with cuda.on_stream(stream):
            cuda.wait_for(kernels)
        with cuda.on_stream(back):
            if before is not None:
                y[before[0]] = before[1].copy_to_host()
            cuda.wait_for(kernels)  # before more is queued there
            found = cuda.DeviceArray(found.flat, found.shape)
        before = part, found
    assert before is not None
    with cuda.on_stream(back):
        y[before[0]] = before[1].copy_to_host()
        parts = state if isinstance(state, tuple) else (state,)
        ends = [part.copy_to_host() for part in parts]
    return y, (ends[0], ends[1]) if len(ends) == 2 else ends[0]


def _as_real_there(name: str, value: Any) -> Any:
    """As `as_real`, of what lies on the device: a view."""
    array = on("cuda").view(value)
    check_real(name, array)
    return array


def _rows_inside(layer: Configured, name: str, array: Any, schedule: Any, valid: Array | None, stays: bool) -> Any:
    """(B,T,F), (T,B,F) or (T,F), NumPy's or Numba's -> (T,B,F) as all kernels take it"""
    cuda = on("cuda")
    if not stays:
        array = cuda.view(cuda.from_host(as_floating(name, array, layer.dtype, valid)))
    return cuda.take(array, schedule, layer.dtype)


def check_output(layer: Configured, out: Any, batch: Batch, x: Any, start: list[Any]) -> None:
    """Raise unless y can be written there, a copy of what is computed."""
    cuda, expected = on("cuda"), f"a writable C-contiguous array of dtype {layer.dtype} that lies where x does"
    if not (cuda.is_on_device(out) if batch.stays else isinstance(out, np.ndarray)):
        raise _errors.wrong_type("out", expected, type(out).__name__)
    own = cuda.view(out) if batch.stays else out
    is_locked = getattr(out, "is_locked", False) if batch.stays else not out.flags.writeable
    if own.dtype != layer.dtype or not own.flags["C_CONTIGUOUS"] or is_locked:
        got = "one that is read-only" if is_locked else f"dtype {own.dtype}, strides {own.strides}"
        raise _errors.wrong_type("out", expected, got)
    if own.shape != batch.users_y_shape:
        raise _errors.wrong_shape("out", f"that of y, {batch.users_y_shape}", own.shape)


def read_states(layer: Configured, name: str, state: Any, zeros: tuple[Any, ...], *, unbatched: bool) -> list[Any]:
    """One or two arrays on the device, shaped as `zeros`, which stand where none is given."""
    if state is None:
        return [_read_state(layer, name, None, own, unbatched) for own in zeros]
    parts = _border.parts_of_state(layer, name, state)
    return [_read_state(layer, *part, own, unbatched) for part, own in zip(parts, zeros, strict=True)]


def _read_state(layer: Configured, name: str, value: Any, zeros: Any, unbatched: bool) -> Any:
    if value is None:
        zeros[...] = 0
        return zeros
    cuda = on("cuda")
    stays = cuda.is_on_device(value)
    array = _as_real_there(name, value) if stays else as_floating(name, value, layer.dtype)
    _border.check_state(name, array, zeros, unbatched)
    if not stays:
        return cuda.from_host(array).reshape(zeros.shape)
    return cuda.contiguous(array, layer.dtype).reshape(zeros.shape)


def write_states(batch: Batch, parts: list[Any]) -> State:
    own = parts if batch.stays else [part.copy_to_host() for part in parts]
    if batch.is_unbatched:
        own = [part.reshape(part.shape[0], part.shape[2]) for part in own]
    return (own[0], own[1]) if len(own) == 2 else own[0]


def states_of_run(layer: Configured, batch: Batch, given: list[Any]) -> tuple[list[Any], list[Any]]:
    start = given if batch.segments is None else _on_host(batch.segments.start, given, layer)
    return start, [on("cuda").empty(part.shape, layer.dtype) for part in start]


def write_end(layer: Configured, batch: Batch, end: list[Any]) -> State:
    return write_states(batch, end if batch.segments is None else _on_host(batch.segments.end, end, layer))


def end_gradient(layer: Configured, batch: Batch, end: list[Any]) -> list[Any]:
    return end if batch.segments is None else _on_host(batch.segments.end_gradient, end, layer)


def start_gradient(layer: Configured, batch: Batch, start: list[Any]) -> list[Any]:
    return start if batch.segments is None else _on_host(batch.segments.start_gradient, start, layer)


def _on_host(pick: Any, states: list[Any], layer: Configured) -> list[Any]:
    """States are small: what segments of sequences need is picked out by NumPy."""
    found = pick([part.copy_to_host() for part in states], layer._layout.directions)
    return [on("cuda").from_host(part) for part in found]


def write_output(batch: Batch, y: Any, out: Any = None, *, is_locked: bool = False) -> Any:
    """y inside (T,B,F) as the user has it; in `out` if that is given."""
    cuda, shape = on("cuda"), batch.users_shape(y.shape[2])
    if batch.schedule.is_identity:
        own = y.reshape(shape)
    else:
        own = cuda.empty(shape, y.dtype)
        cuda.put(y, batch.schedule, own)
    if not batch.stays:
        if out is not None:
            out[...] = own.copy_to_host()
            return out
        host = own.copy_to_host()
        host.flags.writeable = not is_locked
        return host
    if out is None:
        return own
    cuda.DeviceArray(cuda.view(out).reshape(-1), shape)[...] = own
    return out


def read_output_gradient(layer: Configured, dy: Any, batch: Batch) -> Any:
    """As y lies inside, zeros where there is none."""
    return _read_like(layer, "dy", dy, "y", batch.y_shape, batch)


def read_input_tangent(layer: Configured, dx: Any, batch: Batch) -> Any:
    """As x lies inside, zeros where there is none."""
    return _read_like(layer, "dx", dx, "x", batch.x_shape, batch)


def _read_like(layer: Configured, name: str, value: Any, like: str, shape: tuple[int, int, int], batch: Batch) -> Any:
    cuda = on("cuda")
    cuda.wait_for(batch.stream)
    if value is None:
        return cuda.zeros(shape, layer.dtype)
    stays = cuda.is_on_device(value)
    array = _as_real_there(name, value) if stays else as_real(name, value)
    if array.shape != (expected := batch.users_shape(shape[2])):
        raise _errors.wrong_shape(name, f"that of {like}, {expected}", array.shape)
    valid = batch.schedule.valid(array.shape[:-1])
    check_fits(name, value, layer.dtype, valid)
    return _rows_inside(layer, name, array, batch.schedule, valid, stays)
