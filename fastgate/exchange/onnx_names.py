"""ONNX's names and orders beside fastgate's: the one place where gates are permuted."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastgate._activations import Activation, with_parameters
from fastgate._arrays import Array
from fastgate.gru import GRU
from fastgate.lstm import LSTM
from fastgate.rnn import RNN

# Operator -> its class, and its gates in ONNX's order under the names they have in `Recurrent._gates`: "iofc", "zrh".
LAYERS: dict[str, Any] = {"LSTM": LSTM, "GRU": GRU, "RNN": RNN}
GATES = {"LSTM": "iofg", "GRU": "zrn", "RNN": "h"}
PEEPHOLES = "iof"
USUAL: dict[str, tuple[str, ...]] = {"LSTM": ("sigmoid", "tanh", "tanh"), "GRU": ("sigmoid", "tanh"), "RNN": ("tanh",)}
ACTIVATIONS = {
    "Sigmoid": "sigmoid", "Tanh": "tanh", "Relu": "relu", "Affine": "affine", "LeakyRelu": "leaky_relu",
    "ThresholdedRelu": "thresholded_relu", "ScaledTanh": "scaled_tanh", "HardSigmoid": "hard_sigmoid", "Elu": "elu",
    "Softsign": "softsign", "Softplus": "softplus",
}  # fmt: skip
WITHOUT_DEFAULTS = {"affine", "scaled_tanh"}  # ONNX says none, and ONNX Runtime takes 0
WITH_DEFAULTS = {"leaky_relu", "hard_sigmoid", "elu", "thresholded_relu"}  # those of the operators of these names
DTYPES = {"float32": 1, "float64": 11}  # of onnx.TensorProto


def from_onnx(rows: Array, operator: str, gates: str) -> Array:
    """(G*H, ...) of all gates in ONNX's order -> those that a layer has, in its order."""
    order = GATES[operator]
    blocks = rows.reshape(len(order), -1, *rows.shape[1:])
    return blocks[[order.index(gate) for gate in gates]].reshape(-1, *rows.shape[1:])


def to_onnx(rows: Array, operator: str, gates: str) -> Array:
    """The way back: zeros for a gate that the layer does not have, which ONNX then does not compute."""
    blocks = dict(zip(gates, rows.reshape(len(gates), -1, *rows.shape[1:]), strict=True))
    zeros = np.zeros_like(blocks[gates[0]])
    return np.concatenate([blocks.get(gate, zeros) for gate in GATES[operator]])


def activation_attributes(activations: Sequence[Activation], operator: str, directions: int) -> dict[str, Any]:
    """What ONNX is told of a layer's activations: nothing of the usual ones."""
    if tuple(activations) == USUAL[operator]:
        return {}
    names = {own: name for name, own in ACTIVATIONS.items()} | {"linear": "Affine"}
    whole = [(names[name], kind, numbers) for kind in activations for name, *numbers in [_with_numbers(kind)]]
    whole *= directions
    found: dict[str, Any] = {"activations": [name for name, _, _ in whole]}
    for place, option in enumerate(("activation_alpha", "activation_beta")):
        values = [(kind, numbers[place]) for _, kind, numbers in whole if len(numbers) > place]
        while values and values[-1][0] in WITH_DEFAULTS:  # which an attribute, in float32, might not hold
            values.pop()
        if values:
            found[option] = [number for _, number in values]
    return found


def _with_numbers(activation: Activation) -> tuple[Any, ...]:
    return ("linear", 1.0, 0.0) if activation == "linear" else with_parameters(activation)


def attribute(value: Any, dtype: np.dtype[Any]) -> Any:
    """A number of an attribute, of float32, as a layer of this dtype has it: the shortest that is the same there."""
    return float(str(np.float32(value))) if isinstance(value, float) and dtype == np.float32 else value
