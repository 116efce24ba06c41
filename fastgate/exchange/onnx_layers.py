"""Nodes of an ONNX graph that are layers of fastgate by themselves, and what is known by its values."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastgate._arrays import Array
from fastgate.activation import FUNCTIONS, Activation
from fastgate.dropout import Dropout
from fastgate.embedding import Embedding
from fastgate.exchange.onnx_nodes import Node
from fastgate.layer_norm import LayerNorm
from fastgate.linear import Linear

SOFTMAX = {"Softmax": "softmax", "LogSoftmax": "log_softmax"}
# What may be a part of an activation, as `gelu` is written by others: it is known by its values.
ENTRYWISE = {
    "Add", "Sub", "Mul", "Div", "Neg", "Abs", "Exp", "Log", "Sqrt", "Pow", "Erf", "Where", "Less", "Greater", "Min",
    "Max", "Relu", "Sigmoid", "Tanh", "Softplus", "Elu", "LeakyRelu", "Gelu", "Clip",
}  # fmt: skip
ENTRIES = {name: own for name, own in FUNCTIONS.items() if name not in SOFTMAX.values()}
PROBE = np.linspace(-6, 6, 98)


def layer_of(node: Node, arrays: list[Array | None], axes: int) -> Any:
    """The layer; None if there is none that is the same. `arrays` are the constants among the inputs."""
    attributes = node.attributes
    match node.operator, arrays:
        case (("Softmax" | "LogSoftmax"), _):
            is_last = attributes.get("axis", -1 if node.version >= 13 else 1) in (-1, axes - 1)
            return Activation(SOFTMAX[node.operator]) if is_last else None
        case "Dropout", [_, *others]:
            ratio = attributes.get("ratio", 0.5 if not others or others[0] is None else float(others[0]))
            return Dropout(_shortest(ratio), seed=0) if 0 <= ratio < 1 else None
        case "Gather", [table, None] if table is not None and table.ndim == 2 and attributes.get("axis", 0) == 0:
            return _with(Embedding(*table.shape, dtype=table.dtype, seed=0), weight=table)
        case "LayerNormalization", [None, weight, bias] if weight is not None and bias is not None:
            is_last = attributes.get("axis", -1) in (-1, axes - 1) and len(node.outputs) == 1
            if is_last and weight.ndim == 1 and bias.shape == weight.shape:
                eps = _shortest(attributes.get("epsilon", 1e-5))
                return _with(LayerNorm(len(weight), eps, dtype=weight.dtype), weight=weight, bias=bias)
        case "MatMul", [None, weight] if weight is not None and weight.ndim == 2:
            return _linear(weight.T, None)
        case "Gemm", [None, weight, *others] if weight is not None and axes == 2:
            weight, bias = weight if attributes.get("transB") else weight.T, others[0] if others else None
            is_plain = all(attributes.get(name, 1.0) == 1.0 for name in ("alpha", "beta"))
            fits = not others if bias is None else bias.shape in ((len(weight),), (1, len(weight)))
            if fits and is_plain and not attributes.get("transA"):
                return _linear(weight, bias)
    return None


def _linear(weight: Array, bias: Array | None) -> Any:
    layer = Linear(weight.shape[1], weight.shape[0], bias=bias is not None, dtype=weight.dtype, seed=0)
    return _with(layer, weight=weight, **({} if bias is None else {"bias": bias.reshape(-1)}))


def with_bias(layer: Linear, bias: Array) -> Any:
    """A copy of a layer that has none."""
    return _linear(layer.params["weight"], bias)


def _with(layer: Any, **arrays: Any) -> Any:
    layer.params.update(arrays)
    return layer


def _shortest(value: float) -> float:
    """Of those that are the same in float32."""
    return float(str(np.float32(value)))


def function_of(values: Array) -> str | None:
    """The activation that has these values."""
    probe, tolerance = PROBE.astype(values.dtype), 1e-5 if values.dtype == np.float32 else 1e-9
    for name, own in ENTRIES.items():
        if np.allclose(own.forward(probe), values, rtol=tolerance, atol=tolerance / 10):
            return name
    return None
