"""Layers as PyTorch's state_dicts, and what such a dictionary tells of the layer it was made from."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Mapping
from math import prod
from typing import Any, NamedTuple

import numpy.typing as npt

from fastgate import _errors
from fastgate._allowance import allowance
from fastgate._arrays import Array, as_choice
from fastgate._params import on_host
from fastgate._recurrent import Recurrent
from fastgate.activation import Activation
from fastgate.dropout import Dropout
from fastgate.embedding import Embedding
from fastgate.exchange import errors
from fastgate.exchange.tensors import Tensors, common_dtype
from fastgate.final_state import FinalState
from fastgate.gru import GRU
from fastgate.layer_norm import LayerNorm
from fastgate.linear import Linear
from fastgate.lstm import LSTM
from fastgate.rnn import RNN
from fastgate.sequential import Sequential

RECURRENT = re.compile(r"(weight_ih|weight_hh|weight_hr|bias_ih|bias_hh)(_l(0|[1-9]\d{0,5}))?(_reverse)?")
CELL = {"weight_ih", "weight_hh", "bias_ih", "bias_hh"}
KNOWN = {LSTM, GRU, RNN, Embedding, Linear, Dropout, Activation, LayerNorm, FinalState}
# Options that PyTorch has too, or that change nothing; of all others the default is what PyTorch computes.
SAME = {
    "input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional", "proj_size", "dtype",
    "device", "seed", "init", "in_features", "out_features", "num_embeddings", "embedding_dim", "padding_idx",
    "features", "eps", "p", "function", "all_layers",
}  # fmt: skip
NONLINEARITIES = "tanh", "relu"
GATES = {4: LSTM, 3: GRU, 1: RNN}


class Options(NamedTuple):
    """What no state_dict says."""

    batch_first: bool | None
    nonlinearity: str | None
    dropout: float
    dtype: npt.DTypeLike | None
    takes_part: bool = True  # the user could name a part of the tensors, or a layer for them


def projection(proj_size: int) -> dict[str, int]:
    """The option of an `LSTM` whose output is a product with its state; no other layer has it."""
    return {"proj_size": proj_size} if proj_size else {}


# ------------------------------------------------------------------------------------------------------------- reading


def layer_of(name: str, tensors: Tensors, options: Options) -> Any:
    """A recurrent or dense layer that has these parameters."""
    layer: Any
    with allowance(len(tensors), sum(prod(tensor.shape) for tensor in tensors.values())):
        if all(RECURRENT.fullmatch(own) for own in tensors):
            layer = _recurrent_of(name, tensors, options)
        elif tensors.keys() == {"weight", "bias"} and len(tensors["weight"].shape) == 2:
            rows, columns = tensors["weight"].shape
            layer = Linear(columns, rows, dtype=common_dtype(name, tensors, options.dtype), seed=0)
        else:
            raise errors.untold_layer(name, modules_in(tensors), takes_part=options.takes_part)
    write(name, layer.params, {as_stack(own): tensor for own, tensor in tensors.items()})
    return layer


def as_stack(own: str) -> str:
    """A parameter's name in a stack, given that in a cell too."""
    return f"{own}_l0" if own in CELL else own


def _recurrent_of(name: str, tensors: Tensors, options: Options) -> Recurrent:
    found = [match for match in map(RECURRENT.fullmatch, tensors) if match]
    is_cell = {match[2] for match in found} == {None}
    first = {match[1]: tensors[match[0]] for match in found if match[3] in (None, "0") and not match[4]}
    if not {"weight_ih", "weight_hh"} <= first.keys() or {len(first[w].shape) for w in first if w[0] == "w"} != {2}:
        raise errors.untold_layer(name, modules_in(tensors), takes_part=options.takes_part)
    rows, recurrent_size = first["weight_hh"].shape
    hidden_size = first["weight_hr"].shape[1] if "weight_hr" in first else recurrent_size
    kind = GATES.get(rows // hidden_size if hidden_size else 0)
    if kind is None or rows % hidden_size:
        expected = "4, 3 or 1 times as many rows as hidden units, of an LSTM, GRU or RNN"
        raise _errors.wrong_value(f"{name}: weight_hh", expected, first["weight_hh"].shape)
    if "weight_hr" in first and kind is not LSTM:
        raise _errors.wrong_value(f"{name}: weight_hr", "an LSTM, which alone is projected", kind.__name__)
    given: dict[str, Any] = {
        "num_layers": max(Counter((match[1], match[4]) for match in found).values()),
        "bidirectional": any(match[4] for match in found),
        "bias": "bias_ih" in first,
        "dtype": common_dtype(name, tensors, options.dtype),
        "seed": 0,
    }
    given |= projection(recurrent_size if "weight_hr" in first else 0)
    if options.batch_first is not None or not is_cell:
        given["batch_first"] = _said("batch_first", options.batch_first, (True, False), name)
    if kind is RNN:
        given["nonlinearity"] = _said("nonlinearity", options.nonlinearity, NONLINEARITIES, f"{name}, of an RNN,")
    if given["num_layers"] > 1:
        given["dropout"] = options.dropout
    layer: Recurrent = kind(first["weight_ih"].shape[1], hidden_size, **given)
    return layer


def _said(option: str, value: Any, choices: tuple[Any, ...], name: str) -> Any:
    if value is None:
        raise errors.unsaid_option(option, choices, name)
    return as_choice(option, value, choices)


def write(name: str, params: Any, tensors: Tensors) -> None:
    """Into the parameters of a layer or model: all of them, and nothing else."""
    shapes = {own: array.shape for own, array in params.items()}
    for own in {**shapes, **tensors}:
        if own not in tensors or own not in shapes:
            raise errors.unfit_names(name, own, own in tensors, modules_in(tensors))
        if tensors[own].shape != shapes[own]:
            raise _errors.wrong_shape(f"{name}[{own!r}]", f"{shapes[own]}", tensors[own].shape)
    common_dtype(name, tensors, params.dtype)
    if shapes:
        with params.edit() as arrays:
            for own, tensor in tensors.items():  # one at a time: large layers are in memory often enough
                arrays[own] = tensor.read()


def modules_in(tensors: Mapping[str, Any]) -> dict[str, list[str]]:
    """Name of each module -> names of its parameters."""
    found: dict[str, list[str]] = {}
    for path in tensors:
        module, _, own = path.rpartition(".")
        found.setdefault(module, []).append(own)
    return found


# ------------------------------------------------------------------------------------------------------------- writing


def arrays_of(layer: Any, place: str = "layer") -> dict[str, Array]:
    """The state_dict of a layer or `Sequential`: read-only arrays under PyTorch's names."""
    if type(layer) is Sequential:
        parts = {m.path: arrays_of(m.layer, m.place) for m in layer._members}
        return {f"{path}.{own}": array for path, arrays in parts.items() for own, array in arrays.items()}
    if type(layer) not in KNOWN:
        raise errors.unknown_layer(place, type(layer).__name__, "PyTorch")
    for option, parameter in inspect.signature(type(layer)).parameters.items():
        value = getattr(layer, option)
        if option == "nonlinearity" and value not in NONLINEARITIES:
            raise _errors.misplaced(place, f"nonlinearity {' or '.join(NONLINEARITIES)}, as in PyTorch", value)
        if option not in {*SAME, "nonlinearity"} and value != parameter.default:
            raise errors.not_there(place, option, parameter.default, value, "PyTorch")
    if isinstance(layer, Recurrent) and layer.bias == "single":
        return _with_two_biases(layer)
    return on_host(getattr(layer, "params", {}))


def _with_two_biases(layer: Recurrent) -> dict[str, Array]:
    """PyTorch's bias_hh is zero then, but for what is inside ``r * (...)``."""
    arrays, found = on_host(layer.params), dict[str, Array]()
    for place in layer._layout.places():
        b_ih, b_hh = layer._layout.kernel_arrays(arrays, place)[2:4]
        own = re.compile(rf"weight_.._{place.suffix}")
        found |= {name: array for name, array in arrays.items() if own.fullmatch(name)}
        found |= {f"bias_ih_{place.suffix}": b_ih, f"bias_hh_{place.suffix}": b_hh}
    return found
