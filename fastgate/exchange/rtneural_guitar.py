"""The JSON of GuitarML's models (NeuralPi, Proteus): a recurrent module of PyTorch, and a dense one behind it."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastgate import _errors
from fastgate._arrays import as_size
from fastgate.exchange import state_dicts
from fastgate.exchange.rtneural_files import as_numbers, entry, shown
from fastgate.exchange.tensors import Tensors, collect, tensor_of
from fastgate.linear import Linear
from fastgate.sequential import Sequential

UNITS = "LSTM", "GRU", "RNN"
SIZES = "input_size", "hidden_size", "num_layers", "output_size"


def model_of(name: str, content: Any, dtype: np.dtype[Any]) -> Sequential:
    """The recurrent layer and the dense one."""
    place = f"{name}: model_data"
    data = entry(name, content, "model_data", dict, "a mapping")
    kind = entry(place, data, "model", str, "the name of a kind of model")
    if kind != "SimpleRNN":
        raise _errors.misplaced(f"{place}: model", "'SimpleRNN', as no other is known here", shown(kind))
    unit = entry(place, data, "unit_type", str, f"one of {', '.join(UNITS)}")
    if unit not in UNITS:
        raise _errors.misplaced(f"{place}: unit_type", f"one of {', '.join(UNITS)}", shown(unit))
    if as_size(f"{place}: skip", data.get("skip", 0), least=0):
        expected = "0, as no layer adds the input to the output; read it with skip set to 0, and add the input yourself"
        raise _errors.misplaced(f"{place}: skip", expected, shown(data["skip"]))
    tensors = _tensors(name, entry(name, content, "state_dict", dict, "a mapping of names to numbers"))
    recurrent, dense = (collect(f"{name}: state_dict", tensors, part) for part in ("rec", "lin"))
    if len(tensors) > len(recurrent) + len(dense):
        own = next(own for own in tensors if not own.startswith(("rec.", "lin.")))
        raise _errors.misplaced(f"{name}: state_dict", "parameters of 'rec' and 'lin' alone", shown(own))
    options = state_dicts.Options(True, "tanh", 0.0, dtype, takes_part=False)
    layer = state_dicts.layer_of(f"{place} rec", recurrent, options)
    head = _dense(f"{place} lin", dense, dtype)
    said = tuple(as_size(f"{place}: {own}", data.get(own)) for own in SIZES)
    got = (*(getattr(layer, own) for own in SIZES[:-1]), head.out_features)
    if (type(layer).__name__, *said) != (unit, *got):
        is_what = f"{type(layer).__name__}, {got}"
        raise _errors.misplaced(place, f"what its state_dict is: {is_what} of {', '.join(SIZES)}", f"{unit}, {said}")
    return Sequential(layer, head)


def _tensors(name: str, state_dict: Any) -> Tensors:
    found: Tensors = {}
    for own, value in state_dict.items():
        place = f"{name}: state_dict[{shown(own)}]"
        is_bias = str(own).rpartition(".")[2].startswith("bias")
        tensor = tensor_of(place, as_numbers(place, value, (None,) if is_bias else (None, None)))
        assert tensor is not None
        found[str(own)] = tensor
    return found


def _dense(name: str, tensors: Tensors, dtype: np.dtype[Any]) -> Linear:
    if "weight" not in tensors:
        raise _errors.misplaced(name, "a 'weight'", ", ".join(tensors))
    rows, columns = tensors["weight"].shape
    layer = Linear(columns, rows, bias="bias" in tensors, dtype=dtype, seed=0)
    state_dicts.write(name, layer.params, tensors)
    return layer
