"""Many layers of one configuration in one call."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from fastgate import _border, _ensemble, _errors
from fastgate._arrays import Array, as_flag, as_floating, as_size
from fastgate._params import NamedArrays, Snapshot
from fastgate._recurrent import Recurrent
from fastgate._tape import Gradients, State


class EnsembleTape(NamedTuple):
    """The memory of one `forward` of an `Ensemble`; valid until the parameters of a member are written."""

    ensemble: Ensemble
    snapshots: tuple[Snapshot, ...]
    batch: Any
    records: list[Any]  # of every direction of every layer x and a trace; or of every member its tape
    is_fused: bool

    def __repr__(self) -> str:
        return f"EnsembleTape({len(self.snapshots)} members)"


class Ensemble:
    """M recurrent layers of one configuration, each with weights of its own, over the same data or each over its own.

    What it computes is bit for bit what its members compute one by one. Small members run one after the other in
    compiled code, shared out over the threads, so that a call costs little more than what it computes. Members run one
    by one, each on all threads, where their batches are large enough for that, with dropout, and on the way back with
    peepholes or a projection. The tape is that of all members at once: where it is larger than the caches, training
    them one after the other, each with a tape of its own, takes as long or less.

    To train one, step an optimiser for each member with its row of the gradients, for bootstrap samples with `each`;
    members of a model are trained by its own `fit`, one model after the other.

    Parameters
    ----------
    layers : iterable of LSTM, GRU or RNN
        Equal but for `seed` and parameters. They stay as they are and can be used, and written, by themselves.

    Attributes
    ----------
    layers : tuple
    flat : ndarray, (M, P)
        A copy of all parameters, a row for each member in the order of its ``params.flat``; can be assigned to.

    Raises
    ------
    TypeError, ValueError
        If there are no layers, or something else than recurrent layers, or they differ in an option.

    Examples
    --------
    >>> import numpy as np, fastgate as fg
    >>> ensemble = fg.Ensemble.of(fg.LSTM(3, 8), 5, seed=0)
    >>> y, (h, c) = ensemble(np.zeros((2, 10, 3)))
    >>> y.shape, h.shape
    ((5, 2, 10, 8), (5, 1, 2, 8))
    >>> mean, spread = y.mean(axis=0), y.std(axis=0)
    """

    def __init__(self, layers: Iterable[Recurrent]) -> None:
        self.layers = tuple(layers)
        if not self.layers:
            raise _errors.wrong_value("layers", "at least one layer", self.layers)
        for number, layer in enumerate(self.layers):
            if not isinstance(layer, Recurrent):
                raise _errors.wrong_type(f"layers[{number}]", "an LSTM, GRU or RNN", type(layer).__name__)
            layer._check_on_cpu(f"layers[{number}]")
            if layer in self.layers[:number]:
                raise _errors.wrong_value(f"layers[{number}]", "a layer of its own", "one that was there before")
            if (own := layer.config() | {"seed": 0}) != (first := self.layers[0].config() | {"seed": 0}):
                name = next(name for name in first if own.get(name) != first[name])
                raise _errors.wrong_value(
                    f"layers[{number}].{name}", f"{first[name]!r}, as layers[0] has", own.get(name)
                )
        self._first = self.layers[0]
        self._words: dict[Any, Any] = {}

    @classmethod
    def of(cls, layer: Recurrent, members: int, seed: int) -> Self:
        """`members` layers configured as this one, initialised from seeds that follow from `seed`."""
        if not isinstance(layer, Recurrent):
            raise _errors.wrong_type("layer", "an LSTM, GRU or RNN", type(layer).__name__)
        options = {name: value for name, value in layer.config().items() if name not in ("class", "seed")}
        start = np.random.SeedSequence(as_size("seed", seed, least=0))
        seeds = start.generate_state(as_size("members", members)).tolist()
        return cls(type(layer)(**options, seed=own) for own in seeds)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.layers,)

    def __len__(self) -> int:
        return len(self.layers)

    def __repr__(self) -> str:
        return f"Ensemble({len(self)} of {self._first!r})"

    @property
    def flat(self) -> Array:
        """All parameters, (M, P)."""
        return np.stack([layer.params.flat for layer in self.layers])

    @flat.setter
    def flat(self, value: Any) -> None:
        own = as_floating("flat", value, self._first.dtype)
        if own.shape != (expected := (len(self), self._first.params.flat.size)):
            raise _errors.wrong_shape("flat", f"{expected}", own.shape)
        for layer, row in zip(self.layers, own, strict=True):
            layer.params.flat = row

    def __call__(
        self,
        x: npt.ArrayLike,
        state: Any = None,
        *,
        each: bool = False,
        lengths: npt.ArrayLike | None = None,
        mask: npt.ArrayLike | None = None,
    ) -> tuple[Array, State]:
        """Run all members for inference.

        Parameters
        ----------
        x : array_like, (B, T, I), or (T, B, I) with ``batch_first=False``; with `each` (M, B, T, I)
        state : array_like or pair of array_like, (M, num_layers * D, B, H), optional
            As each member takes it, with a leading axis of members.
        each : bool
            Each member has its own x; by default all have the same.
        lengths, mask
            As in calling a layer; the same for all members.

        Returns
        -------
        y : ndarray, (M, B, T, D * H)
        state : as the argument

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, shape or range.
        """
        y, end, _ = self._run(x, state, each, lengths, mask, False, {})
        return y, end

    def forward(
        self,
        x: npt.ArrayLike,
        state: Any = None,
        *,
        each: bool = False,
        lengths: npt.ArrayLike | None = None,
        mask: npt.ArrayLike | None = None,
        training: bool = True,
        rng_key: int | None = None,
    ) -> tuple[Array, State, EnsembleTape]:
        """Run all members and keep what `backward` needs.

        Parameters
        ----------
        x, state, each, lengths, mask
            As in calling the ensemble.
        training, rng_key
            As in `forward` of a layer. Members draw different masks, each from its own seed.

        Returns
        -------
        y, state
            As calling the ensemble does.
        tape : EnsembleTape

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, shape or range.
        """
        options = {"training": as_flag("training", training), "rng_key": rng_key}
        return self._run(x, state, each, lengths, mask, True, options)

    def backward(self, tape: EnsembleTape, dy: npt.ArrayLike | None = None, dstate: Any = None) -> Gradients:
        """Back-propagation through time of all members.

        Parameters
        ----------
        tape : EnsembleTape
            From `forward` of this ensemble; no parameters have been written since.
        dy : array_like, the shape of y, optional
        dstate : array_like or pair, the shape of the state, optional

        Returns
        -------
        Gradients
            ``x`` (M, B, T, I), also where all members had the same; ``state``; and ``params``, whose arrays have a
            leading axis of members, with a matrix ``flat`` (M, P) behind them.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or shape, neither `dy` nor `dstate` is given, the tape is of another
            ensemble, or parameters have been written since.
        """
        if not isinstance(tape, EnsembleTape):
            raise _errors.wrong_type("tape", "the tape that forward returned", type(tape).__name__)
        if tape.ensemble is not self:
            raise _errors.foreign_tape(self)
        if tape.snapshots != self._snapshots():
            raise _errors.stale_tape()
        if dy is None and dstate is None:
            raise _errors.nothing_to_propagate()
        own_dy = None if dy is None else self._split("dy", dy)
        if not tape.is_fused:
            rows = [None] * len(self) if own_dy is None else own_dy
            states = _ensemble.split_states(dstate, len(self))
            calls = zip(self.layers, tape.records, rows, states, strict=True)
            found = [layer.backward(own, row, state) for layer, own, row, state in calls]
            params = NamedArrays(np.stack([own.params.flat for own in found]), self._first._layout.shapes)
            return Gradients(
                np.stack([own.x for own in found]), _ensemble.join_states([own.state for own in found]), params
            )
        return _ensemble.backward(self, tape, own_dy, dstate)

    def _run(
        self, x: Any, state: Any, each: bool, lengths: Any, mask: Any, keep: bool, options: dict[str, Any]
    ) -> tuple[Array, State, EnsembleTape]:
        first, snapshots = self._first, self._snapshots()
        rows = self._split("x", x) if as_flag("each", each) else None
        _, batch, _ = _border.read_batch(first, first._cell, x if rows is None else rows[0], lengths, mask)
        drops = options.get("training") and (first.dropout or first.recurrent_dropout)
        extras = keep and (first._cell.peephole_gates or first._cell.is_projected)
        if batch.slices == len(batch.schedule.parts) == 1 and not drops and not extras:
            y, end, records = _ensemble.run(self, snapshots, x if rows is None else rows, rows is not None,
                                            state, batch, lengths, mask, keep)  # fmt: skip
            return y, end, EnsembleTape(self, snapshots, batch, records, True)
        states = _ensemble.split_states(state, len(self))
        own = [x] * len(self) if rows is None else rows
        told = {"lengths": lengths, "mask": mask, **options}
        calls = zip(self.layers, own, states, strict=True)
        found: list[tuple[Array, State, Any]]
        if keep:
            found = [layer.forward(row, start, **told) for layer, row, start in calls]
        else:
            found = [(*layer(row, start, **told), None) for layer, row, start in calls]
        ys, ends, tapes = zip(*found, strict=True)
        tape = EnsembleTape(self, snapshots, batch, list(tapes), False)
        return np.stack(ys), _ensemble.join_states(list(ends)), tape

    def _snapshots(self) -> tuple[Snapshot, ...]:
        return tuple(layer.params._snapshot for layer in self.layers)

    def _split(self, name: str, value: Any) -> Array:
        own = np.asarray(value)
        if own.ndim < 1 or len(own) != len(self):
            raise _errors.wrong_shape(name, f"({len(self)}, ...), one for each member", own.shape)
        return own
