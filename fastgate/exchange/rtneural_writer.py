"""Layers as RTNeural's JSON."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastgate import _errors
from fastgate._arrays import Array
from fastgate._frozen import Frozen
from fastgate._params import on_host
from fastgate.activation import Activation
from fastgate.dropout import Dropout
from fastgate.exchange import errors
from fastgate.exchange.rtneural_layers import ACTIVATIONS, SLOPES, swap_gates
from fastgate.gru import GRU
from fastgate.linear import Linear
from fastgate.lstm import LSTM
from fastgate.sequential import Sequential

Description = dict[str, Any]
# Options of which what RTNeural computes does not depend, or that its shapes say; all others must have their defaults.
SAME = {
    "input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "recurrent_dropout", "dtype", "device",
    "seed", "init",
}  # fmt: skip
SLOPE_OF = {function: slope for slope, function in SLOPES.items()}


def description_of(layer: Any) -> Description:
    """What RTNeural's parser takes, in plain Python."""
    parts = list(_parts(layer, "layer"))
    size = next((_input_size(part) for _, part in parts if isinstance(part, (LSTM, GRU, Linear))), None)
    if size is None:
        raise _errors.misplaced("layer", "an LSTM, GRU or Linear in it, which says how many features there are", "none")
    found: list[Description] = []
    own_size = size
    for place, part in parts:
        if isinstance(part, Activation):
            _add_activation(found, part.function, own_size, place)
        elif not isinstance(part, Dropout):
            found += _described(place, part)
            own_size = found[-1]["shape"][-1]
    return {"in_shape": _shape(size), "layers": found}


def _parts(layer: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Layers that are no models, each with its place; anything that RTNeural has not is an error."""
    if type(layer) is Sequential:
        for member in layer._members:
            yield from _parts(member.layer, member.place)
        return
    if type(layer) not in (LSTM, GRU, Linear, Activation, Dropout):
        name = type(layer).__name__
        if not isinstance(layer, Frozen):
            raise errors.unknown_layer(place, name, "RTNeural")
        raise _errors.misplaced(place, "LSTM, GRU, Linear, Activation or Dropout, as RTNeural has no other", name)
    if isinstance(layer, (LSTM, GRU)):
        for option, parameter in inspect.signature(type(layer)).parameters.items():
            if option not in SAME and (value := getattr(layer, option)) != parameter.default:
                raise _errors.misplaced(place, f"{option}={parameter.default!r}, as in RTNeural", repr(value))
    for own, array in on_host(getattr(layer, "params", {})).items():
        if not np.isfinite(array).all():
            raise _errors.misplaced(f"{place}: params[{own!r}]", "finite numbers, as JSON has no others", "others")
    yield place, layer


def _input_size(layer: LSTM | GRU | Linear) -> int:
    return layer.in_features if isinstance(layer, Linear) else layer.input_size


def _shape(size: int) -> list[int | None]:
    return [None, None, size]


def _entry(kind: str, size: int, weights: list[Array], activation: str = "") -> Description:
    listed = [array.tolist() for array in weights]
    return {"type": kind, "activation": activation, "shape": _shape(size), "weights": listed}


def _add_activation(found: list[Description], function: str, size: int, place: str) -> None:
    """Part of the dense layer before it, as Keras has it, or an entry of its own."""
    if function in ACTIVATIONS and found and found[-1]["type"] == "dense" and not found[-1]["activation"]:
        found[-1]["activation"] = function
    elif function in ACTIVATIONS:
        found.append(_entry("activation", size, [], function))
    elif function in SLOPE_OF:
        found.append(_entry("prelu", size, [np.full((1, size), SLOPE_OF[function])]))
    else:
        known = ", ".join([*ACTIVATIONS, *(name for name in SLOPE_OF if name not in ACTIVATIONS)])
        raise _errors.misplaced(place, f"one of {known}, as RTNeural has no other", function)


def _described(place: str, layer: LSTM | GRU | Linear) -> Iterator[Description]:
    arrays = on_host(layer.params)
    if isinstance(layer, Linear):
        bias = [arrays["bias"]] if layer.bias else []
        yield _entry("dense", layer.out_features, [arrays["weight"].T, *bias])
        return
    kind = type(layer).__name__.lower()
    for own in layer._layout.places():
        W_ih, W_hh, b_ih, b_hh = layer._layout.kernel_arrays(arrays, own)
        if kind == "lstm":
            weights = [W_ih.T, W_hh.T, b_ih + b_hh]
        else:
            weights = [swap_gates(array, layer.hidden_size) for array in (W_ih.T, W_hh.T, np.stack([b_ih, b_hh]))]
        if not np.isfinite(weights[-1]).all():
            raise _errors.misplaced(f"{place}: biases", "a finite sum of both", "another")
        yield _entry(kind, layer.hidden_size, weights)
