"""A model whose layers follow one another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgate import _errors
from fastgate._arrays import Array, as_array, as_choice, as_lengths, as_size
from fastgate._model import Model
from fastgate._model_params import ModelParams
from fastgate._params import NamedArrays, Snapshot
from fastgate._protocol import Member, member
from fastgate._tape import Gradients, State

States = tuple[State, ...]


@dataclass(frozen=True, eq=False)
class SequentialTape:
    """The memory of one `forward` of a model: its layers' tapes. Valid until a parameter of the model is written."""

    params: ModelParams = field(repr=False)
    snapshots: tuple[Snapshot, ...] = field(repr=False)
    tapes: list[Any] = field(repr=False)
    state: States = field(repr=False)

    @property
    def nbytes(self) -> int:
        """Bytes that the tapes keep, of the layers whose tapes tell."""
        return sum(getattr(tape, "nbytes", 0) for tape in self.tapes)


class Sequential(Model):
    """Layers that follow one another."""

    def __init__(self, *layers: Any) -> None:
        self.layers = layers
        self._members = tuple(_members(layers))
        self.dtype = np.dtype(next((m.params.dtype for m in self._members if m.params), np.float32))
        self.batch_first = next((m.layer.batch_first for m in self._members if m.is_recurrent), True)
        self.params = ModelParams([(m.path, m.params) for m in self._members if m.params], self.dtype)
        self._freeze()

    def __call__(self, x: npt.ArrayLike, lengths: npt.ArrayLike | None = None) -> Array:
        return self.run(x, lengths=lengths)[0]

    def run(
        self, x: npt.ArrayLike, state: States | None = None, *, lengths: npt.ArrayLike | None = None
    ) -> tuple[Array, States]:
        x, own_lengths = self._begin(x, lengths)
        starts, ends = self._starts(state), []
        for m in self._members:
            if m.is_recurrent:
                x, end = m.layer(x, next(starts), lengths=own_lengths)
                ends.append(end)
                directions = 1 + m.layer.bidirectional
            elif m.is_final:
                x, own_lengths = m.layer(ends[-1], directions=directions), None
            else:
                x = m.infer(x, own_lengths)
        return x, tuple(ends)

    def forward(
        self,
        x: npt.ArrayLike,
        *,
        lengths: npt.ArrayLike | None = None,
        training: bool = True,
        rng_key: int | None = None,
        state: States | None = None,
    ) -> tuple[Array, SequentialTape]:
        as_choice("training", training, (True, False))
        key = None if rng_key is None else as_size("rng_key", rng_key, least=0)
        snapshots = self.params._snapshots()
        x, own_lengths = self._begin(x, lengths)
        starts, ends, tapes = self._starts(state), [], []
        for number, m in enumerate(self._members):
            own_key = None if key is None else key * len(self._members) + number  # no two layers and calls share one
            options = {"training": training, "rng_key": own_key, "lengths": own_lengths}
            if m.is_recurrent:
                x, end, tape = m.layer.forward(x, next(starts), **options)
                ends.append(end)
                directions = 1 + m.layer.bidirectional
            elif m.is_final:
                x, tape = m.layer.forward(ends[-1], directions=directions)
                own_lengths = None
            else:
                x, tape = m.forward(x, options)
            tapes.append(tape)
        return x, SequentialTape(self.params, snapshots, tapes, tuple(ends))

    def backward(self, tape: SequentialTape, dy: npt.ArrayLike) -> Gradients:
        gradients = self._new_gradients()
        parts = iter(reversed(self.params.split(gradients)))
        dstate, dstarts = None, []
        for m, own_tape in zip(reversed(self._members), reversed(tape.tapes), strict=True):
            if m.is_final:
                dstate, dy = m.layer.backward(own_tape, dy), None
                continue
            if m.is_recurrent:
                found = m.layer.backward(own_tape, dy, dstate)
                dstarts.append(found.state)
                dstate = None
            else:
                found = m.layer.backward(own_tape, dy)
            if m.params:
                next(parts).update(found.params)
            dy = found.x
        return Gradients(dy, tuple(reversed(dstarts)), gradients)

    def step(self, x: npt.ArrayLike, state: States | None = None) -> tuple[Array, States]:
        starts, ends = self._starts(state), []
        for m in self._members:
            if m.is_recurrent:
                x, end = m.layer.step(x, next(starts))
                ends.append(end)
            else:
                x = m.infer(x, None)
        return x, tuple(ends)

    def _begin(self, x, lengths):
        if lengths is None:
            return x, None
        array = as_array("x", x)
        if array.ndim < 2:
            raise _errors.wrong_shape("x", "of a batch of sequences, beside lengths", array.shape)
        B, T = array.shape[:2] if self.batch_first else array.shape[1::-1]
        return array, as_lengths(lengths, B, T)

    def _starts(self, state: States | None) -> Iterator[Any]:
        count = sum(m.is_recurrent for m in self._members)
        return iter([None] * count if state is None else state)

    def _new_gradients(self) -> NamedArrays:
        return NamedArrays(np.zeros_like(self.params.flat), self.params._shapes)


def _members(layers: tuple[Any, ...], above: str = "") -> Iterator[Member]:
    """The layers, and those of nested models in their place."""
    for number, layer in enumerate(layers):
        path = f"{above}{number}"
        if type(layer) is Sequential:
            yield from _members(layer.layers, f"{path}.")
        else:
            yield member(path, layer)
