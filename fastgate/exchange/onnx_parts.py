"""An ONNX graph in the making, and the layers that are not recurrent in it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fastgate import _errors
from fastgate._arrays import Array

OPSET, IR_VERSION = 17, 8  # of 2022: what runs these files has them
LARGEST = 2**31 - 2**20  # bytes of what protobuf writes as one message

ACTIVATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "relu": ("Relu", {}),
    "elu": ("Elu", {"alpha": 1.0}),
    "softplus": ("Softplus", {}),
    "sigmoid": ("Sigmoid", {}),
    "tanh": ("Tanh", {}),
    "softmax": ("Softmax", {"axis": -1}),
    "log_softmax": ("LogSoftmax", {"axis": -1}),
}


class Builder:
    """Nodes, constants, inputs and outputs under names that are free."""

    def __init__(self, onnx: Any, dtype: np.dtype[Any]) -> None:
        self._onnx, self.dtype = onnx, dtype
        self._nodes: list[Any] = []
        self._constants: dict[str, Array] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def place(self, path: str, layer: Any) -> str:
        """How errors name a layer."""
        return f"layer {path} ({type(layer).__name__})" if path else "layer"

    def joined(self, path: str, name: str) -> str:
        return f"{path}.{name}" if path else name

    def node(self, operator: str, inputs: list[str], outputs: int, name: str = "", **attributes: Any) -> list[str]:
        """The names of its outputs."""
        while inputs and not inputs[-1]:
            inputs = inputs[:-1]
        name = name or f"{operator}_{len(self._nodes)}"
        names = [f"{name}:{number}" for number in range(outputs)]
        self._nodes.append(self._onnx.helper.make_node(operator, inputs, names, name=name, **attributes))
        return names

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """The name of its only output."""
        return self.node(operator, list(inputs), 1, **attributes)[0]

    def constant(self, array: Array, name: str = "") -> str:
        name = name or f"constant_{len(self._constants)}"
        self._constants[name] = array
        return name

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def scalar(self, value: float, dtype: npt.DTypeLike | None = None) -> str:
        return self.constant(np.array(value, dtype or self.dtype))

    def masked(self, x: str, inside: str, is_index: bool = False) -> str:
        """Zeros outside; x has an axis of features unless it holds indices."""
        if is_index:
            return self.add("Where", inside, x, self.scalar(0, np.int64))
        return self.add("Where", self.add("Unsqueeze", inside, self.integers(-1)), x, self.scalar(0))

    def input(self, name: str, shape: tuple[Any, ...], dtype: npt.DTypeLike) -> str:
        self._inputs.append(self._info(name, shape, dtype))
        return name

    def output(self, name: str, value: str, shape: tuple[Any, ...]) -> None:
        self._nodes.append(self._onnx.helper.make_node("Identity", [value], [name], name=f"{name}:output"))
        self._outputs.append(self._info(name, shape, self.dtype))

    def _info(self, name: str, shape: tuple[Any, ...], dtype: npt.DTypeLike) -> Any:
        kind = self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self._onnx.helper.make_tensor_value_info(name, kind, shape)

    def proto(self) -> Any:
        """The model, checked."""
        size = sum(array.nbytes for array in self._constants.values())
        if size > LARGEST:
            raise _errors.wrong_value("layer", f"parameters of at most {LARGEST} bytes, for one ONNX file", size)
        helper, to_tensor = self._onnx.helper, self._onnx.numpy_helper.from_array
        constants = [to_tensor(np.asarray(array, order="C"), name) for name, array in self._constants.items()]
        outputs = sorted(self._outputs, key=lambda output: bool(output.name != "y"))
        graph = helper.make_graph(self._nodes, "fastgate", self._inputs, outputs, constants)
        opsets = [helper.make_opsetid("", OPSET)]
        proto = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="fastgate")
        self._onnx.checker.check_model(proto)
        return proto


def write_linear(builder: Builder, layer: Any, path: str, x: str) -> str:
    params = layer.params
    y = builder.add("MatMul", x, builder.constant(params["weight"].T, builder.joined(path, "weight")))
    return builder.add("Add", y, builder.constant(params["bias"], builder.joined(path, "bias"))) if layer.bias else y


def write_embedding(builder: Builder, layer: Any, path: str, x: str) -> str:
    return builder.add("Gather", builder.constant(layer.params["weight"], builder.joined(path, "weight")), x, axis=0)


def write_norm(builder: Builder, layer: Any, path: str, x: str) -> str:
    """In float64 not by the operator, whose epsilon is of float32."""
    weight, bias = (builder.constant(layer.params[name], builder.joined(path, name)) for name in ("weight", "bias"))
    if builder.dtype == np.float32:
        return builder.add("LayerNormalization", x, weight, bias, axis=-1, epsilon=layer.eps)
    centred = builder.add("Sub", x, builder.add("ReduceMean", x, axes=[-1], keepdims=1))
    square = builder.add("ReduceMean", builder.add("Mul", centred, centred), axes=[-1], keepdims=1)
    root = builder.add("Sqrt", builder.add("Add", square, builder.scalar(layer.eps)))
    return builder.add("Add", builder.add("Mul", builder.add("Div", centred, root), weight), bias)


def write_activation(builder: Builder, function: str, x: str) -> str:
    if function in ACTIVATIONS:
        operator, attributes = ACTIVATIONS[function]
        return builder.add(operator, x, **attributes)
    match function:
        case "leaky_relu" if builder.dtype == np.float32:
            return builder.add("LeakyRelu", x, alpha=0.01)
        case "leaky_relu":  # whose alpha is of float32
            small = builder.add("Mul", x, builder.scalar(0.01))
            return builder.add("Where", builder.add("Less", x, builder.scalar(0)), small, x)
        case "silu":
            return builder.add("Mul", x, builder.add("Sigmoid", x))
        case "gelu":
            error = builder.add("Erf", builder.add("Mul", x, builder.scalar(0.5**0.5)))
            half = builder.add("Mul", x, builder.scalar(0.5))
            return builder.add("Mul", half, builder.add("Add", error, builder.scalar(1)))
    raise _errors.wrong_value("function", "one that ONNX has", function)
