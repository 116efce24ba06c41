"""Many layers or models of one configuration in one call."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from fastgate import _border, _ensemble, _errors, _members
from fastgate._arrays import Array, as_flag, as_floating, as_size, empty_beside, stacked, where_it_lies
from fastgate._params import NamedArrays, Params
from fastgate._recurrent import Recurrent
from fastgate._tape import Gradients


class EnsembleTape(NamedTuple):
    """The memory of one `forward` of an `Ensemble`; valid until the parameters of a member are written."""

    ensemble: Ensemble
    tapes: Any  # `_ensemble.Tapes`, or of every member its tape

    def __repr__(self) -> str:
        return f"EnsembleTape({len(self.ensemble)} members)"


class Ensemble:
    """M recurrent layers or models of one configuration, each with its own weights, over the same data or its own.

    What it computes is bit for bit what its members compute one by one. Small recurrent layers run one after the other
    in compiled code, shared out over the threads, so that a call costs little more than what it computes. Members run
    one by one, each on all threads, where their batches are large enough for that, with dropout or resets, and on the
    way back with peepholes or a projection; models always do, and layers on a GPU. `fit` is a model's own.

    Parameters
    ----------
    members : iterable of LSTM, GRU or RNN, or of Sequential
        Equal but for seeds and parameters, on one device. They stay what they are, and can be used by themselves.

    Attributes
    ----------
    members : tuple
    flat : ndarray, (M, P)
        A copy of all parameters, a row for each member in the order of its ``params.flat``; can be assigned to.

    Raises
    ------
    TypeError, ValueError
        If there are no members, or something else, or they differ in an option or share parameters.

    Examples
    --------
    >>> import numpy as np, fastgate as fg
    >>> model = fg.Sequential(fg.LSTM(3, 8), fg.FinalState(), fg.Linear(8, 1))
    >>> ensemble = fg.Ensemble.of(model, 5, seed=0)
    >>> x, targets = np.ones((2, 10, 3)), np.ones((2, 1))
    >>> y, _ = ensemble(x)
    >>> mean, spread = y.mean(axis=0), y.std(axis=0)
    >>> adam = fg.Adam(1e-2)
    >>> for step in range(2):
    ...     losses, gradients = ensemble.gradients(lambda y, m: fg.mse(y, targets), x)
    ...     adam.step(*ensemble.split(gradients))
    >>> y.shape, losses.shape, gradients.flat.shape == ensemble.flat.shape
    ((5, 2, 1), (5,), True)
    """

    def __init__(self, members: Iterable[_members.Member]) -> None:
        if not isinstance(members, Iterable):
            raise _errors.wrong_type("members", "an iterable of layers or models", type(members).__name__)
        self.members = tuple(members)
        if not self.members:
            raise _errors.wrong_value("members", "at least one layer or model", self.members)
        _members.check("members", self.members)
        self._first: Any = self.members[0]
        self._are_layers_of_cpu = isinstance(self._first, Recurrent) and self._first.device == "cpu"
        self._words: dict[Any, Any] = {}

    @classmethod
    def of(cls, member: _members.Member, members: int, seed: int) -> Self:
        """`members` layers or models configured as this one, initialised from seeds that follow from `seed`."""
        from fastgate._from_config import from_config

        _members.check("member", [member])
        config, count, device = member.config(), as_size("members", members), _members.device_of(member)
        own = max(1, _members.count_seeds(config))
        start = np.random.SeedSequence(as_size("seed", seed, least=0))
        seeds = start.generate_state(count * own).reshape(count, own).tolist()
        custom = {type(member).__name__: type(member)}
        made = (from_config(_members.seeded(config, iter(row)), custom=custom) for row in seeds)
        return cls(own if device == "cpu" else own.to(device) for own in made)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.members,)

    def __len__(self) -> int:
        return len(self.members)

    def __repr__(self) -> str:
        return f"Ensemble({len(self)} of {self._first!r})"

    @property
    def flat(self) -> Array:
        """All parameters, (M, P)."""
        return stacked([member.params.flat for member in self.members])  # type: ignore[no-any-return]

    @flat.setter
    def flat(self, value: Any) -> None:
        own = as_floating("flat", value, self._first.dtype)
        _members.check_rows("flat", own, self.members)
        for member, row in zip(self.members, own, strict=True):
            member.params.flat = row

    def split(self, gradients: NamedArrays) -> tuple[list[Params], list[NamedArrays]]:
        """What an optimiser takes for a step of all members: the two arguments of its `step`.

        Parameters
        ----------
        gradients : mapping, (M, ...) each
            The ``params`` that `backward` returned, or what `gradients` did.

        Returns
        -------
        params, gradients : list
            Of all layers of all members; the gradients are views.

        Raises
        ------
        TypeError, ValueError
            If the gradients are something else, or not those of so many members.
        """
        _members.check_gradients("gradients", gradients, self.members)
        shapes, found = self._first.params._shapes, []
        for member, row in zip(self.members, gradients.flat, strict=True):
            own = NamedArrays(row, shapes)
            found += [own] if isinstance(member, Recurrent) else member.params.split(own)
        return [owner for member in self.members for owner in _members.owners_of(member)], found

    def __call__(
        self,
        x: npt.ArrayLike,
        state: Any = None,
        *,
        each: bool = False,
        lengths: npt.ArrayLike | None = None,
        mask: npt.ArrayLike | None = None,
        reset: npt.ArrayLike | None = None,
    ) -> tuple[Array, Any]:
        """Run all members for inference.

        Parameters
        ----------
        x : array_like, (B, T, I) as each member takes it; with `each` (M, B, T, I)
        state : as each member takes it, a model in `run`, with a leading axis of members in every array, optional
        each : bool
            Each member has its own x; by default all have the same.
        lengths, mask, reset
            As in calling a member; the same for all.

        Returns
        -------
        y : ndarray, (M, B, T, D * H), or what a model returns with an axis of members
        state : as the argument

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, shape or range.
        """
        y, end, _ = self._run(x, state, each, {"lengths": lengths, "mask": mask, "reset": reset}, keep=False)
        return y, end

    def forward(
        self,
        x: npt.ArrayLike,
        state: Any = None,
        *,
        each: bool = False,
        lengths: npt.ArrayLike | None = None,
        mask: npt.ArrayLike | None = None,
        reset: npt.ArrayLike | None = None,
        training: bool = True,
        rng_key: int | None = None,
    ) -> tuple[Array, Any, EnsembleTape]:
        """Run all members and keep what `backward` needs: ``y, state, tape``, of which a call returns the first two.

        The tape is that of all members at once. Where it is larger than the caches, training them one after the other
        takes down to two thirds of the time: use `gradients`.

        Parameters
        ----------
        x, state, each, lengths, mask, reset
            As in calling the ensemble.
        training, rng_key
            As in `forward` of a member. Members draw different masks, each from its own seeds.
        """
        told = {"lengths": lengths, "mask": mask, "reset": reset}
        return self._run(x, state, each, told | {"training": training, "rng_key": rng_key}, keep=True)

    def backward(self, tape: EnsembleTape, dy: npt.ArrayLike | None = None, dstate: Any = None) -> Gradients:
        """Back-propagation through time of all members.

        Parameters
        ----------
        tape : EnsembleTape
            From `forward` of this ensemble; no parameters have been written since.
        dy : array_like, the shape of y, optional
        dstate : the shape of the state, optional

        Returns
        -------
        Gradients
            ``x`` (M, B, T, I), also where all members had the same, or None where it has no gradient; ``state``; and
            ``params``, whose arrays have a leading axis of members, with a matrix ``flat`` (M, P) behind them.

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
        own_dy = None if dy is None else self._split("dy", dy)
        if isinstance(tape.tapes, _ensemble.Tapes):
            return _ensemble.backward(self, tape.tapes, own_dy, dstate)
        return _members.backward(self.members, tape.tapes, own_dy, dstate)

    def gradients(
        self, loss: _members.Loss, x: npt.ArrayLike, state: Any = None, *, each: bool = False, **options: Any
    ) -> tuple[Array, NamedArrays]:
        """The loss of every member and its gradient in the parameters: what a training step needs.

        All members go forward and back in one call each where what they remember fits into the caches. Otherwise each
        goes forward and back before the next one does, which takes the time and memory of a loop over the members. For
        32 LSTMs of 16 units, 50 steps and one thread, a batch of 1 takes half the time of the loop, one of 8 or 32 the
        same.

        Parameters
        ----------
        loss : callable
            ``loss(y, m)`` of the output of member m returns ``(value, dy)``, as `mse` and `cross_entropy` do.
        x, state, each
            As in calling the ensemble.
        **options
            Others of `forward`, by name.

        Returns
        -------
        losses : ndarray of float64, (M,)
        gradients : mapping, (M, ...) each
            With a matrix ``flat`` (M, P) behind it.

        Raises
        ------
        TypeError, ValueError
            As `forward` does; or if `loss` returns something else.
        """
        if not callable(loss):
            raise _errors.wrong_type("loss", "a function of y and the number of a member", type(loss).__name__)
        own, count = (self._split("x", x) if as_flag("each", each) else where_it_lies(x)), len(self)
        states = _members.split_states("state", state, count)
        losses, params = np.empty(count), self._first.params
        found = NamedArrays(empty_beside(params.flat, (count, params.flat.size)), params._shapes)
        if self._are_layers_of_cpu and _ensemble.fit_in_caches(self._first, count, own[0] if each else own):
            y, _, tape = self.forward(own, state, each=each, **options)
            dy = np.empty_like(y)
            for m in range(count):
                losses[m], dy[m] = _members.value_and_gradient(loss, y[m], m)
            return losses, self.backward(tape, dy).params
        for m, member in enumerate(self.members):
            y, _, tape = _members.forward(member, own[m] if each else own, states[m], options)
            losses[m], dy = _members.value_and_gradient(loss, y, m)
            found.flat[m] = member.backward(tape, dy).params.flat
        return losses, found

    def _run(
        self, x: Any, state: Any, each: bool, options: dict[str, Any], *, keep: bool
    ) -> tuple[Array, Any, EnsembleTape]:
        first, rows = self._first, self._split("x", x) if as_flag("each", each) else None
        if self._are_layers_of_cpu:
            lengths, mask = options["lengths"], options["mask"]
            one, all_x = (x, x) if rows is None else (rows[0], rows)
            _, batch, _ = _border.read_batch(first, first._cell, one, lengths, mask, options["reset"])
            training = as_flag("training", options.get("training", False))
            if _ensemble.is_small(first, batch, keep, training):
                y, end, tapes = _ensemble.run(self, all_x, each, state, batch, lengths, mask, keep)
                return y, end, EnsembleTape(self, tapes)
        run, states = _members.forward if keep else _members.infer, _members.split_states("state", state, len(self))
        pairs = zip(self.members, [x] * len(self) if rows is None else rows, states, strict=True)
        ys, ends, each_tape = zip(*(run(member, own, start, options) for member, own, start in pairs), strict=True)
        return stacked(ys), _members.join_states(ends), EnsembleTape(self, each_tape)

    def _split(self, name: str, value: Any) -> Any:
        return _members.of_members(name, value, len(self))
