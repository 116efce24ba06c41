"""How the layers of a model that follow one another are put together, and what all its calls have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastgate import _assembly, _errors, _passes
from fastgate._arrays import Array, as_flag
from fastgate._model import Model, ModelTape
from fastgate._model_params import ModelParams
from fastgate._places import as_numbers, given_back, placed
from fastgate._protocol import Member
from fastgate._tape import State
from fastgate._valid import Valid, read_valid, zeros_where

States = tuple[State, ...]


class Chained(Model):
    """Base of `Sequential`."""

    layers: tuple[Any, ...]

    def _assemble(self, members: tuple[Member, ...]) -> None:
        """Check that they fit together, and find what follows from them."""
        self._members = members
        _assembly.check(members)
        self.dtype = np.dtype(next((m.params.dtype for m in members if m.params), np.float32))
        layouts = (m.batch_first for m in members if m.batch_first is not None)
        self.batch_first = bool(next(layouts, True))
        self.params = ModelParams([(m.path, m.params) for m in members if m.params], self.dtype)
        self._recurrent_count = sum(m.is_recurrent for m in members)
        self._unsteppable = _assembly.unsteppable(members)
        keeps_time = all(m.is_stepwise or m.is_recurrent for m in members)
        self._clears_input = not members[0].is_recurrent  # which reads nothing beyond the lengths itself
        self._clears_output = keeps_time and not members[-1].is_recurrent

    def _forward(
        self, x: Any, lengths: Any, mask: Any, training: bool, keys: Any, state: Any, reset: Any = None
    ) -> tuple[Array, ModelTape]:
        as_flag("training", training)
        snapshots, starts = self.params._snapshots(), self._read_states("state", state)
        there = placed(x, self.device, self.dtype)
        own, valid, beyond = self._read(there, lengths, mask, reset)
        y, ends, tapes, valid = _passes.forward(self._members, own, starts, valid, training, keys)
        y, mask = self._cleared(y, beyond), valid.at_end(y)
        stays = there is x
        y, state = (y, tuple(ends)) if stays else (given_back(y), given_back(tuple(ends)))
        return y, ModelTape(self.params, snapshots, tapes, state, beyond, mask, stays)

    def _infer(
        self, x: Any, lengths: Any, state: Any, mask: Any = None, reset: Any = None
    ) -> tuple[Array, States, Array | None]:
        there = placed(x, self.device, self.dtype)
        own, valid, beyond = self._read(there, lengths, mask, reset)
        y, ends, valid = _passes.infer(self._members, own, self._read_states("state", state), valid)
        y, mask = self._cleared(y, beyond), valid.at_end(y)
        return (y, tuple(ends), mask) if there is x else (given_back(y), given_back(tuple(ends)), mask)

    def _read(self, x: Any, lengths: Any, mask: Any = None, reset: Any = None) -> tuple[Any, Valid, Array | None]:
        """x with zeros in the steps that do not count, so that no layer sees what is there; and which these are."""
        own, valid = read_valid(x, lengths, mask, reset, self.batch_first)
        beyond = None if valid.mask is None else ~valid.mask
        return zeros_where(beyond, own) if self._clears_input and beyond is not None else own, valid, beyond

    def _cleared(self, y: Any, beyond: Array | None) -> Any:
        """Zeros in the steps that do not count, where y (or dy) has time steps."""
        return y if beyond is None or not self._clears_output else zeros_where(beyond, as_numbers("dy", y))

    def _read_states(self, name: str, state: Any) -> list[Any]:
        count = self._recurrent_count
        if state is None:
            return [None] * count
        if not isinstance(state, (tuple, list)) or len(state) != count:
            got = f"{len(state)}" if isinstance(state, (tuple, list)) else type(state).__name__
            raise _errors.wrong_type(name, f"a tuple of {count}, one for each recurrent layer", got)
        return list(state)

    def _described(self) -> Iterator[tuple[str, Any, int]]:
        for m in self._members:
            yield m.path, m.layer, m.params.flat.size if m.params else 0

    def __repr__(self) -> str:
        inside = "".join(f"    {line}\n" for layer in self.layers for line in f"{layer!r},".splitlines())
        return f"Sequential(\n{inside})"
