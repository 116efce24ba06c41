"""A stack of layers and directions: in which order they run, forward and backward."""

from typing import Any

import numpy as np

from fastgate._arrays import Array
from fastgate._border import Batch
from fastgate._configuration import Configured
from fastgate._kernels import cpu
from fastgate._params import NamedArrays, Snapshot
from fastgate._tape import Record, Tape
from fastgate._weights import Place


def forward(
    layer: Configured,
    snapshot: Snapshot,
    batch: Batch,
    start: list[Array],
    end: list[Array],
    dropout_key: int | None,
    records: dict[Place, Record] | None,
    recompute: int | None,
) -> Array:
    """states `start` -> states `end`, and `records` if they are to be kept; y returned, laid out as x

    recompute: keep only the states at every so many steps, None for everything.
    """
    layout, schedule, x = layer._layout, batch.schedule, batch.x
    for depth in range(layout.num_layers):
        shape = (*batch.x.shape[:-1], layout.directions * layout.hidden_size)
        y = np.zeros(shape, layer.dtype) if schedule.is_ragged else np.empty(shape, layer.dtype)
        for direction in range(layout.directions):
            place = Place(depth, direction)
            row = layout.row(place)
            first, last = [part[row] for part in start], [part[row] for part in end]
            weights = packed(layer, snapshot, place, batch.slices)
            arguments = layer._cell, weights, _rows(x), _rows(y), direction, first, last, schedule
            if records is None:
                cpu.forward(*arguments, False)
            else:
                records[place] = Record(x, cpu.record(*arguments, recompute))
        if dropout_key is not None and depth + 1 < layout.num_layers:
            cpu.dropout(_rows(y), schedule, layer.dropout, layer.seed, dropout_key, depth)
        x = y
    return x


def backward(
    layer: Configured, tape: Tape, dy: Array, end: list[Array], start: list[Array], gradients: NamedArrays
) -> Array:
    """dy, `end` of the final states -> gradients, `start` of the initial states; dx returned, laid out as x"""
    layout, schedule = layer._layout, tape.schedule
    for depth in reversed(range(layout.num_layers)):
        if tape.dropout_key is not None and depth + 1 < layout.num_layers:
            cpu.dropout(_rows(dy), schedule, layer.dropout, layer.seed, tape.dropout_key, depth)
        shape = (*tape.x_shape[:-1], layout.input_size_of(depth))
        dx = np.zeros(shape, layer.dtype) if schedule.is_ragged else np.empty(shape, layer.dtype)
        for direction in range(layout.directions):
            place = Place(depth, direction)
            row = layout.row(place)
            last, first = [part[row] for part in end], [part[row] for part in start]
            x, own_tape = tape.records[place]
            targets = layout.gradient_arrays(gradients, place)
            cpu.backward(
                layer._cell, packed_backward(layer, tape.snapshot, place), own_tape, _rows(x), _rows(dy), direction,
                last, first, _rows(dx), schedule, tape.slices, targets,
            )  # fmt: skip
            layout.finish_gradients(gradients, place, targets[3])
        dy = dx
    return dy


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
