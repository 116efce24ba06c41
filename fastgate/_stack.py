"""A stack of layers and directions: in which order they run, forward and backward."""

from typing import Any

import numpy as np

from fastgate._arrays import Array
from fastgate._border import Batch, output_shape
from fastgate._configuration import Configured
from fastgate._kernels import cpu, memory
from fastgate._params import NamedArrays, Snapshot
from fastgate._tape import Record, Tape
from fastgate._weights import Place


def forward(
    layer: Configured, snapshot: Snapshot, batch: Batch, start: list[Array], end: list[Array], out: Array | None
) -> Array:
    """Inference: states `start` -> states `end`; y returned, laid out as x, and `out` if that is given"""
    x, shape, last_layer = batch.x, output_shape(layer, batch), layer.num_layers - 1
    for depth, own in enumerate(_ready(layer, cpu.Forward, batch.schedule, batch.slices)):
        if depth < last_layer:  # beyond the lengths it is never read
            y = memory.scratch(("y", depth % 2), shape, layer.dtype)
        else:
            y = np.empty(shape, layer.dtype) if out is None else out
            if batch.schedule.is_ragged:
                y[...] = 0
        x_rows, y_rows = _rows(x), _rows(y)
        for place, row, run in own:
            weights = packed(layer, snapshot, place, batch.slices)
            run(weights, x_rows, y_rows, [part[row] for part in start], [part[row] for part in end])
        x = y
    return x


def record(
    layer: Configured, snapshot: Snapshot, batch: Batch, start: list[Array], end: list[Array], dropout_key: int | None
) -> tuple[Array, list[Record]]:
    """The same for training, with a record of each direction of each layer."""
    x, records = batch.x, []
    for depth, own in enumerate(_ready(layer, cpu.Forward, batch.schedule, batch.slices)):
        y = _new_output(layer, batch)
        x_rows, y_rows = _rows(x), _rows(y)
        for place, row, run in own:
            weights = packed(layer, snapshot, place, batch.slices)
            first, last = [part[row] for part in start], [part[row] for part in end]
            records.append(Record(x, run.record(weights, x_rows, y_rows, first, last)))
        _drop(layer, y_rows, batch.schedule, dropout_key, depth)
        x = y
    return x, records


def record_states(
    layer: Configured,
    snapshot: Snapshot,
    batch: Batch,
    start: list[Array],
    end: list[Array],
    dropout_key: int | None,
    steps: int,
) -> tuple[Array, list[Record]]:
    """The same, keeping only the states at every so many `steps`."""
    x, records = batch.x, []
    for depth in range(layer.num_layers):
        y = _new_output(layer, batch)
        for direction in range(layer._layout.directions):
            place = Place(depth, direction)
            row, weights = layer._layout.row(place), packed(layer, snapshot, place, batch.slices)
            first, last = [part[row] for part in start], [part[row] for part in end]
            tape = cpu.record_states(
                layer._cell, weights, _rows(x), _rows(y), direction, first, last, batch.schedule, batch.slices, steps
            )  # fmt: skip
            records.append(Record(x, tape))
        _drop(layer, _rows(y), batch.schedule, dropout_key, depth)
        x = y
    return x, records


def backward(
    layer: Configured, tape: Tape, dy: Array, end: list[Array], start: list[Array], gradients: NamedArrays
) -> Array:
    """dy, `end` of the final states -> gradients, `start` of the initial states; dx returned, laid out as x"""
    layout, schedule = layer._layout, tape.schedule
    is_whole = isinstance(tape.records[0].tape, cpu.Trace)
    ready = _ready(layer, cpu.Backward, schedule, tape.slices) if is_whole else []
    for depth in reversed(range(layout.num_layers)):
        _drop(layer, _rows(dy), schedule, tape.dropout_key, depth)
        shape = (*tape.x_shape[:-1], layout.input_size_of(depth))
        dx = np.zeros(shape, layer.dtype) if schedule.is_ragged else np.empty(shape, layer.dtype)
        dy_rows, dx_rows = _rows(dy), _rows(dx)
        for direction in range(layout.directions):
            place = Place(depth, direction)
            row, weights = layout.row(place), packed_backward(layer, tape.snapshot, place)
            last, first = [part[row] for part in end], [part[row] for part in start]
            x, own = tape.records[row]
            targets = layout.gradient_arrays(gradients, place)
            if is_whole:
                *_, run = ready[depth][direction]
                run.whole(weights, own, _rows(x), dy_rows, last, first, dx_rows, targets)
            else:
                cpu.recompute(
                    layer._cell, weights, own, _rows(x), dy_rows, direction, last, first, dx_rows, schedule,
                    tape.slices, targets,
                )  # fmt: skip
            layout.finish_gradients(gradients, place, targets[3])
        dy = dx
    return dy


def _drop(layer: Configured, rows: Array, schedule: Any, dropout_key: int | None, depth: int) -> None:
    """Dropout after every layer but the last, and on the way back of its gradient; None for no dropout."""
    if dropout_key is not None and depth + 1 < layer.num_layers:
        cpu.dropout(rows, schedule, layer.dropout, layer.seed, dropout_key, depth)


def _new_output(layer: Configured, batch: Batch) -> Array:
    shape = output_shape(layer, batch)
    return np.zeros(shape, layer.dtype) if batch.schedule.is_ragged else np.empty(shape, layer.dtype)


# Small calls in a row would take several times as long to find what runs them as to compute: each thread keeps that for
# the shapes of batch it has seen last. Schedules of equal lengths are found again (`cpu.uniform_schedule`).

MOST_READY = 4  # of a layer, forward and backward, in a thread
LARGEST_READY = 1 << 22  # bytes of scratch memory; finding a larger one anew takes far less time than running it


def _ready(layer: Configured, kind: Any, schedule: Any, slices: int) -> list[list[tuple[Place, int, Any]]]:
    """Of each layer and direction: its place, its row in the states, and the `cpu.Forward` or `cpu.Backward` of it."""
    kept = layer._local.__dict__.setdefault(kind.__name__.lower(), [])
    for own_schedule, own_slices, known in kept:
        if own_schedule is schedule and own_slices == slices:
            return known  # type: ignore[no-any-return]
    layout = layer._layout
    found: list[list[tuple[Place, int, Any]]] = [[] for _ in range(layout.num_layers)]
    for place in layout.places():
        sizes = layout.input_size_of(place.layer), layout.hidden_size, layer.dtype
        run = kind(layer._cell, place.direction, schedule, slices, *sizes)
        found[place.layer].append((place, layout.row(place), run))
    runs = [run for own in found for _, _, run in own]
    if schedule.recurs and sum(array.nbytes for run in runs for array in run.scratch) <= LARGEST_READY:
        del kept[: max(0, len(kept) + 1 - MOST_READY)]
        kept.append((schedule, slices, found))
    return found


def _rows(array: Array) -> Array:
    """All sequences and time steps as one axis."""
    return array.reshape(-1, array.shape[-1])


# Weights are packed once for every version of the parameters; if two threads both do it, the results are equal.


def packed(layer: Configured, snapshot: Snapshot, place: Place, slices: int = 1) -> Any:
    weights = snapshot.derived.get((slices, place))
    if weights is None:
        arrays = layer._layout.kernel_arrays(snapshot.arrays, place)
        weights = snapshot.derived[slices, place] = layer._pack(*arrays, slices)
    return weights


def packed_backward(layer: Configured, snapshot: Snapshot, place: Place) -> Any:
    weights = snapshot.derived.get(("backward", place))
    if weights is None:
        W_ih, W_hh, _, _ = layer._layout.kernel_arrays(snapshot.arrays, place)
        weights = snapshot.derived["backward", place] = cpu.pack_backward_weights(layer._cell, W_ih, W_hh)
    return weights
