"""A chain of Keras layers as the parts of fastgate that compute the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastgate import _errors
from fastgate.activation import Activation
from fastgate.dropout import Dropout
from fastgate.embedding import Embedding
from fastgate.exchange import errors, keras_recurrent
from fastgate.exchange.keras_description import RECURRENT, Layer, read
from fastgate.exchange.tensors import common_dtype
from fastgate.final_state import FinalState
from fastgate.layer_norm import LayerNorm
from fastgate.linear import Linear
from fastgate.masking import Masking
from fastgate.merge_directions import MergeDirections
from fastgate.repeat_past import RepeatPast
from fastgate.reverse import Reverse

# Keras' name -> fastgate's; None for nothing at all.
FUNCTIONS = {
    "linear": None, "relu": "relu", "elu": "elu", "gelu": "gelu", "silu": "silu", "swish": "silu",
    "softplus": "softplus", "sigmoid": "sigmoid", "tanh": "tanh", "softmax": "softmax", "log_softmax": "log_softmax",
}  # fmt: skip
OF_CELLS = "units", "activation", "recurrent_activation", "use_bias", "reset_after", "dropout", "recurrent_dropout"
PARAMS = "gamma", "beta"
BACKWARDS = "it hands its mask on as it was, while its output runs backwards"


def parts_of(layers: Iterable[Layer]) -> list[Any]:
    """For a model: what follows one another in a `Sequential`."""
    chain = _Chain()
    for layer in layers:
        with _placed(layer.place):
            chain.add(layer)
    return chain.parts


@contextmanager
def _placed(place: str) -> Iterator[None]:
    """What a layer of fastgate says of its options gets a place."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise (error if str(error).startswith(place) else ValueError(f"{place}: {error}")) from None


class _Chain:
    def __init__(self) -> None:
        self.parts: list[Any] = []
        self._is_masked = False
        self._rank: int | None = None  # of what the next layer takes
        self._shape: Any = None  # as the input is said to be, until a layer

    def add(self, layer: Layer) -> None:
        kind, own = layer.kind, layer.options
        if kind in RECURRENT:
            self._recurrent(layer)
        elif kind == "InputLayer":
            self._input(layer)
        elif kind == "Masking":
            if self._is_masked:
                raise _errors.misplaced(layer.place, "no mask before it, which Keras forgets there", "one")
            self.parts.append(Masking(own.number("mask_value", 0.0)))
            self._is_masked = True
        elif kind == "TimeDistributed":
            (inside,) = layer.parts
            if inside.kind == "Dropout" and (shape := inside.options.get("noise_shape")):
                raise errors.no_equal(layer.place, "noise_shape", shape)
            self.parts += self._stepwise(inside)
            inside.options.done()
        elif kind in ("Flatten", "Reshape"):
            self._unmoved(layer)
        else:
            self.parts += self._stepwise(layer)
        if kind != "InputLayer":
            self._shape = None
        own.get("layer"), own.get("backward_layer"), own.get("cell")  # whose options ask for themselves
        own.done()

    def _input(self, layer: Layer) -> None:
        own = layer.options
        own.must("sparse", False)
        own.must("ragged", False)
        own.must("optional", False)
        shape = own.get("batch_shape", own.get("batch_input_shape"))
        if self.parts:
            return  # of a model within the model
        if isinstance(shape, (list, tuple)):
            self._rank, self._shape = len(shape), shape

    def _unmoved(self, layer: Layer) -> None:
        """Flatten and Reshape where they change nothing: no layer moves entries from one axis to another."""
        own, got = layer.options, f"rank {self._rank}"
        own.must("data_format", None, "channels_last", "channels_first")
        target = own.get("target_shape")
        if layer.kind == "Reshape":
            same = self._shape is not None and None not in self._shape[1:] and list(self._shape[1:]) == list(target)
        else:
            same = self._rank == 2
        if not same:
            expected = "an input of the shape that it gives, as fastgate has nothing that moves entries between axes"
            raise _errors.misplaced(layer.place, expected, got)

    def _stepwise(self, layer: Layer) -> Iterator[Any]:
        own = layer.options
        match layer.kind:
            case "Dense":
                yield _dense(layer)
                yield from _functions(layer.place, own.get("activation", "linear"))
            case "Embedding":
                yield _embedding(layer)
                self._is_masked = own.flag("mask_zero")
                self._rank = None if self._rank is None else self._rank + 1
            case "LayerNormalization":
                yield self._norm(layer)
            case "Dropout":
                shape = own.get("noise_shape")
                steps = isinstance(shape, (list, tuple)) and list(shape) == [None, 1, None]
                if shape is not None and not steps:
                    raise errors.no_equal(layer.place, "noise_shape", shape, "which only (None, 1, None) has")
                yield Dropout(own.number("rate", 0.5), same_every_step=steps, seed=0)
            case "SpatialDropout1D":
                yield Dropout(own.number("rate", 0.5), same_every_step=True, seed=0)
            case "Activation":
                yield from _functions(layer.place, own.get("activation"))
            case "ReLU":
                own.must("max_value", None)
                own.must("threshold", 0.0)
                yield Activation(
                    "leaky_relu" if own.get("negative_slope") and _slope(layer, "negative_slope") else "relu"
                )
            case "LeakyReLU":
                name = "negative_slope" if layer.generation > 2 else "alpha"
                _slope(layer, name)
                yield Activation("leaky_relu")
            case "ELU":
                own.must("alpha", 1.0)
                yield Activation("elu")
            case "Softmax":
                own.must("axis", -1, [-1])
                if self._is_masked:
                    raise _errors.misplaced(layer.place, "no mask, which this layer uses", "one")
                yield Activation("softmax")
            case _:
                raise _errors.misplaced(layer.place, "a layer, not a cell, in a model", layer.kind)

    def _norm(self, layer: Layer) -> LayerNorm:
        own = layer.options
        axis = own.get("axis", -1)
        if axis not in (-1, [-1]) and (self._rank is None or axis not in (self._rank - 1, [self._rank - 1])):
            raise errors.no_equal(layer.place, "axis", axis, "which only the last one has")
        features = layer.weights[0].shape
        found = [read(weight, features, name, layer.place) for weight, name in zip(layer.weights, PARAMS, strict=True)]
        if len(features) != 1:
            raise _errors.wrong_shape(f"{layer.place}: gamma", "(features,)", features)
        norm = LayerNorm(features[0], own.number("epsilon", 1e-3), dtype=found[0].dtype)
        norm.params.update(dict(zip(("weight", "bias"), found, strict=True)))
        return norm

    def _recurrent(self, layer: Layer) -> None:
        both = layer.kind == "Bidirectional"
        main = layer.parts[0] if both else layer
        if self._rank not in (None, 3):
            raise _errors.misplaced(layer.place, "an input of rank 3, with time steps", f"rank {self._rank}")
        own = main.options
        keeps_time = own.flag("return_sequences")
        backwards, zeros = own.flag("go_backwards"), own.flag("zero_output_for_mask")
        for each in {id(part): part for part in (main, *layer.parts)}.values():
            if each.kind in RECURRENT:
                _check_common(each, keeps_time)
        if both:
            self.parts += _both(layer, backwards)
        else:
            if self._is_masked and backwards and keeps_time:
                raise errors.no_equal(layer.place, "go_backwards", True, f"as {BACKWARDS}")
            if self._is_masked and zeros and not keeps_time:
                reason = "where return_sequences=False: it gives 0 for a sequence whose last step is masked"
                raise errors.no_equal(layer.place, "zero_output_for_mask", True, reason)
            for number, cell in enumerate(layer.parts):
                self.parts += [*_dropout(cell), *([Reverse()] if backwards and not number else [])]
                self.parts.append(keras_recurrent.layer_of([cell], layer.place))
                if layer.kind == "RNN":
                    cell.options.done()
        if not keeps_time:
            self.parts.append(FinalState())
        elif self._is_masked and not both and not zeros:
            self.parts.append(RepeatPast())
        if both:
            mode = layer.options.get("merge_mode", "concat")
            if mode not in ("concat", "sum", "mul", "ave"):
                raise errors.no_equal(layer.place, "merge_mode", mode, "as a layer has one output")
            self.parts += [] if mode == "concat" else [MergeDirections(mode)]
        self._rank = 3 if keeps_time else 2
        self._is_masked = self._is_masked and keeps_time


def _check_common(layer: Layer, keeps_time: bool) -> None:
    """Of a layer with steps, Bidirectional's too."""
    own = layer.options
    own.must("time_major", False)
    own.must("return_state", False, True)
    for name in ("stateful", "go_backwards", "zero_output_for_mask"):
        own.flag(name)
    if own.flag("return_sequences") != keeps_time:
        raise _errors.misplaced(layer.place, f"return_sequences={keeps_time}, as in its other direction", "another")
    own.get("cell")
    if layer.kind != "RNN":  # whose cell has the rest
        for name in OF_CELLS:
            own.get(name)
    own.done()


def _both(layer: Layer, backwards: bool) -> Iterator[Any]:
    place, (forward, backward) = layer.place, layer.parts
    if backward.kind != forward.kind:
        got = f"{forward.kind}, {backward.kind}"
        raise _errors.misplaced(place, "the same recurrent layer in both directions", got)
    if backwards or not backward.options.flag("go_backwards"):
        raise _errors.misplaced(place, "a layer that runs forwards, and its mirror image", "another backward_layer")
    if len(forward.parts) != 1 or len(backward.parts) != 1:
        raise _errors.misplaced(place, "one cell in each direction", f"{len(forward.parts)}, {len(backward.parts)}")
    cells = [forward.parts[0], backward.parts[0]]
    rates = {cell.options.number("dropout", 0.0) for cell in cells}
    if len(rates) > 1:
        raise _errors.misplaced(place, "both directions with the same dropout", sorted(rates))
    yield from _dropout(cells[0])
    yield keras_recurrent.layer_of(cells, place)
    if forward.kind == "RNN":
        for cell in cells:
            cell.options.done()


def _dropout(cell: Layer) -> list[Dropout]:
    rate = cell.options.number("dropout", 0.0)
    return [Dropout(rate, same_every_step=True, seed=0)] if rate else []


def _functions(place: str, name: Any) -> Iterator[Activation]:
    if not isinstance(name, str) or name not in FUNCTIONS:
        raise errors.no_equal(place, "activation", name, f"which only {', '.join(FUNCTIONS)} have")
    if function := FUNCTIONS[name]:
        yield Activation(function)


def _slope(layer: Layer, name: str) -> float:
    """Of leaky_relu, which Keras 2 wrote as it is in float32."""
    slope = layer.options.number(name, 0.3)
    if slope != 0.01 and (layer.generation > 2 or slope != np.float32(0.01)):
        raise errors.no_equal(layer.place, name, slope, "which only 0.01 has")
    return slope


def _dense(layer: Layer) -> Linear:
    units, shape = layer.options.size("units"), layer.weights[0].shape
    layer.options.must("lora_rank", None)
    if len(shape) != 2 or not shape[0]:
        raise _errors.wrong_shape(f"{layer.place}: kernel", f"(inputs, {units})", shape)
    shapes = (shape[0], units), (units,)
    names = "kernel", "bias"
    found = [read(*each, layer.place) for each in zip(layer.weights, shapes, names, strict=False)]
    dtype = common_dtype(layer.place, dict(zip(names, layer.weights, strict=False)), None)
    linear = Linear(shape[0], units, bias=len(found) > 1, dtype=dtype, seed=0)
    linear.params.update(dict(zip(("weight", "bias"), (found[0].T, *found[1:]), strict=False)))
    return linear


def _embedding(layer: Layer) -> Embedding:
    own = layer.options
    own.must("lora_rank", None)
    sizes = own.size("input_dim"), own.size("output_dim")
    table = read(layer.weights[0], sizes, "embeddings", layer.place)
    embedding = Embedding(*sizes, mask_zero=own.flag("mask_zero"), dtype=table.dtype, seed=0)
    embedding.params["weight"] = table
    return embedding
