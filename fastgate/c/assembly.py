"""A model as a program in C: its parts, its states, and the step that leads through them."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastgate import _errors
from fastgate._assembly import features_taken
from fastgate._frozen import Frozen
from fastgate._protocol import Member, member
from fastgate._recurrent import Recurrent
from fastgate.activation import Activation
from fastgate.c.parts import KINDS, EmbeddingPart
from fastgate.c.pieces import Part, Program
from fastgate.c.recurrent import RecurrentPart
from fastgate.dropout import Dropout
from fastgate.embedding import Embedding
from fastgate.gru import GRU
from fastgate.layer_norm import LayerNorm
from fastgate.linear import Linear
from fastgate.lstm import LSTM
from fastgate.rnn import RNN
from fastgate.sequential import Sequential

RECURRENT = LSTM, GRU, RNN
OTHERS = Linear, LayerNorm, Activation, Embedding


class Assembled:
    """A program, and what its step takes and gives."""

    def __init__(self, given: Any) -> None:
        if not isinstance(given, Frozen):
            raise _errors.wrong_type("layer", "a layer or a Sequential model", type(given).__name__)
        given = given.to("cpu") if hasattr(given, "to") else given  # which describes itself in what is written
        members = given._members if isinstance(given, Sequential) else (member("", given),)
        for m in members:
            _check(m)
        self.given, self.dtype = given, np.dtype(given.dtype if hasattr(given, "dtype") else np.float32)
        self.program, self.parts = Program(self.dtype), []
        self.inputs = _inputs(members)
        features = self.inputs
        for m in members:
            if type(m.layer) is Dropout:
                continue
            name = "_".join([type(m.layer).__name__.lower(), *filter(None, m.path.split("."))])
            part: Part
            if m.is_recurrent:
                part = RecurrentPart(self.program, m.layer, name)
            else:
                part = KINDS[type(m.layer).__name__](self.program, m.layer, name, features)
            self.parts.append(part)
            features = part.outputs
        self.outputs = features
        self.takes_number = isinstance(self.parts[0], EmbeddingPart)
        self.states = [(kind, part, *shape) for part in self.parts for kind, shape in part.states.items()]

    @property
    def stack(self) -> int:
        """Bytes of local arrays in a step: `sum` of a product, and what is the most of a layer's `a`, z, h_reset or m;
        then outputs of layers.
        """
        largest = max((5 * part.units for part in self.parts if isinstance(part, RecurrentPart)), default=0)
        outputs = sum(part.outputs for part in self.parts)
        return self.dtype.itemsize * (self.program.most_columns + largest + outputs)

    def body(self) -> list[str]:
        """Of the step, from `x` (or from `number`, which is in range) and `state` to `y`."""
        real, x, memory, lines = self.program.real, "x", [], []
        for part in self.parts:
            is_last = part is self.parts[-1]
            if isinstance(part, RecurrentPart):
                lines += part.calls(x)
                x = part.result
                copied = is_last
            elif isinstance(part, EmbeddingPart):
                x = part.row("number")
                copied = is_last
            else:
                y = "y" if is_last else f"y_{part.name}"
                memory += [] if is_last else [f"{real} {y}[{part.outputs}];"]
                lines += part.calls(x, y)
                x, copied = y, False
        lines += [f"memcpy(y, {x}, {self.outputs} * sizeof *y);"] if copied else []
        return [*memory, *([""] if memory else []), *lines]


def _check(m: Member) -> None:
    """Raise at what has no step, or is none of fastgate's own layers."""
    place = m.place if m.path else type(m.layer).__name__
    if isinstance(m.layer, Recurrent) and m.layer.bidirectional:
        raise _errors.not_in_c(place, "it is bidirectional and needs whole sequences, so that it has no step")
    if m.is_final or m.needs_sequences:
        raise _errors.not_in_c(place, "it needs whole sequences, so that it has no step")
    if m.makes_mask:
        raise _errors.not_in_c(place, "it masks steps")
    if type(m.layer) not in (*RECURRENT, *OTHERS, Dropout):
        raise _errors.not_in_c(place, "there is no program in C for it")


def _inputs(members: Any) -> int:
    """Features of the input: those of the first layer that says it."""
    for m in members:
        if isinstance(m.layer, Embedding):
            return 1
        if (size := features_taken(m.layer)) is not None:
            return size
    raise _errors.not_in_c("layer", "no layer says how many features the input has")
