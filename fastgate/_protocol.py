"""What a layer must have to be part of a model, and how a model calls it."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fastgate import _errors
from fastgate._arrays import Array, beside
from fastgate._masks import as_mask_of
from fastgate._params import NamedArrays, Params
from fastgate._places import given_back
from fastgate._recurrent import Recurrent
from fastgate._valid import ALL, ALL_TOLD, Valid
from fastgate.activation import Activation
from fastgate.dropout import Dropout
from fastgate.embedding import Embedding
from fastgate.final_state import FinalState
from fastgate.layer_norm import LayerNorm
from fastgate.linear import Linear
from fastgate.masking import Masking
from fastgate.merge_directions import MergeDirections
from fastgate.repeat_past import RepeatPast
from fastgate.reverse import Reverse

OPTIONS = frozenset({"training", "rng_key", "lengths", "mask", "reset"})  # what a model offers to a layer's forward
# They act on the last axis, whatever the others are; but for dropout that is the same at every step.
STEPWISE = Embedding, Linear, Dropout, Activation, LayerNorm, Masking, MergeDirections
OVER_TIME = RepeatPast, Reverse  # no recurrent layers, but they act on all steps


@dataclass(frozen=True)
class Member:
    """A layer in its place in a model; what it is does not change, and is asked for in every step."""

    path: str  # its number; in a nested model that of the model, a point, and its number there
    layer: Any
    params: Params | None
    takes: frozenset[str]  # of OPTIONS

    @cached_property
    def place(self) -> str:
        """How errors name it."""
        return f"layer {self.path} ({type(self.layer).__name__})"

    @cached_property
    def is_recurrent(self) -> bool:
        return isinstance(self.layer, Recurrent)

    @cached_property
    def is_final(self) -> bool:
        return isinstance(self.layer, FinalState)

    @cached_property
    def is_stepwise(self) -> bool:
        return type(self.layer) in STEPWISE

    @cached_property
    def is_over_time(self) -> bool:
        return type(self.layer) in OVER_TIME

    @cached_property
    def repeats_past(self) -> bool:
        return type(self.layer) is RepeatPast

    @cached_property
    def is_own(self) -> bool:
        """One of fastgate's layers, not a user's."""
        return self.is_stepwise or self.is_recurrent or self.is_final or self.is_over_time

    @cached_property
    def needs_time(self) -> bool:
        """Its input has an axis of steps."""
        is_dropout = isinstance(self.layer, Dropout) and self.layer.same_every_step
        return self.is_recurrent or self.is_over_time or is_dropout

    @cached_property
    def batch_first(self) -> Any:
        """Which axis its steps are; None if it does not say, or it does not matter."""
        matters = self.needs_time or not isinstance(self.layer, Dropout)
        return getattr(self.layer, "batch_first", None) if matters else None

    @cached_property
    def makes_mask(self) -> bool:
        """Behind it there are other steps that count, or no steps."""
        if isinstance(self.layer, Embedding):
            return self.layer.mask_zero
        return self.is_final or callable(getattr(self.layer, "compute_mask", None))

    @cached_property
    def needs_sequences(self) -> bool:
        """It cannot run on one time step: so it is with a user's layer that asks for lengths, a mask or resets."""
        if self.repeats_past:  # without a mask it hands its input on
            return False
        asks = not self.is_recurrent and not self.takes.isdisjoint({"lengths", "mask", "reset"})
        return self.is_final or self.is_over_time or asks

    @cached_property
    def makes_output(self) -> bool:
        """What it returns is nobody else's memory; dropout may hand its input on."""
        return self.is_own and not isinstance(self.layer, (Dropout, RepeatPast))

    def told(self, valid: Valid) -> dict[str, Any]:
        """Which steps count, as it takes that: by lengths, by a mask, or not at all; and where states are reset."""
        if valid is ALL:
            return ALL_TOLD
        takes_lengths, takes_mask = "lengths" in self.takes, "mask" in self.takes
        if takes_lengths and valid.lengths is not None:
            return {"lengths": valid.lengths, "mask": None, "reset": valid.reset}
        if takes_lengths and not takes_mask and valid.mask is not None:
            got = "one that takes lengths alone"
            raise _errors.misplaced(self.place, "a forward that takes mask, as steps before it are masked", got)
        return {"lengths": None, "mask": valid.mask, "reset": valid.reset}

    def after(self, x: Any, valid: Valid, y: Any) -> Valid:
        """Which steps count behind it, if it `makes_mask`; x is its input, y its output."""
        if self.is_final:
            return ALL
        found, reset = self.layer.compute_mask(x, valid.mask), valid.reset
        if reset is not None and isinstance(self.layer, Reverse):
            reset = self.layer.compute_reset(reset)
        if found is None:
            return ALL if reset is None else Valid(reset=reset)
        return Valid(None, as_mask_of(y, found, name=f"{self.place}.compute_mask"), reset)

    def forward(self, x: Any, offered: dict[str, Any]) -> tuple[Any, Any]:
        """Pass on the options that the layer takes. A user's layer computes with ndarrays, on the host."""
        own = x if self.is_own else given_back(x)
        y, tape = self.layer.forward(own, **{name: offered[name] for name in self.takes})
        return (y if own is x else beside(x, y)), tape

    def backward(self, tape: Any, dy: Any) -> Any:
        """The gradients of a layer that is not recurrent."""
        found = self.layer.backward(tape, dy if self.is_own else given_back(dy))
        if not hasattr(found, "x"):
            expected = "an object with x and params, as fastgate.LayerGradients(dx, {})"
            raise _errors.wrong_type(f"{self.place}.backward", expected, type(found).__name__)
        return found

    def infer(self, x: Any, valid: Valid) -> Any:
        """The output alone."""
        if self.is_stepwise:
            return self.layer(x)
        return self.forward(x, self.told(valid) | {"training": False, "rng_key": None})[0]

    def collect(self, found: Any, target: NamedArrays) -> None:
        """Write the gradients in its parameters, which its backward found, to where the model wants them."""
        gradients: Mapping[str, Array] = getattr(found, "params", None) or {}
        if isinstance(gradients, NamedArrays) and gradients._shapes == target._shapes:  # as of fastgate's own layers
            target.flat[...] = gradients.flat
            return
        if set(gradients) != set(target):
            expected, got = ", ".join(target), ", ".join(gradients) or "none"
            raise _errors.misplaced(f"{self.place}.backward", f"gradients of {expected} in .params", got)
        target.update(gradients)


def member(path: str, layer: Any) -> Member:
    """Check that it can be part of a model."""
    place = f"layer {path} ({layer.__name__ if isinstance(layer, type) else type(layer).__name__})"
    if isinstance(layer, type):
        raise _errors.wrong_type(place, "a layer", "the class itself")
    if not all(callable(getattr(layer, name, None)) for name in ("forward", "backward")):
        listed = isinstance(layer, Iterable)
        got = f"a {type(layer).__name__}; write Sequential(a, b), or Sequential(*layers)" if listed else repr(layer)
        raise _errors.wrong_type(place, "a layer, which has the methods forward and backward", got)
    params = getattr(layer, "params", None)
    if params is not None and not isinstance(params, Params):
        if not isinstance(params, Mapping) or len(params):
            raise _errors.wrong_type(f"{place}.params", "fastgate.Params, or none", type(params).__name__)
        params = None
    parameters = inspect.signature(layer.forward).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    return Member(path, layer, params if params else None, OPTIONS if takes_all else OPTIONS & set(parameters))
