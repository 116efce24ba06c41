"""What a layer must have to be part of a model, and which options its calls take."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from fastgate import _errors
from fastgate._params import Params
from fastgate._recurrent import Recurrent
from fastgate.final_state import FinalState

OPTIONS = frozenset({"training", "rng_key", "lengths"})  # which a model offers to the layers that take them


class Member(NamedTuple):
    """A layer in its place in a model."""

    path: str  # its number; in a nested model that of the model, a point, and its number there
    layer: Any
    params: Params | None
    forward_takes: frozenset[str]
    call_takes: frozenset[str] | None  # None if the layer cannot be called

    @property
    def is_recurrent(self) -> bool:
        return isinstance(self.layer, Recurrent)

    @property
    def is_final(self) -> bool:
        return isinstance(self.layer, FinalState)

    @property
    def place(self) -> str:
        """How errors name it."""
        return f"layer {self.path} ({type(self.layer).__name__})"

    def forward(self, x: Any, offered: dict[str, Any]) -> tuple[Any, Any]:
        return self.layer.forward(x, **_taken(offered, self.forward_takes))  # type: ignore[no-any-return]

    def infer(self, x: Any, lengths: Any) -> Any:
        """The output alone, by calling the layer where it can be called."""
        offered = {"training": False, "rng_key": None, "lengths": lengths}
        if self.call_takes is None:
            return self.forward(x, offered)[0]
        return self.layer(x, **_taken(offered, self.call_takes))


def member(path: str, layer: Any) -> Member:
    """Check that it can be part of a model."""
    where = f"layer {path} ({layer.__name__ if isinstance(layer, type) else type(layer).__name__})"
    if isinstance(layer, type):
        raise _errors.wrong_type(where, "a layer", "its class: make one")
    if not all(callable(getattr(layer, name, None)) for name in ("forward", "backward")):
        raise _errors.wrong_type(where, "a layer, with the methods forward and backward", repr(layer))
    params = getattr(layer, "params", None)
    if params is not None and not isinstance(params, Params):
        if len(params):
            raise _errors.wrong_type(f"{where}.params", "fastgate.Params", type(params).__name__)
        params = None
    call_takes = _keywords(layer.__call__) if callable(layer) else None
    return Member(path, layer, params if params else None, _keywords(layer.forward), call_takes)


def _keywords(function: Callable[..., Any]) -> frozenset[str]:
    parameters = inspect.signature(function).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return OPTIONS
    return OPTIONS & set(parameters)


def _taken(offered: dict[str, Any], takes: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in offered.items() if name in takes}
