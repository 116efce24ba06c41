"""Recurrent layers of Keras as those of fastgate, and the weights of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastgate import _errors
from fastgate._arrays import Array
from fastgate._params import on_host
from fastgate._recurrent import Recurrent
from fastgate._weights import Place
from fastgate.exchange import errors
from fastgate.exchange.keras_description import CELLS, Layer, read
from fastgate.exchange.tensors import common_dtype
from fastgate.gru import GRU
from fastgate.lstm import LSTM
from fastgate.rnn import RNN

KINDS: dict[str, Any] = {"LSTM": LSTM, "GRU": GRU, "RNN": RNN}
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
# Keras' name -> fastgate's, with Keras' parameters.
ACTIVATIONS: dict[str, Any] = {
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "relu": "relu",
    "linear": "linear",
    "hard_sigmoid": ("hard_sigmoid", 1 / 6, 0.5),
    "elu": "elu",
    "leaky_relu": ("leaky_relu", 0.2),
    "softsign": "softsign",
    "softplus": "softplus",
}
OF_KERAS_2 = {"hard_sigmoid": "hard_sigmoid"}  # with 0.2 and 0.5


def layer_of(cells: Sequence[Layer], place: str) -> Recurrent:
    """Of one cell, or of two for both directions."""
    kind = CELLS[cells[0].kind]
    options = [_options(cell, kind) for cell in cells]
    for name in options[0]:
        if options[-1][name] != options[0][name]:
            got = f"{options[0][name]!r} and {options[-1][name]!r}"
            raise _errors.misplaced(place, f"both directions with the same {name}", got)
    units, I = options[0].pop("units"), _input_size(cells[0])
    tensors = {f"{cell.place}: {n}": own for cell in cells for n, own in enumerate(cell.weights)}
    given = options[0] | {"dtype": common_dtype(place, tensors, None), "bidirectional": len(cells) > 1, "seed": 0}
    arrays = [_arrays(cell, kind, I, units) for cell in cells]  # before memory is asked for
    layer: Recurrent = KINDS[kind](I, units, **{name: own for name, own in given.items() if own is not None})
    write(layer, dict(zip(layer._layout.places(), arrays, strict=True)))
    return layer


def _input_size(cell: Layer) -> int:
    shape = cell.weights[0].shape
    if len(shape) != 2 or not shape[0]:
        raise _errors.wrong_shape(f"{cell.place}: kernel", "(inputs, gates * units)", shape)
    return shape[0]


def _options(cell: Layer, kind: str) -> dict[str, Any]:
    """As the class of fastgate takes them."""
    own, has_bias = cell.options, cell.options.flag("use_bias", True)
    dropped = own.number("recurrent_dropout", 0.0)
    found: dict[str, Any] = {"units": own.size("units"), "recurrent_dropout": dropped or None}
    activation = _activation(cell, "activation", "tanh")
    if kind == "RNN":
        return found | {"bias": "single" if has_bias else False, "nonlinearity": activation}
    gates = _activation(cell, "recurrent_activation", "sigmoid")
    if kind == "LSTM":
        return found | {"bias": "single" if has_bias else False, "activations": (gates, activation, activation)}
    reset_after = own.flag("reset_after", cell.generation > 2)
    bias = has_bias if reset_after or not has_bias else "single"
    return found | {"bias": bias, "reset_after": reset_after, "activations": (gates, activation)}


def _activation(cell: Layer, name: str, usual: str) -> Any:
    value = cell.options.get(name, usual)
    known = ACTIVATIONS | (OF_KERAS_2 if cell.generation == 2 else {})
    if not isinstance(value, str) or value not in known:
        raise errors.no_equal(cell.place, name, value, f"which only {', '.join(known)} have")
    return known[value]


def _arrays(cell: Layer, kind: str, I: int, H: int) -> list[Array]:
    """Kernel (I, G*H), recurrent kernel (H, G*H) and perhaps bias, with Keras' order of gates."""
    rows = GATES[kind] * H
    is_double = kind == "GRU" and cell.options.flag("reset_after", cell.generation > 2)
    shapes = [(I, rows), (H, rows), (2, rows) if is_double else (rows,)]
    names = "kernel", "recurrent_kernel", "bias"
    return [read(*each, cell.place) for each in zip(cell.weights, shapes, names, strict=False)]


# ------------------------------------------------------------------------------------------------------------- weights


def _in_other_order(layer: Recurrent, array: Array) -> Array:
    """Keras' gates z, r, h for r, z, n on the last axis, and the other way round; those of an LSTM are the same."""
    if not isinstance(layer, GRU):
        return array
    first, second, last = np.split(array, 3, axis=-1)
    return np.concatenate([second, first, last], axis=-1)


def write(layer: Recurrent, weights: dict[Place, list[Array]]) -> None:
    """Keras' arrays into the places of a layer; where a layer has two biases and Keras one, the second is 0."""
    with layer.params.edit() as arrays:
        for place, (kernel, recurrent, *biases) in weights.items():
            end = place.suffix
            arrays[f"weight_ih_{end}"] = _in_other_order(layer, kernel).T
            arrays[f"weight_hh_{end}"] = _in_other_order(layer, recurrent).T
            if not biases:
                continue
            b = np.atleast_2d(_in_other_order(layer, biases[0]))
            b_ih, b_hh = b[0], b[1] if len(b) > 1 else np.zeros_like(b[0])
            if layer._layout.bias == "double":
                arrays[f"bias_ih_{end}"], arrays[f"bias_hh_{end}"] = b_ih, b_hh
            elif layer._layout.recurrent_candidate_bias:
                H = layer.hidden_size
                arrays[f"bias_hn_{end}"] = b_hh[-H:]
                arrays[f"bias_{end}"] = np.concatenate([b_ih[:-H] + b_hh[:-H], b_ih[-H:]])
            else:
                arrays[f"bias_{end}"] = b_ih


def arrays_of(layer: Recurrent, place: Place) -> list[Array]:
    """The other way: two biases become one, their sum, but for a GRU with ``reset_after=True``, which has both."""
    W_ih, W_hh, b_ih, b_hh = layer._layout.kernel_arrays(on_host(layer.params), place)
    found = [W_ih.T, W_hh.T]
    if layer.bias and isinstance(layer, GRU) and layer.reset_after:
        found.append(np.stack([b_ih, b_hh]))
    elif layer.bias:
        found.append(b_ih + b_hh if layer._layout.bias == "double" else b_ih)
    return [np.ascontiguousarray(_in_other_order(layer, array)) for array in found]
