"""An ONNX graph that is a chain of layers, as a `Sequential` model."""

from typing import Any

from fastgate import _errors


def model_of(graph: Any, constants: Any, cells: Any, made: Any) -> Any:
    raise _errors.misplaced("model", "a chain of layers", "another graph")
