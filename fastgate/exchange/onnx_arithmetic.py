"""ONNX's operators of single entries, of sums and of products, in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastgate._arrays import Array
from fastgate.activation import FUNCTIONS
from fastgate.exchange.onnx_nodes import Node, Operator


def _entrywise(function: Callable[..., Any], version: int) -> Operator:
    def run(node: Node, *arrays: Any) -> Any:
        return function(*arrays)

    return Operator(run, version)


def _own(name: str, version: int) -> Operator:
    """A function of `Activation`, which is the same."""
    return _entrywise(lambda x: FUNCTIONS[name].forward(x), version)


def _divide(node: Node, a: Array, b: Array) -> Array:
    if np.result_type(a, b).kind == "f":
        quotient: Array = a / b
        return quotient
    if not np.all(b):
        raise node.wrong("B", "no zeros among integers", "one")
    rest: Array = np.fmod(a, b)
    return (a - rest) // b  # towards zero


def _power(node: Node, a: Array, b: Array) -> Array:
    power: Array = np.power(a, b).astype(a.dtype)
    return power


def _leaky_relu(node: Node, x: Array) -> Array:
    return np.where(x < 0, x * node.attributes.get("alpha", 0.01), x)


def _elu(node: Node, x: Array) -> Array:
    return np.where(x < 0, np.expm1(np.minimum(x, 0)) * node.attributes.get("alpha", 1.0), x)


def _hard_sigmoid(node: Node, x: Array) -> Array:
    y: Array = np.clip(x * node.attributes.get("alpha", 0.2) + node.attributes.get("beta", 0.5), 0, 1)
    return y


def _thresholded_relu(node: Node, x: Array) -> Array:
    return np.where(x > node.attributes.get("alpha", 1.0), x, 0)


def _erf(node: Node, x: Array) -> Array:
    from scipy.special import erf  # which takes time to import

    return erf(x)  # type: ignore[no-any-return]


def _gelu(node: Node, x: Array) -> Array:
    if node.choice("approximate", "none", ("none", "tanh")) == "none":
        return FUNCTIONS["gelu"].forward(x)
    half: Array = x * 0.5
    y: Array = half * (1 + np.tanh((x + x**3 * 0.044715) * (2 / np.pi) ** 0.5))
    return y


def _softmax(node: Node, x: Array) -> Array:
    """Before version 13 over all axes from the given one on."""
    function = FUNCTIONS["log_softmax" if node.operator == "LogSoftmax" else "softmax"].forward
    axis = node.attributes.get("axis", -1 if node.version >= 13 else 1)
    if not -x.ndim <= axis < max(x.ndim, 1):
        raise node.wrong("axis", f"an axis of X, which has {x.ndim}", axis)
    if not x.size:
        return x
    if node.version >= 13:
        return np.moveaxis(function(np.moveaxis(x, axis, -1)), -1, axis)
    rows = int(np.prod(x.shape[: axis % x.ndim]))
    return function(x.reshape(rows, -1)).reshape(x.shape)


def _clip(node: Node, x: Array, low: Array | None = None, high: Array | None = None) -> Array:
    bounds = [node.attributes.get("min", low), node.attributes.get("max", high)]
    for bound, limit in zip(bounds, (np.maximum, np.minimum), strict=True):
        x = x if bound is None else limit(x, np.asarray(bound, x.dtype))
    return x


def _gemm(node: Node, A: Array, B: Array, C: Array | None = None) -> Array:
    product: Array = (A.T if node.choice("transA", 0, (0, 1)) else A) @ (B.T if node.choice("transB", 0, (0, 1)) else B)
    if (alpha := node.attributes.get("alpha", 1.0)) != 1:
        product = product * alpha
    if C is None or (beta := node.attributes.get("beta", 1.0)) == 0:
        return product
    return product + (C if beta == 1 else C * beta)


def _layer_normalization(node: Node, x: Array, scale: Array, bias: Array | None = None) -> tuple[Array, Array, Array]:
    axis = node.attributes.get("axis", -1)
    if not -x.ndim <= axis < x.ndim:
        raise node.wrong("axis", f"an axis of X, which has {x.ndim}", axis)
    axes = tuple(range(axis % x.ndim, x.ndim))
    node.choice("stash_type", 1, (1,))  # in which dtype others sum up
    mean = x.mean(axes, keepdims=True)
    centred = x - mean
    inverse = 1 / np.sqrt((centred * centred).mean(axes, keepdims=True) + node.attributes.get("epsilon", 1e-5))
    y = centred * inverse * scale
    return y if bias is None else y + bias, mean, inverse


def _reduce(node: Node, x: Array, axes: Array | None = None) -> Array:
    """Over all axes where none is given, unless that is to mean none."""
    given = node.attributes.get("axes", None if axes is None else axes.tolist())
    if not given and node.attributes.get("noop_with_empty_axes", 0):
        return x
    function: Any = {"ReduceMean": np.mean, "ReduceSum": np.sum, "ReduceMax": np.max}[node.operator]
    keep = node.choice("keepdims", 1, (0, 1)) == 1
    return np.asarray(function(x, axis=tuple(given) if given else None, keepdims=keep), x.dtype)


def _minimum(*arrays: Array) -> Array:
    return arrays[0] if len(arrays) == 1 else np.minimum(arrays[0], _minimum(*arrays[1:]))


def _maximum(*arrays: Array) -> Array:
    return arrays[0] if len(arrays) == 1 else np.maximum(arrays[0], _maximum(*arrays[1:]))


OPERATORS: dict[str, Operator] = {
    "Add": _entrywise(np.add, 14), "Sub": _entrywise(np.subtract, 14), "Mul": _entrywise(np.multiply, 14),
    "Div": Operator(_divide, 14), "Pow": Operator(_power, 15), "Neg": _entrywise(np.negative, 13),
    "Abs": _entrywise(np.abs, 13), "Sqrt": _entrywise(np.sqrt, 13), "Exp": _entrywise(np.exp, 13),
    "Log": _entrywise(np.log, 13), "Min": _entrywise(_minimum, 13), "Max": _entrywise(_maximum, 13),
    "Equal": _entrywise(np.equal, 19), "Less": _entrywise(np.less, 13), "Greater": _entrywise(np.greater, 13),
    "LessOrEqual": _entrywise(np.less_equal, 16), "GreaterOrEqual": _entrywise(np.greater_equal, 16),
    "Not": _entrywise(np.logical_not, 1), "And": _entrywise(np.logical_and, 7), "Or": _entrywise(np.logical_or, 7),
    "Where": _entrywise(np.where, 16), "MatMul": _entrywise(np.matmul, 13),
    "Relu": _own("relu", 14), "Sigmoid": _own("sigmoid", 13), "Tanh": _entrywise(np.tanh, 13),
    "Softplus": _own("softplus", 22), "Softsign": _entrywise(lambda x: x / (1 + np.abs(x)), 22),
    "LeakyRelu": Operator(_leaky_relu, 16, frozenset({"alpha"})), "Elu": Operator(_elu, 22, frozenset({"alpha"})),
    "HardSigmoid": Operator(_hard_sigmoid, 22, frozenset({"alpha", "beta"})),
    "ThresholdedRelu": Operator(_thresholded_relu, 22, frozenset({"alpha"})),
    "Erf": Operator(_erf, 13), "Gelu": Operator(_gelu, 20, frozenset({"approximate"})),
    "Softmax": Operator(_softmax, 13, frozenset({"axis"})), "LogSoftmax": Operator(_softmax, 13, frozenset({"axis"})),
    "Clip": Operator(_clip, 13, frozenset({"min", "max"})),
    "Gemm": Operator(_gemm, 13, frozenset({"alpha", "beta", "transA", "transB"})),
    "LayerNormalization": Operator(_layer_normalization, 17, frozenset({"axis", "epsilon", "stash_type"})),
    **{
        name: Operator(_reduce, version, frozenset({"axes", "keepdims", "noop_with_empty_axes"}))
        for name, version in (("ReduceMean", 18), ("ReduceSum", 13), ("ReduceMax", 20))
    },
}  # fmt: skip
