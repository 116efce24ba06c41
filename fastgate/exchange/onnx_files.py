"""ONNX models from files, bytes or memory: checked, and taken apart into plain Python. The package onnx is needed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastgate import _errors
from fastgate._arrays import Array
from fastgate.exchange import files, onnx_arithmetic, onnx_recurrent, onnx_shapes
from fastgate.exchange.onnx_nodes import Node

OLDEST = 7  # opset: before it, operators broadcast and LSTM counts lengths in other ways
OPERATORS = onnx_arithmetic.OPERATORS | onnx_shapes.OPERATORS
NEWEST_RECURRENT = 22


class Value(NamedTuple):
    """What a graph declares of an input."""

    dtype: np.dtype[Any]
    shape: tuple[int | str | None, ...] | None  # names for sizes that may be any; None where nothing is said


class Graph(NamedTuple):
    """A graph whose operators are all known."""

    inputs: dict[str, Value]
    outputs: list[str]
    constants: dict[str, Array]
    nodes: list[Node]


def package() -> Any:
    """The package onnx, or what to do to have it."""
    try:
        import onnx
        import onnx.checker
        import onnx.defs
        import onnx.external_data_helper
        import onnx.helper
        import onnx.inliner
        import onnx.numpy_helper
    except ImportError:
        raise _errors.missing_extra("onnx", "onnx", "to read and write ONNX files") from None
    return onnx


def read(source: Any) -> Graph:
    """The graph of a path, bytes or a ModelProto; nothing of it is run."""
    onnx = package()
    if isinstance(source, (str, os.PathLike)):
        name = f"path: {str(source)!r}"
        proto = parsed(onnx, name, source)
        with _refusing(name):
            onnx.external_data_helper.load_external_data_for_model(proto, str(Path(source).parent))
    elif isinstance(source, (bytes, bytearray, memoryview)):
        name, proto = "bytes", _parsed(onnx, "bytes", bytes(source))
    elif isinstance(source, onnx.ModelProto):
        name, proto = "ModelProto", onnx.ModelProto()
        proto.CopyFrom(source)
    else:
        raise _errors.wrong_type("source", "a path, bytes or an onnx.ModelProto", type(source).__name__)
    reader = _Reader(onnx, name)
    inputs = {own.name: reader.value(own) for own in proto.graph.input}
    for own in (*proto.graph.input, *proto.graph.output):  # of unknown rank, which the checker would not have
        if own.type.HasField("tensor_type") and not own.type.tensor_type.HasField("shape"):
            own.type.tensor_type.shape.SetInParent()
    with _refusing(name):
        onnx.checker.check_model(proto)
        if proto.functions:
            proto = onnx.inliner.inline_local_functions(proto)
    return reader.graph(proto, inputs)


@contextmanager
def _refusing(name: str) -> Iterator[None]:
    """Whatever the package says of a file, in one class."""
    try:
        yield
    except Exception as error:  # of several classes, from C++ too
        raise _errors.misplaced(name, "a valid ONNX model", _short(error)) from None


def parsed(onnx: Any, name: str, path: str | os.PathLike[str]) -> Any:
    """The ModelProto of a file, unchecked and without the data that lie in others."""
    start = files.read_start(path)
    if not start or start.startswith(b"PK"):
        raise _errors.bad_file(path, "is a ZIP archive, and no ONNX model" if start else "is empty")
    return _parsed(onnx, name, Path(path).read_bytes())


def _parsed(onnx: Any, name: str, data: bytes) -> Any:
    try:
        return onnx.ModelProto.FromString(data)
    except Exception as error:  # google.protobuf.message.DecodeError, of a package that need not be importable
        raise _errors.misplaced(name, "an ONNX model", f"what protobuf cannot read ({_short(error)})") from None


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[: _errors.LONGEST]


class _Reader:
    def __init__(self, onnx: Any, name: str) -> None:
        self._onnx, self._name = onnx, name

    def graph(self, proto: Any, inputs: dict[str, Value]) -> Graph:
        versions = {own.domain: own.version for own in proto.opset_import}
        opset = versions.get("", versions.get("ai.onnx", 1))
        if opset < OLDEST:
            raise _errors.misplaced(f"{self._name}: opset", f"{OLDEST} or newer", opset)
        graph = proto.graph
        if len(graph.sparse_initializer):
            raise _errors.misplaced(f"{self._name}: initializers", "dense ones", "sparse ones")
        constants = {own.name: self._array(own.name, own) for own in graph.initializer}
        inputs = {name: declared for name, declared in inputs.items() if name not in constants}
        nodes = [self._node(number, node, opset) for number, node in enumerate(graph.node)]
        return Graph(inputs, [own.name for own in graph.output], constants, nodes)

    def _array(self, name: str, tensor: Any) -> Array:
        if self._onnx.external_data_helper.uses_external_data(tensor):  # beside which file?
            raise _errors.misplaced(f"{self._name}: tensor {name!r}", "its data, or a path", "the name of a file")
        try:
            array: Array = np.asarray(self._onnx.numpy_helper.to_array(tensor))
        except Exception as error:  # whatever the package says of data that is missing, too short or too long
            raise _errors.misplaced(f"{self._name}: tensor {name!r}", "data of its shape", _short(error)) from None
        return array

    def value(self, value: Any) -> Value:
        tensor = value.type.tensor_type
        if not value.type.HasField("tensor_type") or tensor.elem_type not in onnx_shapes.DTYPES:
            raise _errors.misplaced(f"input {value.name!r}", "a tensor of numbers or bool", self._kind(value))
        sizes = None
        if tensor.HasField("shape"):
            sizes = tuple(
                dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in tensor.shape.dim
            )
        return Value(np.dtype(onnx_shapes.DTYPES[tensor.elem_type]), sizes)

    def _kind(self, value: Any) -> str:
        """What an input is that is not read."""
        kinds = self._onnx.TensorProto.DataType.items()
        name = next((own for own, number in kinds if number == value.type.tensor_type.elem_type), "UNDEFINED")
        if name == "UNDEFINED":  # no tensor
            return _short_type(value)
        is_half = name in ("FLOAT16", "BFLOAT16")
        return f"one of {name.lower()}{'; export the model in float32' if is_half else ''}"

    def _node(self, number: int, node: Any, opset: int) -> Node:
        named = f"{node.name!r}" if node.name else f"number {number}"
        place = f"node {named} ({node.op_type})"
        is_recurrent = node.op_type in onnx_recurrent.ATTRIBUTES
        known = OPERATORS.get(node.op_type)
        if node.domain not in ("", "ai.onnx") or not (is_recurrent or known):
            whole = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
            raise _errors.misplaced(place, f"an operator that is computed here: {_operators()}", whole)
        version = self._onnx.defs.get_schema(node.op_type, opset, "").since_version
        newest = known.version if known else NEWEST_RECURRENT
        if version > newest:
            raise _errors.misplaced(place, f"the operator's version {newest} or older", f"version {version}")
        allowed = known.attributes if known else onnx_recurrent.ATTRIBUTES[node.op_type]
        attributes = {own.name: self._attribute(place, own) for own in node.attribute}
        for name in attributes:
            if name not in allowed:
                raise _errors.misplaced(f"{place}: {name}", "no such attribute, as it is not computed here", "one")
        return Node(node.op_type, place, node.name, tuple(node.input), tuple(node.output), attributes, version)

    def _attribute(self, place: str, attribute: Any) -> Any:
        value = self._onnx.helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        if isinstance(value, self._onnx.TensorProto):
            return self._array(f"{place}: {attribute.name}", value)
        if isinstance(value, (int, float)):
            return value
        if not isinstance(value, Iterable) or hasattr(value, "SerializeToString"):
            raise _errors.misplaced(f"{place}: {attribute.name}", "numbers, text or a tensor", type(value).__name__)
        return [own.decode("utf-8", "replace") if isinstance(own, bytes) else own for own in value]


def _short_type(value: Any) -> str:
    return " ".join(str(value.type).split())[:100]


def _operators() -> str:
    return ", ".join(sorted([*onnx_recurrent.ATTRIBUTES, *OPERATORS]))
