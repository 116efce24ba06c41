"""A node of an ONNX graph as plain Python, and what is said of one that we do not compute."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from fastgate import _errors
from fastgate._arrays import Array

LARGEST = 2**28
RECURRENT = "LSTM", "GRU", "RNN"


@dataclass(frozen=True)
class Node:
    """An operator with its attributes; "" stands for an optional input or output that is not there."""

    operator: str
    place: str  # how errors name it
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    version: int  # the opset in which the operator got this meaning

    @property
    def is_recurrent(self) -> bool:
        return self.operator in RECURRENT

    @property
    def weights(self) -> tuple[str, str, str, str]:
        """Names of W, R, B and P of a recurrent node."""
        W, R, B, P = (self.input(place) for place in (1, 2, 3, 7))
        return W, R, B, P

    def input(self, place: int) -> str:
        """Its name, "" if there is none."""
        return self.inputs[place] if place < len(self.inputs) else ""

    def wrong(self, name: str, expected: str, got: object) -> ValueError:
        """Of an attribute or an input."""
        return _errors.misplaced(f"{self.place}: {name}", expected, got)

    def choice(self, name: str, default: Any, choices: Iterable[Any]) -> Any:
        """An attribute that has one of a few values."""
        value = self.attributes.get(name, default)
        if value not in (known := list(choices)):
            raise self.wrong(name, " or ".join(map(repr, known)), repr(value))
        return value

    def check_shape(self, name: str, array: Array | None, shape: tuple[int, ...]) -> None:
        if array is not None and array.shape != shape:
            raise self.wrong(name, f"shape {shape}", array.shape)

    def check_size(self, name: str, entries: float) -> None:
        """Before so many are made of few bytes of a file."""
        if not entries <= LARGEST:
            raise self.wrong(name, f"at most {LARGEST} entries", entries)


class Operator(NamedTuple):
    """How an operator is computed: ``run(node, *inputs)`` gives its output, or a tuple of them."""

    run: Callable[..., Any]
    version: int  # the newest that is known here
    attributes: frozenset[str] = frozenset()
