"""A stack of layers and directions: in which order they run, forward and backward."""

from typing import Any

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
    x: Array,
    batch: Batch,
    start: list[Array],
    end: list[Array],
    out: Array | None,
) -> Array:
    """Inference: states `start` -> states `end`; y returned, laid out as x, and `out` if that is given"""
    last_layer = layer.num_layers - 1
    for depth, own in enumerate(_ready(layer, layer._cell, layer._kernels.Forward, batch)):
        if depth < last_layer:  # beyond the lengths it is never read
            y = layer._kernels.scratch(("y", depth % 2), batch.y_shape, layer.dtype)
        elif out is None:
            y = _new(layer, batch, batch.y_shape)
        else:
            y = out
            if batch.schedule.is_ragged:
                y[...] = 0
        for place, run in own:
            run(packed(layer, layer._cell, snapshot, place, batch.slices), x, y, start, end)
        x = y
    return x


def record(
    layer: Configured, cell: Any, snapshot: Snapshot, x: Array, batch: Batch, start: list[Array], end: list[Array],
    dropout_key: int | None, steps: int | None,
) -> tuple[Array, list[Record]]:  # fmt: skip
    """The same for training, with a record of each direction of each layer: all of it, or the states at every so many
    `steps`.
    """
    records, dropout = [], _recurrent_dropout(layer, cell, dropout_key)
    ready = _ready(layer, cell, layer._kernels.Forward, batch) if steps is None else []
    for depth in range(layer.num_layers):
        y = _new(layer, batch, batch.y_shape)
        for direction in range(layer._layout.directions):
            if steps is None:
                place, run = ready[depth][direction]
                weights = packed(layer, cell, snapshot, place, batch.slices)
                tape = run.record(weights, x, y, start, end, dropout.get(place))
            else:
                place = Place(depth, direction)
                row, weights = layer._layout.row(place), packed(layer, cell, snapshot, place, batch.slices)
                first, last = [part[row] for part in start], [part[row] for part in end]
                where = batch.schedule, batch.slices, steps, dropout.get(place)
                tape = layer._kernels.record_states(cell, weights, _rows(x), _rows(y), direction, first, last, *where)
            records.append(Record(x, tape))
        _drop(layer, y, batch, dropout_key, depth)
        x = y
    return x, records


def backward(
    layer: Configured, tape: Tape, dy: Array, end: list[Array], start: list[Array], gradients: NamedArrays
) -> Array:
    """dy, `end` of the final states -> gradients, `start` of the initial states; dx returned, laid out as x

    Gradients (B,P) are those of each sequence, of a whole tape.
    """
    layout, batch, cell = layer._layout, tape.batch, layer._cell_of(tape.dropout_key)
    dropout = _recurrent_dropout(layer, cell, tape.dropout_key)
    is_whole, is_of_each = isinstance(tape.records[0].tape, layer._kernels.Trace), gradients.flat.ndim == 2
    ready = _ready(layer, cell, layer._kernels.Backward, batch) if is_whole else []
    for depth in reversed(range(layout.num_layers)):
        _drop(layer, dy, batch, tape.dropout_key, depth)
        dx = _new(layer, batch, (*batch.x_shape[:2], layout.input_size_of(depth)))
        found: list[tuple[Place, Any]] = []
        for direction in range(layout.directions):
            place = Place(depth, direction)
            row, weights = layout.row(place), packed_backward(layer, tape.snapshot, place)
            x, own = tape.records[row]
            if is_of_each:
                _, run = ready[depth][direction]
                samples = layout.sample_arrays(gradients.flat, place)
                run.per_sample(weights, own, x, dy, end, start, dx, samples, dropout.get(place))
                found.append((place, samples))
                continue
            targets, extras = layout.gradient_arrays(gradients.flat, place)
            if is_whole:
                _, run = ready[depth][direction]
                run.whole(weights, own, x, dy, end, start, dx, targets, extras, dropout.get(place))
            else:
                last, first = [part[row] for part in end], [part[row] for part in start]
                layer._kernels.recompute(
                    cell, weights, own, _rows(x), _rows(dy), direction, last, first, _rows(dx), batch.schedule,
                    batch.slices, targets, extras, dropout.get(place),
                )  # fmt: skip
            found.append((place, targets[3]))
        finish = layout.finish_samples if is_of_each else layout.finish_gradients
        for place, computed in found:  # a device may compute both directions at once
            finish(gradients.flat, place, computed)
        dy = dx
    return dy


def _drop(layer: Configured, array: Array, batch: Batch, dropout_key: int | None, depth: int) -> None:
    """Dropout after every layer but the last, and on the way back of its gradient; None for no dropout."""
    if dropout_key is not None and layer.dropout and depth + 1 < layer.num_layers:
        layer._kernels.dropout(_rows(array), batch.schedule, layer.dropout, layer.seed, dropout_key, depth)


def _recurrent_dropout(layer: Configured, cell: Any, dropout_key: int | None) -> dict[Place, Any]:
    """What tells the masks of each direction of each layer, if the cell is masked."""
    if not cell.is_masked:
        return {}
    whole = cpu.RecurrentDropout.of(layer.recurrent_dropout, layer.seed, dropout_key)
    return {place: whole.at(place.layer, place.direction) for place in layer._layout.places()}


def _new(layer: Configured, batch: Batch, shape: tuple[int, ...]) -> Array:
    """Zeros where nothing will be written."""
    make = layer._kernels.zeros if batch.schedule.is_ragged else layer._kernels.empty
    return make(shape, layer.dtype)  # type: ignore[no-any-return]


# Small calls in a row would take several times as long to find what runs them as to compute: each thread keeps that for
# the shapes of batch it has seen last. Schedules of equal lengths are found again (`cpu.uniform_schedule`).

MOST_READY = 4  # of a layer, forward and backward, in a thread
LARGEST_READY = 1 << 22  # bytes of scratch memory; finding a larger one anew takes far less time than running it


def _ready(layer: Configured, cell: Any, kind: Any, batch: Batch) -> list[list[tuple[Place, Any]]]:
    """Of each layer and direction: its place, and the `Forward` or `Backward` of it."""
    schedule, slices = batch.schedule, batch.slices
    kept = layer._local.__dict__.setdefault(kind.__name__, [])
    for own_schedule, own_slices, own_cell, known in kept:
        if own_schedule is schedule and own_slices == slices and own_cell is cell:
            return known  # type: ignore[no-any-return]
    layout = layer._layout
    found: list[list[tuple[Place, Any]]] = [[] for _ in range(layout.num_layers)]
    for place in layout.places():
        sizes = layout.input_size_of(place.layer), layout.hidden_size, layout.output_size, layer.dtype
        run = kind(cell, place.direction, schedule, slices, *sizes, layout.row(place))
        found[place.layer].append((place, run))
    runs = [run for own in found for _, run in own]
    if schedule.recurs and sum(array.nbytes for run in runs for array in run.scratch) <= LARGEST_READY:
        del kept[: max(0, len(kept) + 1 - MOST_READY)]
        kept.append((schedule, slices, cell, found))
    return found


def _rows(array: Array) -> Array:
    """All sequences and time steps as one axis."""
    return array.reshape(-1, array.shape[-1])


# Weights are packed once for every version of the parameters; if two threads both do it, the results are equal.


def packed(layer: Configured, cell: Any, snapshot: Snapshot, place: Place, slices: int = 1) -> Any:
    key = cell.is_masked, slices, place
    weights = snapshot.derived.get(key)
    if weights is None:
        arrays = layer._layout.kernel_arrays(snapshot.arrays, place)
        extras = layer._layout.kernel_extras(snapshot.arrays, place)
        weights = snapshot.derived[key] = layer._pack(cell, *arrays, extras, slices)
    return weights


def packed_backward(layer: Configured, snapshot: Snapshot, place: Place) -> Any:
    weights = snapshot.derived.get(("backward", place))
    if weights is None:
        W_ih, W_hh, _, _ = layer._layout.kernel_arrays(snapshot.arrays, place)
        extras = layer._layout.kernel_extras(snapshot.arrays, place)
        weights = layer._kernels.pack_backward_weights(layer._cell, W_ih, W_hh, extras)
        snapshot.derived["backward", place] = weights
    return weights
