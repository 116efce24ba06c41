"""Forward-mode derivatives of recurrent layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgate import _border, _errors, _stack
from fastgate._arrays import Array, as_floating
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
        size. Nothing is kept.

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
        self._check_on_cpu("jvp")
        x, batch, _ = _border.read_batch(self, self._cell, x, lengths, mask, reset)
        unbatched = batch.is_unbatched
        pairs = []
        for name, value in (("state", state), ("dstate", dstate)):
            given = _border.read_states(self, name, value, batch.zeros, unbatched=unbatched)
            pairs.append(_border.states_of_run(self, batch, given))
        starts, ends = [list(parts) for parts in zip(*pairs, strict=True)]
        arrays = None if dparams is None else _read_parameters(self, dparams)
        tangent = _border.read_input_tangent(self, dx, batch)
        y, dy = _run(self, x, tangent, batch, starts, ends, arrays)
        end, d_end = (_border.write_end(self, batch, parts) for parts in ends)
        return (y[0], end, dy[0], d_end) if unbatched else (y, end, dy, d_end)


def _is_nothing(dstate: Any) -> bool:
    return dstate is None or (isinstance(dstate, (tuple, list)) and all(part is None for part in dstate))


def _read_parameters(layer: Configured, dparams: Any) -> NamedArrays:
    """All of them, zeros where none are given."""
    found = NamedArrays(np.zeros(layer.params.flat.size, layer.dtype), layer._layout.shapes)
    if not isinstance(dparams, Mapping):
        flat = as_floating("dparams", dparams, layer.dtype)
        if flat.shape != found.flat.shape:
            raise _errors.wrong_shape("dparams", f"{found.flat.shape}, or a mapping", flat.shape)
        found.flat[...] = flat
        return found
    for name, value in dparams.items():
        if name not in found:
            raise _errors.no_such_parameter(name, found)
        array = as_floating(f"dparams[{name!r}]", value, layer.dtype)
        if array.shape != found[name].shape:
            raise _errors.wrong_shape(f"dparams[{name!r}]", f"{found[name].shape}", array.shape)
        found[name][...] = array
    return found


def _run(
    layer: Configured, x: Array, dx: Array, batch: _border.Batch, starts: list[list[Array]], ends: list[list[Array]],
    dparams: NamedArrays | None,
) -> tuple[Array, Array]:  # fmt: skip
    """x and dx -> y and dy, through the stack; `starts` and `ends` are of the states and of their tangents."""
    layout, cell, snapshot = layer._layout, layer._cell, layer.params._snapshot
    tangent, schedule = cell.tangent, batch.schedule
    ready = _stack._ready(layer, cell, cpu.Forward, batch)
    ready_tangents = _stack._ready(layer, tangent.cell, cpu.Forward, batch)
    sizes = layer.hidden_size, layout.output_size
    for own, own_tangents in zip(ready, ready_tangents, strict=True):
        y, dy = _stack._new(layer, batch, batch.y_shape), _stack._new(layer, batch, batch.y_shape)
        for (place, run), (_, run_tangent) in zip(own, own_tangents, strict=True):
            weights = _stack.packed(layer, cell, snapshot, place, batch.slices)
            trace = run.record(weights, x, y, starts[0], ends[0], for_now=True)
            extras = layout.kernel_extras(snapshot.arrays, place)
            J = tangent.linearize(trace, schedule, *sizes, extras.peepholes)
            if dparams is not None:
                rows = x.reshape(-1, x.shape[-1])[schedule.user_rows(place.direction)]
                tangent.add_weights(J, trace, schedule, rows, *_directions(layer, dparams, place))
            run_tangent.tangent(weights, J, dx, dy, starts[1], ends[1])
        x, dx = y, dy
    return x, dx


def _directions(layer: Configured, dparams: NamedArrays, place: Place) -> tuple[Any, ...]:
    layout = layer._layout
    return (*layout.kernel_arrays(dparams, place), layout.kernel_extras(dparams, place))
