"""How an ensemble runs members that are too small to be worth a call each."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastgate import _border, _errors, _stack
from fastgate._arrays import Array
from fastgate._kernels import cpu
from fastgate._members import split_states
from fastgate._params import NamedArrays, Snapshot
from fastgate._tape import Gradients, Record, State
from fastgate._weights import Place

if TYPE_CHECKING:
    from fastgate.ensemble import Ensemble

TAPES_AT_ONCE = 1 << 20  # bytes for each thread: what the way back finds in the caches, and no page that is new


class Tapes(NamedTuple):
    """Those of all members."""

    snapshots: tuple[Snapshot, ...]
    batch: _border.Batch
    records: list[Record]  # of every direction of every layer x and a trace


def fit_in_caches(layer: Any, count: int, x: Any) -> bool:
    """Whether the tapes of so many members, with this input each, are at most `TAPES_AT_ONCE`."""
    layout, cell = layer._layout, layer._cell
    kept = layout.output_size + (cell.gates_kept + cell.has_memory) * layout.hidden_size
    columns = layout.num_layers * layout.directions * (kept + layout.output_size)
    nbytes = np.size(x) // layout.input_size * columns * layer.dtype.itemsize
    return bool(count * nbytes <= cpu.team.get_threads() * TAPES_AT_ONCE)


def is_small(layer: Any, batch: _border.Batch, keep: bool, training: bool) -> bool:
    """Whether members are run by one call in compiled code: each of them is worth no more than one thread, and its way
    back has nothing but the usual sums."""
    cell, drops = layer._cell, training and (layer.dropout or layer.recurrent_dropout)
    has_extras = keep and (cell.peephole_gates or cell.is_projected)
    is_one_part = batch.slices == len(batch.schedule.parts) == 1
    return bool(is_one_part and batch.segments is None and not drops and not has_extras)


def run(
    ensemble: Ensemble, x: Any, each: bool, state: Any, batch: _border.Batch, lengths: Any, mask: Any, keep: bool
) -> tuple[Array, State, Tapes]:
    """y, the final states, and with `keep` tapes."""
    snapshots = _snapshots(ensemble)
    layer, count, unbatched = ensemble._first, len(ensemble), batch.is_unbatched
    if each:
        rows = [_border.read_batch(layer, layer._cell, row, lengths, mask)[0] for row in x]
        own: Any = cpu.Each(np.stack(rows))
    else:
        own, _, is_copy = _border.read_batch(layer, layer._cell, x, lengths, mask)
        own = own.copy() if keep and not is_copy else own
    start = _read_states(ensemble, "state", state, batch)
    end = [_each((count, *part.shape), layer.dtype) for part in batch.zeros]
    places = list(layer._layout.places())
    words = {place: _words(ensemble, snapshots, place, backward=False) for place in places}
    ready = _stack._ready(layer, layer._cell, cpu.Forward, batch)
    inputs, records = [own], []
    for depth in range(layer.num_layers):
        inputs.append(cpu.Each(_stack._new(layer, batch, (count, *batch.y_shape))))
        for _, forward in ready[depth]:
            records.append(Record(inputs[depth], cpu.new_trace(forward, count) if keep else None))

    def some(first: int, last: int) -> None:  # in a thread that has scratch memory of its own
        mine = [pair for layer_runs in _stack._ready(layer, layer._cell, cpu.Forward, batch) for pair in layer_runs]
        for (place, forward), (own_x, trace) in zip(mine, records, strict=True):
            members = cpu.ForwardMembers(layer._cell, forward, words[place])
            members(own_x, inputs[place.layer + 1], start, end, trace, first, last)

    _share(ensemble, batch, some)
    y: Array = inputs[-1].array
    y.flags.writeable = not keep
    states = [part.array for part in end]
    return (y[:, 0] if unbatched else y), _write_states(states, unbatched), Tapes(snapshots, batch, records)


def backward(ensemble: Ensemble, tape: Tapes, dy: Array | None, dstate: Any) -> Gradients:
    """The way back of `run`."""
    if tape.snapshots != _snapshots(ensemble):
        raise _errors.stale_tape()
    if dy is None and dstate is None:
        raise _errors.nothing_to_propagate()
    layer, count, batch = ensemble._first, len(ensemble), tape.batch
    layout, dtype = layer._layout, layer.dtype
    end = _read_states(ensemble, "dstate", dstate, batch)
    start = [_each((count, *part.shape), dtype) for part in batch.zeros]
    rows: Any = [None] * count if dy is None else dy
    own_dy = cpu.Each(np.stack([_border.read_output_gradient(layer, row, batch) for row in rows]))
    places, G = list(layout.places()), layout.gates * layout.hidden_size
    words = {place: _words(ensemble, tape.snapshots, place, backward=True) for place in places}
    sizes = {place: (layout.input_size_of(place.layer), layout.output_size) for place in places}
    sums = {place: cpu.new_sums(count, G, *sizes[place], dtype) for place in places}
    widths = [layout.input_size_of(depth) for depth in range(layout.num_layers)]
    d_inputs = [cpu.Each(_stack._new(layer, batch, (count, *batch.x_shape[:2], width))) for width in widths]
    d_inputs.append(own_dy)

    def some(first: int, last: int) -> None:
        mine = _stack._ready(layer, layer._cell, cpu.Backward, batch)
        for depth in reversed(range(layout.num_layers)):
            for place, run_back in mine[depth]:
                x, trace = tape.records[layout.row(place)]
                members = cpu.BackwardMembers(layer._cell, run_back, words[place])
                where = d_inputs[depth + 1], end, start, d_inputs[depth]
                members(trace, x, *where, sums[place], first, last)

    _share(ensemble, batch, some)
    gradients = NamedArrays(np.empty((count, layer.params.flat.size), dtype), layout.shapes)
    for place in places:
        shapes = [shape for _, shape in layout._spans[place]]
        found = [part.array[:, :, :width] for part, (_, width) in zip(sums[place], shapes, strict=False)]
        layout.place_samples(gradients.flat, place, found)
        layout.finish_gradients(gradients.flat, place, found[3])
    dx: Array = d_inputs[0].array
    states = _write_states([part.array for part in start], batch.is_unbatched)
    return Gradients(dx[:, 0] if batch.is_unbatched else dx, states, gradients)


def _share(ensemble: Ensemble, batch: _border.Batch, some: Any) -> None:
    """Members over threads."""
    count = len(ensemble)
    parts = cpu.parts_for(count, count * batch.schedule.rows, ensemble._first._multiply_adds)
    cpu.team.run_kernel(some, list(pairwise([count * i // parts for i in range(parts + 1)])))


def _each(shape: tuple[int, ...], dtype: Any) -> Any:
    return cpu.Each(np.empty(shape, dtype))


def _words(ensemble: Ensemble, snapshots: tuple[Snapshot, ...], place: Place, *, backward: bool) -> Any:
    """All members' packed weights, as kernels read them: found once for every version of the parameters."""
    key = place, backward
    known = ensemble._words.get(key)
    if known is not None and known[0] == snapshots:
        return known[1]
    pairs: list[Any] = list(zip(ensemble.members, snapshots, strict=True))
    if backward:
        weights = [_stack.packed_backward(layer, snapshot, place) for layer, snapshot in pairs]
        words = cpu.BACKWARD_WEIGHTS.words(weights)
    else:
        weights = [_stack.packed(layer, layer._cell, snapshot, place) for layer, snapshot in pairs]
        words = cpu.FORWARD_WEIGHTS.words(weights)
    ensemble._words[key] = snapshots, words  # which hold the weights that the words refer to
    return words


def _read_states(ensemble: Ensemble, name: str, state: Any, batch: _border.Batch) -> list[Any]:
    """Of all members; or zeros, which they share."""
    layer, unbatched = ensemble._first, batch.is_unbatched
    if state is None:
        return list(batch.zeros)
    parts = [
        _border.read_states(layer, name, own, batch.zeros, unbatched=unbatched)
        for own in split_states(name, state, len(ensemble))
    ]
    return [cpu.Each(np.stack(own)) for own in zip(*parts, strict=True)]


def _snapshots(ensemble: Ensemble) -> tuple[Snapshot, ...]:
    layers: Any = ensemble.members
    return tuple(layer.params._snapshot for layer in layers)


def _write_states(parts: list[Array], unbatched: bool) -> State:
    shaped = [part[:, :, 0] for part in parts] if unbatched else parts
    return (shaped[0], shaped[1]) if len(shaped) == 2 else shaped[0]
