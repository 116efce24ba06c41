"""A stack of layers and directions: in which order they run, forward and backward."""

from typing import TYPE_CHECKING, Any

import numpy as np

from fastgate._arrays import Array
from fastgate._border import Batch
from fastgate._kernels import cpu, memory
from fastgate._params import NamedArrays, Snapshot
from fastgate._tape import Record, Tape
from fastgate._weights import Place

if TYPE_CHECKING:
    from fastgate._recurrent import Recurrent


def forward(
    layer: "Recurrent",
    snapshot: Snapshot,
    batch: Batch,
    start: list[Array],
    end: list[Array],
    dropout_key: int | None,
    records: dict[Place, Record] | None,
) -> list[Array]:
    """states `start` -> states `end`, and `records` if they are to be kept; each direction's rows (P,Hp) returned"""
    layout, schedule = layer._layout, batch.schedule
    rows, outputs = batch.rows, []
    for depth in range(layout.num_layers):
        outputs = []
        for direction in range(layout.directions):
            place = Place(depth, direction)
            x = _in_direction(rows, schedule, direction)
            trace = _forward_one(layer, place, snapshot, x, start, end, schedule, keep=records is not None)
            outputs.append(trace.h[batch.sequences :])
            if records is not None:
                records[place] = Record(x, trace)
        if depth + 1 < layout.num_layers:
            rows = _side_by_side(layer, outputs, schedule)
            if dropout_key is not None:
                rows = rows.copy()
                cpu.dropout(rows, schedule.time, schedule.sequence, layer.dropout, layer.seed, dropout_key, depth)
    return outputs


def backward(
    layer: "Recurrent", tape: Tape, d_rows: Array, end: list[Array], start: list[Array], gradients: NamedArrays
) -> Array:
    """d_rows (P,D*H) of the output, `end` of the final states -> gradients, `start`; those of the input (P,I) returned"""
    layout, schedule = layer._layout, tape.schedule
    for depth in reversed(range(layout.num_layers)):
        if tape.dropout_key is not None and depth + 1 < layout.num_layers:
            cpu.dropout(d_rows, schedule.time, schedule.sequence, layer.dropout, layer.seed, tape.dropout_key, depth)
        I = layout.input_size_of(depth)
        d_inputs = memory.zeros((schedule.rows, I), layer.dtype)
        for direction in range(layout.directions):
            dx = _backward_one(layer, Place(depth, direction), tape, d_rows, end, start, gradients)
            cpu.scatter_add(dx, schedule.in_direction(direction), I, d_inputs, 0)
        d_rows = d_inputs
    return d_rows


def _forward_one(
    layer: "Recurrent",
    place: Place,
    snapshot: Snapshot,
    x: Array,
    start: list[Array],
    end: list[Array],
    schedule: Any,
    keep: bool,
) -> Any:
    """One direction of one layer, from its row of `start` to that of `end`."""
    H, B, row = layer.hidden_size, start[0].shape[1], layer._layout.row(place)
    Hp = cpu.features.padded(H, layer.dtype)
    h = memory.empty((B + schedule.rows, Hp), layer.dtype)
    c = memory.empty((h.shape[0] if keep else B, Hp) if layer._cell.has_memory else (0, Hp), layer.dtype)
    for states, first in zip((h, c), start, strict=False):
        cpu.gather(first[row], 0, schedule.order, H, states[:B], 0)
    trace = cpu.forward(layer._cell, packed(layer, snapshot, place), x, h, c, schedule, keep)
    finals = schedule.final, schedule.final if keep else schedule.rank_of
    for states, last, index in zip((h, c), end, finals, strict=False):
        cpu.gather(states, 0, index, H, last[row], 0)
    return trace


def _backward_one(
    layer: "Recurrent",
    place: Place,
    tape: Tape,
    d_rows: Array,
    end: list[Array],
    start: list[Array],
    gradients: NamedArrays,
) -> Array:
    """One direction of one layer, from its row of `end` to that of `start`; the gradient of its input returned."""
    schedule, H, B = tape.schedule, layer.hidden_size, end[0].shape[1]
    row = layer._layout.row(place)
    x, trace = tape.records[place]
    dh = memory.zeros(trace.h.shape, layer.dtype)
    dc = memory.zeros((B if layer._cell.has_memory else 0, dh.shape[1]), layer.dtype)
    cpu.gather(d_rows, place.direction * H, schedule.in_direction(place.direction), H, dh[B:], 0)
    dh[schedule.final, :H] += end[0][row]
    if layer._cell.has_memory:
        cpu.gather(end[1][row], 0, schedule.order, H, dc, 0)
    da, dx = cpu.backward(layer._cell, packed_backward(layer, tape.snapshot, place), trace, dh, dc, schedule)
    targets = layer._layout.gradient_arrays(gradients, place)
    cpu.weight_gradients(layer._cell, trace, x, da, schedule, targets)
    layer._layout.finish_gradients(gradients, place, targets[3])
    for states, first in zip((dh, dc), start, strict=False):
        cpu.gather(states, 0, schedule.rank_of, H, first[row], 0)
    return dx


def _in_direction(rows: Array, schedule: Any, direction: int) -> Array:
    """Input rows in the order in which a direction runs them."""
    if direction == 0:
        return rows
    turned = memory.empty(rows.shape, rows.dtype)
    cpu.gather(rows, 0, schedule.reverse, rows.shape[1], turned, 0)
    return turned


def _side_by_side(layer: "Recurrent", outputs: list[Array], schedule: Any) -> Array:
    """The directions' rows (P,Hp) -> the next layer's input rows (P,D*H)."""
    H = layer.hidden_size
    if len(outputs) == 1 and outputs[0].shape[1] == H:
        return outputs[0]
    joined = memory.empty((schedule.rows, len(outputs) * H), layer.dtype)
    for direction, rows in enumerate(outputs):
        cpu.scatter(rows, 0, schedule.in_direction(direction), H, joined, direction * H)
    return joined


# Weights are packed once for every version of the parameters; if two threads both do it, the results are equal.


def packed(layer: "Recurrent", snapshot: Snapshot, place: Place) -> Any:
    weights = snapshot.derived.get(place)
    if weights is None:
        arrays = layer._layout.kernel_arrays(snapshot.arrays, place)
        weights = snapshot.derived[place] = cpu.pack_weights(layer._cell, *arrays)
    return weights


def packed_backward(layer: "Recurrent", snapshot: Snapshot, place: Place) -> Any:
    weights = snapshot.derived.get(("backward", place))
    if weights is None:
        W_ih, W_hh, _, _ = layer._layout.kernel_arrays(snapshot.arrays, place)
        weights = snapshot.derived["backward", place] = cpu.pack_backward_weights(layer._cell, W_ih, W_hh)
    return weights
