"""Layers and models from PyTorch, and to it.

======================================================  ==================================================
torch.nn                                                fastgate
======================================================  ==================================================
LSTM, GRU, RNN: num_layers, bias, batch_first,          the same, with the same options
dropout, bidirectional, nonlinearity, proj_size
LSTMCell, GRUCell, RNNCell                              LSTM, GRU, RNN of one layer, to be called by `step`;
                                                        refused within a model
Linear                                                  the same
Embedding: padding_idx; sparse is of no consequence     the same
Embedding: max_norm, scale_grad_by_freq                 refused
LayerNorm over one axis, with weight and bias           the same; other LayerNorm is refused
Dropout; Identity                                       Dropout; Dropout(0)
ReLU, SiLU, Sigmoid, Tanh                               Activation
LeakyReLU, ELU, GELU with their defaults                Activation; other options are refused
Softmax, LogSoftmax with dim=-1                         Activation; any other dim, also None, is refused
Softplus with beta=1, threshold of 20 or more           Activation, which has no threshold: 2e-9 more just above 20
Sequential, nested                                      Sequential, with numbers for names
any other class, subclasses, hooks, shared parameters   refused, but for what ``custom`` names
======================================================  ==================================================

To PyTorch the same table is read from right to left. A single bias becomes two, the second of them zero (but for what
is inside ``r * (...)`` of a GRU). ``GRU(reset_after=False)``, `EncoderDecoder`, quantized layers and layers of your own
are refused.

In a model, LSTM, GRU and RNN of torch.nn return the pair (output, state), which no module of torch.nn takes. So
FinalState, and Sequential models in which something follows a recurrent layer, become the two small classes of
`fastgate.exchange.torch_modules`: a Sequential that hands on the output alone, and a FinalState that takes the pair.
From PyTorch, these two are known; in a torch.nn.Sequential what follows a recurrent module must be of a class that
``custom`` names.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy.typing as npt

from fastgate import _errors, _safetensors
from fastgate._arrays import as_flag, as_probability
from fastgate._endings import check_ending
from fastgate._model import on_cpu
from fastgate.exchange import errors, files, modules, safetensors_files, state_dicts, torch_files, twins
from fastgate.exchange.tensors import Tensors, collect


def from_torch(
    source: Any,
    *,
    part: str = "",
    into: Any = None,
    names: Mapping[str, str] | None = None,
    custom: Mapping[type, Callable[[Any], Any]] | None = None,
    batch_first: bool | None = None,
    nonlinearity: str | None = None,
    dropout: float = 0.0,
    dtype: npt.DTypeLike | None = None,
) -> Any:
    """A layer or model from PyTorch: the same parameters to the last bit, or an error that says why not.

    What is known of torch.nn is listed in `fastgate.exchange.pytorch`. Of a file nothing is ever run, and PyTorch need
    not be installed: of the pickle in a file of torch.save only the instructions and names that tensors take are known,
    and any other is an error. Sizes are compared with what is stored before memory is asked for.

    Parameters
    ----------
    source : torch.nn.Module, mapping, str or path-like
        A module; a state_dict, of tensors or arrays; or the name of a file that holds one, of torch.save (1.6 or later)
        or safetensors (with the extra `files`). A checkpoint, a mapping of mappings, is a state_dict as well, in which
        names are joined by points.
    part : str
        Take only what is below this name: "model.rnn", say, of a checkpoint or of a module.
    into : layer or model of fastgate, optional
        Write the parameters into this one, and return it: for a model with code of its own, and for a state_dict of
        several modules, as that does not say what is done with them. All names and shapes must fit. Options are not
        compared.
    names : dict, optional
        With `into`: from the name of a PyTorch module to that of the layer, as in ``{"lstm": "1", "head": "3"}``. What
        is not mentioned has the same name in both.
    custom : dict, optional
        From a class of modules to a function that takes a module of that class and returns the layer that stands for
        it. What a class in a torch.nn.Sequential makes of the pair (output, state) of an LSTM before it is told so:
        ``{LastStep: lambda module: fg.FinalState()}``; `Dropout(0)` hands on the output.
    batch_first : bool
        Of a state_dict, which does not say it, and must be given for LSTM, GRU and RNN. PyTorch's default is False.
    nonlinearity : "tanh" or "relu"
        Of the state_dict of an RNN, which does not say it. PyTorch's default is "tanh".
    dropout : float
        Of a state_dict: between the layers of a stack, in training.
    dtype : "float32" or "float64", optional
        Of a state_dict. By default that of the tensors; float32 holds those of 16 bits exactly, and computes more
        exactly than PyTorch does with them.

    Returns
    -------
    layer or model
        Its parameters are copies. Seeds, and which parameters PyTorch would not train, are not taken over. A
        model whose last layer is recurrent returns its output, where PyTorch returns the pair (output, state).

    Raises
    ------
    TypeError, ValueError
        If something has no equal in fastgate, is not said, does not fit, or the file is damaged, foreign or asks for
        more than tensors. The message names the module, tensor or option.
    OSError
        If there is no such file, or it cannot be read.

    Examples
    --------
    >>> import numpy as np, fastgate as fg
    >>> state_dict = {"weight_ih_l0": np.ones((20, 3)), "weight_hh_l0": np.ones((20, 5))}
    >>> fg.from_torch(state_dict, batch_first=True)
    LSTM(3, 5, bias=False, dtype='float64')
    """
    unsaid = {"batch_first": batch_first, "nonlinearity": nonlinearity, "dropout": dropout or None, "dtype": dtype}
    if names is not None and into is None:
        raise errors.without("names", "into")
    if _is_module(source):
        if into is None:
            for option, value in unsaid.items():
                if value is not None:
                    raise errors.said_by_module(option)
            return modules.layer_of(_submodule(source, part), dict(custom or {}))
        source = source.state_dict()
    if custom is not None:
        raise errors.without("custom", "a module that is read")
    name = f"path: {str(source)!r}" if isinstance(source, (str, os.PathLike)) else "state_dict"
    with opened(source) as tree:
        tensors = collect(name, tree, part)
        if into is not None:
            state_dicts.write(name, _params(into), renamed(tensors, names or {}))
            return into
        options = state_dicts.Options(batch_first, nonlinearity, as_probability("dropout", dropout), dtype)
        return state_dicts.layer_of(name, tensors, options)


def to_torch(layer: Any, path: str | os.PathLike[str] | None = None, *, as_state_dict: bool = False) -> Any:
    """A layer or model as a module of PyTorch, as a state_dict, or as a file of one: the same numbers.

    What becomes of which layer is listed in `fastgate.exchange.pytorch`. PyTorch is needed for a module only.

    Parameters
    ----------
    layer : layer or Sequential
    path : str or path-like, optional
        Write the state_dict into this file instead: ".safetensors" (with the extra `files`), or ".pt" or ".pth", which
        ``torch.load(path, weights_only=True)`` reads. It is written whole or not at all.
    as_state_dict : bool
        True: arrays, whether PyTorch is installed or not.

    Returns
    -------
    torch.nn.Module
        On the CPU, in evaluation mode, so that it computes what calling the layer does; ``train()`` turns dropout on.
        The names in its state_dict are those of ``layer.params``, if no layer has a single bias. A recurrent module at
        the end of a model returns the pair (output, state).
    dict
        If PyTorch is not installed, or with `as_state_dict`: the state_dict, name -> array.
    None
        If a path is given.

    Raises
    ------
    TypeError, ValueError
        If PyTorch has no equal of a layer, or the path has another ending.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import fastgate as fg
    >>> sorted(fg.to_torch(fg.Linear(3, 5), as_state_dict=True))
    ['bias', 'weight']
    """
    layer = on_cpu(layer)
    if path is not None:
        arrays, ending = state_dicts.arrays_of(layer), Path(path).suffix
        check_ending(path, "to_torch")
        if ending == ".safetensors":
            _safetensors.write(path, arrays, {"format": "pt"})
        else:
            torch_files.write(path, arrays)
        return None
    module = None if as_flag("as_state_dict", as_state_dict) else twins.module_of(layer)
    if module is not None:
        return module
    return {name: array.copy() for name, array in state_dicts.arrays_of(layer).items()}


def _is_module(source: Any) -> bool:
    torch = sys.modules.get("torch")  # without which nobody has a module
    return torch is not None and isinstance(source, torch.nn.Module)


def _submodule(module: Any, part: str) -> Any:
    try:
        return module.get_submodule(part)
    except AttributeError as error:
        raise _errors.wrong_value("part", f"the name of a module ({error})", part) from None


@contextmanager
def opened(source: Any) -> Iterator[Any]:
    """A mapping of names to arrays, tensors, or mappings."""
    if isinstance(source, Mapping):
        yield source
        return
    if not isinstance(source, (str, os.PathLike)):
        raise _errors.wrong_type("source", "a torch.nn.Module, a state_dict or a path", type(source).__name__)
    start = files.read_start(source)
    if reason := torch_files.reason_to_refuse(start):
        raise _errors.bad_file(source, reason)
    if start and not start.startswith((b"PK", *_safetensors.FOREIGN)) and start[8:9] != b"{":
        raise _errors.bad_file(source, "is no safetensors file, nor a ZIP archive as torch.save writes")
    known = torch_files if start.startswith(b"PK") else safetensors_files
    with known.opened(source) as tree:
        yield tree


def _params(into: Any) -> Any:
    params = getattr(into, "params", None)
    if not hasattr(params, "edit"):
        raise _errors.wrong_type("into", "a layer or model of fastgate", type(into).__name__)
    return params


def renamed(tensors: Tensors, names: Mapping[str, str]) -> Tensors:
    """Under the names that the layers have in fastgate."""
    found: Tensors = {}
    modules_of_source = set(state_dicts.modules_in(tensors))
    for module in names:
        if module not in modules_of_source:
            raise _errors.wrong_value("names", f"names among {', '.join(map(repr, modules_of_source))}", module)
    for path, tensor in tensors.items():
        module, _, own = path.rpartition(".")
        place, own = names.get(module, module), state_dicts.as_stack(own)
        new = f"{place}.{own}" if place else own
        if new in found:
            raise _errors.wrong_value("names", "another layer for each module", names)
        found[new] = tensor
    return found
