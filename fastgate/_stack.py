"""A stack of layers and directions: in which order they run, forward and backward."""

from typing import Any

import numpy as np

from fastgate._arrays import Array
from fastgate._border import Batch, output_shape
from fastgate._configuration import Configured
from fastgate._kernels import cpu
from fastgate._params import NamedArrays, Snapshot
from fastgate._tape import Record, Tape
from fastgate._weights import Place


def forward(
    layer: Configured, snapshot: Snapshot, batch: Batch, start: list[Array], end: list[Array], out: Array | None
) -> Array:
    """Inference: states `start` -> states `end`; y returned, laid out as x, and `out` if that is given"""
    x, ready = batch.x, _ready(layer, snapshot, batch)
    for own in ready:
        if out is not None and own is ready[-1]:
            y = out
            if batch.schedule.is_ragged:
                y[...] = 0
        else:
            y = _new_output(layer, batch)
        x_rows, y_rows = _rows(x), _rows(y)
        for row, run in own:
            run(x_rows, y_rows, [part[row] for part in start], [part[row] for part in end])
        x = y
    return x


def record(
    layer: Configured,
    snapshot: Snapshot,
    batch: Batch,
    start: list[Array],
    end: list[Array],
    dropout_key: int | None,
    steps: int | None,
) -> tuple[Array, list[Record]]:
    """The same for training, with a record of each direction of each layer; of the states at every so many `steps`
    only, if not None.
    """
    x, schedule, records = batch.x, batch.schedule, []
    for depth, own in enumerate(_ready(layer, snapshot, batch)):
        y = _new_output(layer, batch)
        x_rows, y_rows = _rows(x), _rows(y)
        for direction, (row, run) in enumerate(own):
            first, last = [part[row] for part in start], [part[row] for part in end]
            if steps is None:
                tape = run.record(x_rows, y_rows, first, last)
            else:
                weights = packed(layer, snapshot, Place(depth, direction), batch.slices)
                tape = cpu.record_states(
                    layer._cell, weights, x_rows, y_rows, direction, first, last, schedule, steps
                )  # fmt: skip
            records.append(Record(x, tape))
        if dropout_key is not None and depth + 1 < layer.num_layers:
            cpu.dropout(y_rows, schedule, layer.dropout, layer.seed, dropout_key, depth)
        x = y
    return x, records


def _new_output(layer: Configured, batch: Batch) -> Array:
    shape = output_shape(layer, batch)
    return np.zeros(shape, layer.dtype) if batch.schedule.is_ragged else np.empty(shape, layer.dtype)


def _ready(layer: Configured, snapshot: Snapshot, batch: Batch) -> list[list[tuple[int, Any]]]:
    """Of each layer and direction the row in the states, and what runs it; kept by each thread until something changes.

    Small calls in a row would take several times as long to find all of it as to compute.
    """
    known = getattr(layer._local, "forward", None)
    if known is not None and known[0] is snapshot and known[1] is batch.schedule and known[2] == batch.slices:
        return known[3]  # type: ignore[no-any-return]
    layout, found = layer._layout, []
    for depth in range(layout.num_layers):
        own = []
        for direction in range(layout.directions):
            place = Place(depth, direction)
            weights = packed(layer, snapshot, place, batch.slices)
            sizes = layout.input_size_of(depth), layout.hidden_size, layer.dtype
            own.append((layout.row(place), cpu.Forward(layer._cell, weights, direction, batch.schedule, *sizes)))
        found.append(own)
    layer._local.forward = snapshot, batch.schedule, batch.slices, found
    return found


def backward(
    layer: Configured, tape: Tape, dy: Array, end: list[Array], start: list[Array], gradients: NamedArrays
) -> Array:
    """dy, `end` of the final states -> gradients, `start` of the initial states; dx returned, laid out as x"""
    layout, schedule = layer._layout, tape.schedule
    for depth, own in reversed(list(enumerate(_ready_back(layer, tape)))):
        if tape.dropout_key is not None and depth + 1 < layout.num_layers:
            cpu.dropout(_rows(dy), schedule, layer.dropout, layer.seed, tape.dropout_key, depth)
        shape = (*tape.x_shape[:-1], layout.input_size_of(depth))
        dx = np.zeros(shape, layer.dtype) if schedule.is_ragged else np.empty(shape, layer.dtype)
        dy_rows, dx_rows = _rows(dy), _rows(dx)
        for place, run in own:
            row = layout.row(place)
            last, first = [part[row] for part in end], [part[row] for part in start]
            x, own_tape = tape.records[row]
            targets = layout.gradient_arrays(gradients, place)
            if isinstance(own_tape, cpu.Trace):
                run.whole(own_tape, _rows(x), dy_rows, last, first, dx_rows, targets)
            else:
                weights = packed_backward(layer, tape.snapshot, place)
                cpu.recompute(
                    layer._cell, weights, own_tape, _rows(x), dy_rows, place.direction, last, first, dx_rows,
                    schedule, tape.slices, targets,
                )  # fmt: skip
            layout.finish_gradients(gradients, place, targets[3])
        dy = dx
    return dy


def _ready_back(layer: Configured, tape: Tape) -> list[list[tuple[Place, Any]]]:
    """Of each layer and direction what runs it backward; kept like `_ready`."""
    known = getattr(layer._local, "backward", None)
    if known is not None and known[0] is tape.snapshot and known[1] is tape.schedule and known[2] == tape.slices:
        return known[3]  # type: ignore[no-any-return]
    layout, found = layer._layout, []
    for depth in range(layout.num_layers):
        sizes = layout.input_size_of(depth), layout.hidden_size, layer.dtype
        own = []
        for direction in range(layout.directions):
            place = Place(depth, direction)
            weights = packed_backward(layer, tape.snapshot, place)
            own.append((place, cpu.Backward(layer._cell, weights, direction, tape.schedule, tape.slices, *sizes)))
        found.append(own)
    layer._local.backward = tape.snapshot, tape.schedule, tape.slices, found
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
