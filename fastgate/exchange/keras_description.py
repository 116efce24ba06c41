"""Layers of Keras as their configuration and weights tell them, whether from objects or files: one description of all.

Nothing is imported by the names in a configuration, nor run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastgate import _errors
from fastgate.exchange import errors, keras_graph
from fastgate.exchange.keras_sources import Flat, Source
from fastgate.exchange.tensors import Tensor

MODELS = "Sequential", "Functional", "Model"
CELLS = {
    "LSTM": "LSTM", "GRU": "GRU", "SimpleRNN": "RNN", "LSTMCell": "LSTM", "GRUCell": "GRU", "SimpleRNNCell": "RNN",
}  # fmt: skip
ACTIVATIONS = "Activation", "ReLU", "LeakyReLU", "ELU", "Softmax"
OTHERS = (
    "InputLayer", "Embedding", "Masking", "Dense", "TimeDistributed", "LayerNormalization", "Dropout",
    "SpatialDropout1D", "Flatten", "Reshape",
)  # fmt: skip
ONE_WAY = "LSTM", "GRU", "SimpleRNN", "RNN"
RECURRENT = *ONE_WAY, "Bidirectional"
SINGLE_CELLS = tuple(kind for kind in CELLS if kind.endswith("Cell"))
INSIDE_TIME = ("Dense", "LayerNormalization", "Dropout", *ACTIVATIONS)  # act on the last axis, at whatever step
KNOWN = {*RECURRENT, *ACTIVATIONS, *OTHERS}
POLICIES = "DTypePolicy", "FloatDTypePolicy", "Policy", "PolicyV1"  # names of one class in versions of Keras
DTYPES = "float32", "float64", "float16", "bfloat16", "mixed_float16", "mixed_bfloat16"
# Of training, of names, of speed: no output depends on them.
WITHOUT_CONSEQUENCE = (
    "name", "trainable", "dtype", "seed", "unroll", "implementation", "use_cudnn", "unit_forget_bias", "input_length",
    "batch_input_shape", "batch_shape", "activity_regularizer",
)  # fmt: skip
ENDINGS = "_initializer", "_regularizer", "_constraint"


class Options:
    """A layer's configuration: what is asked for has the kind that Keras writes, and all of it has been asked for."""

    def __init__(self, place: str, values: Mapping[str, Any]) -> None:
        self.place, self._values = place, values
        self._left = {name for name, value in values.items() if value and not _is_without_consequence(name)}

    def get(self, name: str, default: Any = None) -> Any:
        self._left.discard(name)
        return self._values.get(name, default)

    def flag(self, name: str, default: bool = False) -> bool:
        value = self.get(name, default)
        if not isinstance(value, bool):
            raise _errors.misplaced(self.place, f"{name} True or False", repr(value))
        return value

    def size(self, name: str) -> int:
        value = self.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise _errors.misplaced(self.place, f"{name} of at least 1", repr(value))
        return value

    def number(self, name: str, default: float) -> float:
        value = self.get(name, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e300:
            raise _errors.misplaced(self.place, f"{name} to be a number", repr(value))
        return float(value)

    def must(self, name: str, *allowed: Any, reason: str = "") -> None:
        """The first of these if it is not there."""
        value = self.get(name, allowed[0])
        if value not in allowed:
            raise errors.no_equal(self.place, name, value, reason)

    def done(self) -> None:
        """Options of which nobody knew."""
        if self._left:
            name = min(self._left)
            raise errors.no_equal(self.place, name, self._values[name])


def _is_without_consequence(name: str) -> bool:
    return name in WITHOUT_CONSEQUENCE or name.endswith(ENDINGS)


@dataclass(frozen=True)
class Layer:
    """One that is no model, with its weights, in Keras' order, and those that it is made of."""

    place: str
    kind: str
    options: Options
    generation: int  # of Keras, 2 or 3
    weights: tuple[Tensor, ...] = ()
    parts: tuple[Layer, ...] = field(default=())


class Reader:
    def __init__(self, generation: int = 3) -> None:
        self._generation = generation

    def chain(self, tree: Any, source: Source, where: str = "model") -> Iterator[Layer]:
        """The layers that follow one another; of a model within a model, its own."""
        kind, place, values = _opened(tree, where)
        if kind not in MODELS:
            yield self._layer(tree, source, where)
            return
        trees = keras_graph.chain_of(values, place, kind == "Sequential")
        if isinstance(source, Flat) and where != "model" and len(set(_trainable(trees, place))) > 1:
            raise _errors.misplaced(place, "layers that are all trained, or none, in a file of this format", "both")
        own = [own for own in trees if _opened(own, place)[0] != "InputLayer"]
        sources = iter(source.items("layers", [_opened(each, place)[0] for each in own]))
        for each in trees:
            if _opened(each, place)[0] == "InputLayer":
                yield self._layer(each, source, place)
            else:
                yield from self.chain(each, next(sources), place)

    def _layer(self, tree: Any, source: Source, where: str) -> Layer:
        kind, place, values = _opened(tree, where)
        if kind not in KNOWN and kind not in CELLS:
            raise errors.unknown_keras_layer(place, "")
        options = Options(place, values)
        _check_dtype(options)
        weights, parts = source.own(_count(kind, options), place), tuple(self._parts(kind, values, source, place))
        return Layer(place, kind, options, self._generation, weights, parts)

    def _parts(self, kind: str, values: Mapping[str, Any], source: Source, place: str) -> Iterator[Layer]:
        """The cells of a recurrent layer; both of Bidirectional; the one inside TimeDistributed."""
        if kind in ("LSTM", "GRU", "SimpleRNN"):
            yield self._layer({"class_name": f"{kind}Cell", "config": values}, source.child("cell"), place)
        elif kind == "RNN":
            inside = _inside(values.get("cell"), place, *SINGLE_CELLS, "StackedRNNCells")
            if inside != "StackedRNNCells":
                yield self._layer(values["cell"], source.child("cell"), place)
                return
            own = _opened(values["cell"], place)[2]
            cells = own.get("cells")
            if not isinstance(cells, (list, tuple)):
                raise _errors.misplaced(place, "a list of cells", type(cells).__name__)
            kinds = [_inside(cell, place, *SINGLE_CELLS) for cell in cells]
            sources = source.child("cell").items("cells", kinds)
            for cell, each in zip(cells, sources, strict=True):
                yield self._layer(cell, each, place)
        elif kind == "Bidirectional":
            forward = values.get("layer")
            backward = values.get("backward_layer") or _mirrored(forward, place)
            for tree in (forward, backward):
                _inside(tree, place, *ONE_WAY)
            yield self._layer(forward, source.child("forward_layer"), place)
            yield self._layer(backward, source.child("backward_layer"), place)
        elif kind == "TimeDistributed":
            _inside(values.get("layer"), place, *INSIDE_TIME)
            yield self._layer(values["layer"], source.child("layer"), place)


def _opened(tree: Any, where: str) -> tuple[str, str, Mapping[str, Any]]:
    """Class, place and configuration of a layer."""
    if not isinstance(tree, Mapping) or not isinstance(tree.get("class_name"), str):
        raise _errors.misplaced(where, "layers, each with its class_name and config", type(tree).__name__)
    kind, config = tree["class_name"], tree.get("config")
    is_list = kind == "Sequential" and isinstance(config, list)  # Keras before 2.2.3
    values: Any = {"layers": config} if is_list else config
    if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
        raise _errors.misplaced(where, f"the config of a {kind}", type(values).__name__)
    name = values.get("name")
    place = f"{where}: {name!r} ({kind})" if isinstance(name, str) and name != kind else f"{where}: {kind}"
    module, registered = tree.get("module"), tree.get("registered_name")
    origin = str(module or "keras")
    if origin.split(".")[0] != "keras" or registered not in (None, kind):
        raise errors.unknown_keras_layer(place, origin if registered in (None, kind) else str(registered))
    return kind, place, values


def _inside(tree: Any, place: str, *allowed: str) -> str:
    """The class of a layer's part, before that is gone into: parts of parts of two parts each would never end."""
    kind, _, _ = _opened(tree, place)
    if kind not in allowed:
        raise _errors.misplaced(place, f"one of {', '.join(allowed)} inside", kind)
    return kind


def _mirrored(tree: Any, place: str) -> dict[str, Any]:
    _, _, values = _opened(tree, place)
    return dict(tree) | {"config": dict(values) | {"go_backwards": not values.get("go_backwards", False)}}


def _trainable(trees: Any, place: str) -> Iterator[bool]:
    for tree in trees:
        yield bool(_opened(tree, place)[2].get("trainable", True))


def _count(kind: str, options: Options) -> int:
    """How many weights a layer has itself."""
    if kind.endswith("Cell"):
        return 2 + options.flag("use_bias", True)
    if kind == "Dense":
        return 1 + options.flag("use_bias", True)
    if kind == "LayerNormalization":
        for name, same in (("rms_scaling", False), ("center", True), ("scale", True)):
            options.must(name, same)
        return 2
    return int(kind == "Embedding")


def _check_dtype(options: Options) -> None:
    policy = options.get("dtype", "float32")
    if isinstance(policy, Mapping):
        config = policy.get("config")
        policy = config.get("name") if isinstance(config, Mapping) and policy.get("class_name") in POLICIES else ""
    if policy is not None and policy not in DTYPES and not _is_input(policy):
        raise errors.no_equal(options.place, "dtype", options.get("dtype"))


def _is_input(dtype: Any) -> bool:
    """The integers of an InputLayer."""
    return isinstance(dtype, str) and dtype in ("int32", "int64", "int16", "int8", "uint8", "uint16", "uint32", "bool")


def read(tensor: Tensor, shape: tuple[int, ...], name: str, place: str) -> np.ndarray[Any, Any]:
    """A weight of the shape that its layer needs."""
    if tensor.shape != shape:
        raise _errors.wrong_shape(f"{place}: {name}", f"{shape}", tensor.shape)
    return tensor.read()
