"""Modules of torch.nn as layers that compute the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastgate import _errors
from fastgate.activation import Activation
from fastgate.dropout import Dropout
from fastgate.embedding import Embedding
from fastgate.exchange import errors, state_dicts
from fastgate.exchange.tensors import Tensors, common_dtype, tensor_of
from fastgate.final_state import FinalState
from fastgate.gru import GRU
from fastgate.layer_norm import LayerNorm
from fastgate.linear import Linear
from fastgate.lstm import LSTM
from fastgate.rnn import RNN
from fastgate.sequential import Sequential

Custom = Mapping[type, Callable[[Any], Any]]
Options = dict[str, Any]
RECURRENT: dict[str, Any] = {"LSTM": LSTM, "GRU": GRU, "RNN": RNN}
CELLS: dict[str, Any] = {"LSTMCell": LSTM, "GRUCell": GRU, "RNNCell": RNN}
# Name in torch.nn -> fastgate's, and the options with which they are the same.
ACTIVATIONS: dict[str, tuple[str, Options]] = {
    "ReLU": ("relu", {}),
    "LeakyReLU": ("leaky_relu", {"negative_slope": 0.01}),
    "ELU": ("elu", {"alpha": 1.0}),
    "GELU": ("gelu", {"approximate": "none"}),
    "SiLU": ("silu", {}),
    "Softplus": ("softplus", {"beta": 1.0}),
    "Sigmoid": ("sigmoid", {}),
    "Tanh": ("tanh", {}),
    "Softmax": ("softmax", {"dim": -1}),
    "LogSoftmax": ("log_softmax", {"dim": -1}),
}
HOOKS = "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"


def layer_of(module: Any, custom: Custom) -> Any:
    """The layer or model that computes what the module does, with its parameters."""
    import torch

    from fastgate.exchange import torch_modules

    tied: dict[int, str] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if (first := tied.setdefault(id(parameter), name)) != name:
            expected = "a tensor of its own, which training may make different"
            raise _errors.misplaced(f"module: parameter {name!r}", expected, f"that of {first!r}")
    return _Reader(torch.nn, torch_modules, custom).read(module, "")


class _Reader:
    def __init__(self, nn: Any, own: Any, custom: Custom) -> None:
        self._nn, self._own, self._custom = nn, own, custom

    def read(self, module: Any, path: str) -> Any:
        kind = type(module)
        place = f"module: {path!r} ({kind.__name__})" if path else f"module: {kind.__name__}"
        if kind in self._custom:
            return self._custom[kind](module)
        self._check_plain(module, place)
        if kind in (self._nn.Sequential, self._own.Sequential):
            return self._sequential(module, path, place)
        if kind is self._own.FinalState:
            return FinalState(module.all_layers)
        name = kind.__name__
        if name in CELLS and path:
            expected = "no cell within a model, as it computes one step; convert it by itself"
            raise _errors.misplaced(place, expected, name)
        layer = _made(module, name, place, _tensors(module, place))
        if layer is None:
            raise errors.unknown_module(place)
        return layer

    def _check_plain(self, module: Any, place: str) -> None:
        """Raise if its class may compute something else than torch.nn's, or somebody interferes."""
        name = type(module).__name__
        if type(module) not in (getattr(self._nn, name, None), getattr(self._own, name, None)):
            raise errors.unknown_module(place)
        if "forward" in module.__dict__ or any(getattr(module, hooks) for hooks in HOOKS):
            raise _errors.misplaced(place, "its class's forward alone, without hooks", "another, or hooks")

    def _sequential(self, module: Any, path: str, place: str) -> Sequential:
        parts = list(module)
        if type(module) is self._nn.Sequential:
            for i in range(len(parts) - 1):
                if self._gives_pair(parts[i]) and not self._takes_pair(parts[i + 1]):
                    raise errors.pair_for_module(place, i, type(parts[i + 1]).__name__)
        return Sequential(*(self.read(part, f"{path}.{i}" if path else str(i)) for i, part in enumerate(parts)))

    def _gives_pair(self, module: Any) -> bool:
        while isinstance(module, self._nn.Sequential) and len(module) and type(module) not in self._custom:
            module = module[-1]
        return type(module) in self._own.RECURRENT

    def _takes_pair(self, module: Any) -> bool:
        while isinstance(module, self._nn.Sequential) and len(module) and type(module) not in self._custom:
            module = module[0]
        return type(module) in self._custom or type(module) is self._own.FinalState


def _tensors(module: Any, place: str) -> Tensors:
    found = {name: tensor_of(f"{place}: {name}", own) for name, own in module.named_parameters(recurse=False)}
    return {state_dicts.as_stack(name): own for name, own in found.items() if own is not None}


def _made(module: Any, name: str, place: str, tensors: Tensors) -> Any:
    """The layer of a module of torch.nn that is not a container, or None."""
    options: Options = {"dtype": common_dtype(place, tensors, None)} if tensors else {}
    layer: Any
    if name in RECURRENT or name in CELLS:
        layer = _recurrent(module, name, options)
    elif name == "Linear":
        layer = Linear(module.in_features, module.out_features, bias=module.bias is not None, seed=0, **options)
    elif name == "Embedding":
        _check(module, place, {"max_norm": None, "scale_grad_by_freq": False})
        sizes = module.num_embeddings, module.embedding_dim
        layer = Embedding(*sizes, padding_idx=module.padding_idx, seed=0, **options)
    elif name == "LayerNorm":
        if len(module.normalized_shape) != 1 or len(tensors) != 2:
            got = f"{tuple(module.normalized_shape)} with {', '.join(tensors) or 'neither'}"
            raise _errors.misplaced(place, "one axis, with weight and bias", got)
        layer = LayerNorm(module.normalized_shape[0], module.eps, **options)
    elif name in ("Dropout", "Identity"):
        return Dropout(module.p if name == "Dropout" else 0.0, seed=0)
    elif name in ACTIVATIONS:
        function, same = ACTIVATIONS[name]
        _check(module, place, same)
        if name == "Softplus" and module.threshold < 20:
            raise _errors.misplaced(place, "a threshold of at least 20", module.threshold)
        return Activation(function)
    else:
        return None
    state_dicts.write(place, layer.params, tensors)
    return layer


def _recurrent(module: Any, name: str, options: Options) -> Any:
    options |= {"bias": bool(module.bias), "seed": 0}
    if name in ("RNN", "RNNCell"):
        options["nonlinearity"] = module.nonlinearity
    if name in CELLS:
        return CELLS[name](module.input_size, module.hidden_size, **options)
    options |= {"batch_first": module.batch_first, "bidirectional": module.bidirectional}
    options |= state_dicts.projection(module.proj_size)
    if module.num_layers > 1:
        options["dropout"] = module.dropout
    return RECURRENT[name](module.input_size, module.hidden_size, module.num_layers, **options)


def _check(module: Any, place: str, expected: Options) -> None:
    for option, value in expected.items():
        if getattr(module, option) != value:
            raise _errors.misplaced(place, f"{option}={value!r}", repr(getattr(module, option)))
