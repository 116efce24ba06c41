"""Layers and models as modules of PyTorch that compute the same. Imports PyTorch only when it is called."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastgate import _errors
from fastgate._recurrent import Recurrent
from fastgate.activation import Activation
from fastgate.dropout import Dropout
from fastgate.embedding import Embedding
from fastgate.exchange.modules import ACTIVATIONS, Options
from fastgate.exchange.state_dicts import arrays_of
from fastgate.final_state import FinalState
from fastgate.layer_norm import LayerNorm
from fastgate.linear import Linear
from fastgate.rnn import RNN
from fastgate.sequential import Sequential

FUNCTIONS = {function: (name, options) for name, (function, options) in ACTIVATIONS.items()}


def module_of(layer: Any) -> Any:
    """A module in evaluation mode; None where PyTorch is not installed."""
    arrays = arrays_of(layer)
    try:
        import torch

        from fastgate.exchange import torch_modules
    except ImportError:
        return None
    with torch.random.fork_rng(devices=[]):  # modules draw parameters, which no other's numbers should depend on
        module = _made(layer, torch, _container(layer, torch.nn, torch_modules))
    module.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})
    return module.eval()


def _container(layer: Any, nn: Any, own: Any) -> Any:
    """The class that holds modules: PyTorch's where that can run them."""
    members = layer._members if isinstance(layer, Sequential) else ()
    return own.Sequential if any(m.is_recurrent for m in members[:-1]) else nn.Sequential


def _made(layer: Any, torch: Any, container: Any) -> Any:
    nn, dtype = torch.nn, getattr(layer, "dtype", None)
    options: Options = {} if dtype is None else {"dtype": getattr(torch, dtype.name)}
    if isinstance(layer, Recurrent):
        return _recurrent(layer, nn, options)
    match layer:
        case Sequential():
            return container(*(_made(part, torch, container) for part in layer.layers))
        case FinalState():
            from fastgate.exchange import torch_modules

            return torch_modules.FinalState(layer.all_layers)
        case Linear():
            return nn.Linear(layer.in_features, layer.out_features, bias=layer.bias, **options)
        case Embedding():
            sizes = layer.num_embeddings, layer.embedding_dim
            return nn.Embedding(*sizes, padding_idx=layer.padding_idx, **options)
        case LayerNorm():
            return nn.LayerNorm(layer.features, layer.eps, **options)
        case Dropout():
            return nn.Dropout(layer.p)
        case Activation(function="softplus"):
            return nn.Softplus(threshold=40.0)  # beyond which it is the identity in float64 too
        case Activation(function=function) if function not in FUNCTIONS:
            raise _errors.misplaced("layer", f"one of {', '.join(FUNCTIONS)}, which torch.nn has", repr(layer))
        case Activation():
            name, same = FUNCTIONS[layer.function]
            return getattr(nn, name)(**same)
    raise AssertionError(layer)


def _recurrent(layer: Any, nn: Any, options: Options) -> Any:
    options |= {"bias": bool(layer.bias), "batch_first": layer.batch_first, "bidirectional": layer.bidirectional}
    if layer.num_layers > 1:
        options["dropout"] = layer.dropout
    if isinstance(layer, RNN):
        options["nonlinearity"] = layer.nonlinearity
    if proj_size := getattr(layer, "proj_size", 0):
        options["proj_size"] = proj_size
    return getattr(nn, type(layer).__name__)(layer.input_size, layer.hidden_size, layer.num_layers, **options)
