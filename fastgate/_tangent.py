"""Forward-mode derivatives of recurrent layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgate import _errors, _stack
from fastgate._arrays import Array, as_floating, beside
from fastgate._configuration import Configured
from fastgate._kernels import cpu
from fastgate._params import NamedArrays
from fastgate._tape import State
from fastgate._weights import Place


class Tangents(Configured):
    """What lets a recurrent layer be differentiated forwards."""

    def jvp(
        self,
        x: npt.ArrayLike,
        state: Any = None,
        *,
        dx: npt.ArrayLike | None = None,
        dstate: Any = None,
        dparams: Mapping[str, npt.ArrayLike] | npt.ArrayLike | None = None,
        lengths: npt.ArrayLike | None = None,
        mask: npt.ArrayLike | None = None,
        reset: npt.ArrayLike | None = None,
    ) -> tuple[Array, State, Array, State]:
        """Run the layer for inference, and its derivative along one direction (Jacobian-vector product).

        How y changes when x, the first state and the parameters move by `dx`, `dstate` and `dparams`, to first order;
        exactly what a central difference approaches. It takes about three times as long as calling the layer, with
        `dparams` about twice that; and memory for the tape of one direction of one layer and some three more of its
        size. Nothing is kept. On a GPU it is computed step by step, a launch or two for each.

        Parameters
        ----------
        x, state, lengths, mask, reset
            As in calling the layer.
        dx : array_like, the shape of x, optional
            Never read beyond a sequence's length, or where the mask is False.
        dstate : array_like or pair, the shape of the state, optional
            For an LSTM either of the pair may be None.
        dparams : mapping from names of parameters to arrays of their shapes, or the vector of all of them, optional
            Names left out do not move. What `backward` returns as ``params`` is one.

        Returns
        -------
        y : ndarray, (B, T, D * H)
        state : as the argument
        dy : ndarray, the shape of y
        dstate : as the argument
            Of the final state.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, shape or range, or none of the three directions is given.
        """
        if dx is None and dparams is None and _is_nothing(dstate):
            raise _errors.no_direction()
        if self._cell.is_projected:
            self._check_on_cpu("jvp with proj_size")
        border = self._border
        own, batch, _ = border.read_batch(self, self._cell, x, lengths, mask, reset)
        pairs = []
        for name, value in (("state", state), ("dstate", dstate)):
            given = border.read_states(self, name, value, batch.zeros, unbatched=batch.is_unbatched)
            pairs.append(border.states_of_run(self, batch, given))
        starts, ends = [list(parts) for parts in zip(*pairs, strict=True)]
        arrays = None if dparams is None else _read_parameters(self, dparams)
        tangent = border.read_input_tangent(self, dx, batch)
        y, dy = _run(self, own, tangent, batch, starts, ends, arrays)
        end, d_end = (border.write_end(self, batch, parts) for parts in ends)
        return border.write_output(batch, y), end, border.write_output(batch, dy), d_end


def _is_nothing(dstate: Any) -> bool:
    return dstate is None or (isinstance(dstate, (tuple, list)) and all(part is None for part in dstate))


def _read_parameters(layer: Configured, dparams: Any) -> NamedArrays:
    """All of them where the layer's lie, zeros where none are given."""
    found = NamedArrays(np.zeros(layer.params.flat.size, layer.dtype), layer._layout.shapes)
    if not isinstance(dparams, Mapping):
        flat = as_floating("dparams", dparams, layer.dtype)
        if flat.shape != found.flat.shape:
            raise _errors.wrong_shape("dparams", f"{found.flat.shape}, or a mapping", flat.shape)
        found.flat[...] = flat
        return _beside_parameters(layer, found)
    for name, value in dparams.items():
        if name not in found:
            raise _errors.no_such_parameter(name, found)
        array = as_floating(f"dparams[{name!r}]", value, layer.dtype)
        if array.shape != found[name].shape:
            raise _errors.wrong_shape(f"dparams[{name!r}]", f"{found[name].shape}", array.shape)
        found[name][...] = array
    return _beside_parameters(layer, found)


def _beside_parameters(layer: Configured, arrays: NamedArrays) -> NamedArrays:
    return NamedArrays(beside(layer.params.flat, arrays.flat), layer._layout.shapes)


def _run(
    layer: Configured, x: Array, dx: Array, batch: Any, starts: list[list[Array]], ends: list[list[Array]],
    dparams: NamedArrays | None,
) -> tuple[Array, Array]:  # fmt: skip
    """x and dx -> y and dy, through the stack; `starts` and `ends` are of the states and of their tangents."""
    run_layer = (_on_cpu if layer.device == "cpu" else _on_device)(layer, batch, starts, ends, dparams)
    for depth in range(layer.num_layers):
        y, dy = _stack._new(layer, batch, batch.y_shape), _stack._new(layer, batch, batch.y_shape)
        run_layer(depth, x, dx, y, dy)
        x, dx = y, dy
    return x, dx


def _on_cpu(layer: Configured, batch: Any, starts: Any, ends: Any, dparams: NamedArrays | None) -> Any:
    """What runs one layer: tangents are the run of another cell, in the scratch memory of a direction."""
    layout, cell, snapshot, schedule = layer._layout, layer._cell, layer.params._snapshot, batch.schedule
    tangent, sizes = cell.tangent, (layer.hidden_size, layout.output_size)
    ready = _stack._ready(layer, cell, cpu.Forward, batch)
    ready_tangents = _stack._ready(layer, tangent.cell, cpu.Forward, batch)

    def run_layer(depth: int, x: Array, dx: Array, y: Array, dy: Array) -> None:
        for (place, run), (_, run_tangent) in zip(ready[depth], ready_tangents[depth], strict=True):
            weights = _stack.packed(layer, cell, snapshot, place, batch.slices)
            trace = run.record(weights, x, y, starts[0], ends[0], for_now=True)
            extras = layout.kernel_extras(snapshot.arrays, place)
            J = tangent.linearize(trace, schedule, *sizes, extras.peepholes)
            if dparams is not None:
                rows = x.reshape(-1, x.shape[-1])[schedule.user_rows(place.direction)]
                tangent.add_weights(J, trace, schedule, rows, *_directions(layer, dparams, place))
            run_tangent.tangent(weights, J, dx, dy, starts[1], ends[1])

    return run_layer


def _on_device(layer: Configured, batch: Any, starts: Any, ends: Any, dparams: NamedArrays | None) -> Any:
    """What runs one layer: both directions are recorded first, as they may share a launch."""
    kernels, cell, snapshot = layer._kernels, layer._cell, layer.params._snapshot
    ready = _stack._ready(layer, cell, kernels.Forward, batch)
    ready_tangents = _stack._ready(layer, cell, kernels.Tangent, batch)

    def run_layer(depth: int, x: Any, dx: Any, y: Any, dy: Any) -> None:
        weights = [_stack.packed(layer, cell, snapshot, place) for place, _ in ready[depth]]
        runs = zip(ready[depth], weights, strict=True)
        traces = [run.record(own, x, y, starts[0], ends[0]) for (_, run), own in runs]
        for (place, run_tangent), own, trace in zip(ready_tangents[depth], weights, traces, strict=True):
            moves = None if dparams is None else _directions(layer, dparams, place)
            run_tangent(own, trace, moves, x, dx, dy, starts[1], ends[1])

    return run_layer


def _directions(layer: Configured, dparams: NamedArrays, place: Place) -> tuple[Any, ...]:
    layout = layer._layout
    return (*layout.kernel_arrays(dparams, place), layout.kernel_extras(dparams, place))
