"""Layers and models as ONNX graphs. Everything in a graph has time first, but for what goes in and out of layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastgate import _errors
from fastgate._arrays import Array
from fastgate._params import on_host
from fastgate._recurrent import Recurrent
from fastgate.activation import Activation
from fastgate.dropout import Dropout
from fastgate.embedding import Embedding
from fastgate.exchange import errors, onnx_names
from fastgate.exchange.onnx_parts import Builder, write_activation, write_embedding, write_linear, write_norm
from fastgate.exchange.state_dicts import KNOWN
from fastgate.final_state import FinalState
from fastgate.layer_norm import LayerNorm
from fastgate.linear import Linear
from fastgate.lstm import LSTM
from fastgate.sequential import Sequential


def write_recurrent(
    builder: Builder, layer: Any, path: str, x: str, lengths: str, start: list[str]
) -> tuple[str, list[list[str]]]:
    """Its output, laid out as the layer has it; and of every layer of its stack the final states (D, B, H)."""
    place, operator = builder.place(path, layer), type(layer).__name__
    attributes, directions = _attributes(place, layer, operator), 1 + layer.bidirectional
    if layer.batch_first:
        x = builder.add("Transpose", x, perm=[1, 0, 2])
    ends = []
    for depth in range(layer.num_layers):
        name = builder.joined(path, f"l{depth}")
        own = [_rows(builder, state, depth, directions, layer.num_layers) for state in start]
        inputs = [x, *_weights(builder, layer, operator, depth, name), lengths, *own]
        if getattr(layer, "peepholes", False):
            inputs += [""] * (7 - len(inputs)) + [builder.constant(_peepholes(layer, depth), f"{name}.P")]
        y, *end = builder.node(operator, inputs, 3 if operator == "LSTM" else 2, name, **attributes)
        ends.append(end)
        is_last = depth == layer.num_layers - 1
        first = [2, 0] if layer.batch_first and is_last else [0, 2]
        if directions == 1:
            x = builder.add("Squeeze", y, builder.integers(1))
            x = builder.add("Transpose", x, perm=[1, 0, 2]) if first == [2, 0] else x
        else:
            x = builder.add("Transpose", y, perm=[*first, 1, 3])
            x = builder.add("Reshape", x, builder.integers(0, 0, 2 * layer.hidden_size))
    return x, ends


def _attributes(place: str, layer: Any, operator: str) -> dict[str, Any]:
    for option, usual in (("proj_size", 0), ("reset_carry", False)):
        if getattr(layer, option, usual) != usual:
            raise _errors.misplaced(place, f"{option}={usual!r}, as ONNX has no other", repr(getattr(layer, option)))
    activations = (layer.nonlinearity,) if operator == "RNN" else layer.activations
    found = onnx_names.activation_attributes(activations, operator, 1 + layer.bidirectional)
    found |= {"hidden_size": layer.hidden_size, "direction": "bidirectional" if layer.bidirectional else "forward"}
    if layer.clip is not None:
        found["clip"] = layer.clip
    if layer.dtype == np.float64:
        for name in ("activation_alpha", "activation_beta", "clip"):
            for value in np.atleast_1d(found.get(name, 0.0)):
                if float(np.float32(value)) != value:
                    expected = "numbers that float32 holds, as ONNX's attributes do"
                    raise _errors.misplaced(f"{place}: {name}", expected, float(value))
    if operator == "LSTM" and layer.coupled:
        found["input_forget"] = 1
    if operator == "GRU" and layer.reset_after:
        found["linear_before_reset"] = 1
    return found


def _weights(builder: Builder, layer: Any, operator: str, depth: int, name: str) -> list[str]:
    """W, R, B."""
    parts: list[list[Array]] = [[], [], []]
    for place in layer._layout.places():
        if place.layer == depth:
            arrays = layer._layout.kernel_arrays(on_host(layer.params), place)
            W, R, *biases = (onnx_names.to_onnx(array, operator, layer._gates) for array in arrays)
            for part, array in zip(parts, (W, R, np.concatenate(biases)), strict=True):
                part.append(array)
    names = [builder.constant(np.stack(part), f"{name}.{own}") for part, own in zip(parts[:2], "WR", strict=True)]
    return [*names, builder.constant(np.stack(parts[2]), f"{name}.B") if layer.bias else ""]


def _peepholes(layer: Any, depth: int) -> Array:
    zeros = np.zeros(layer.hidden_size, layer.dtype)
    places = [place for place in layer._layout.places() if place.layer == depth]
    return np.stack([
        np.concatenate([layer.params.get(f"peephole_{gate}_{place.suffix}", zeros) for gate in onnx_names.PEEPHOLES])
        for place in places
    ])  # fmt: skip


def _rows(builder: Builder, state: str, depth: int, directions: int, layers: int) -> str:
    """Those of one layer of a stack."""
    if not state or layers == 1:
        return state
    first, last = builder.integers(depth * directions), builder.integers((depth + 1) * directions)
    return builder.add("Slice", state, first, last, builder.integers(0))


class ModelWriter:
    """A layer or `Sequential` as a graph; `lengths` and `state` say whether it takes these."""

    def __init__(self, onnx: Any, layer: Any, *, lengths: bool, state: bool) -> None:
        is_model = isinstance(layer, Sequential)
        self._layers = [(m.path, m.layer) for m in layer._members] if is_model else [("", layer)]
        for path, own in self._layers:
            if type(own) not in KNOWN or (not is_model and isinstance(own, FinalState)):
                raise errors.unknown_layer(f"layer {path}".rstrip(), type(own).__name__, "ONNX")
            if getattr(own, "mask_zero", False):
                raise errors.mask_in_onnx(f"layer {path} (Embedding)" if path else "layer")
        recurrent = [own for _, own in self._layers if isinstance(own, Recurrent)]
        for option, value in (("lengths", lengths), ("state", state)):
            if value and not recurrent:
                raise _errors.wrong_value(option, "False, as nothing in it is recurrent", value)
        dtypes = [own.dtype for _, own in self._layers if hasattr(own, "dtype")]
        self._builder = Builder(onnx, np.dtype(dtypes[0] if dtypes else np.float32))
        self._model, self._has_lengths, self._has_state = layer if is_model else None, lengths, state
        self._batch_first, self._has_time = all(own.batch_first for own in recurrent), bool(recurrent)

    def proto(self) -> Any:
        builder, model = self._builder, self._model
        x = self._input()
        lengths, inside = "", ""
        if self._has_lengths:
            lengths = builder.input("lengths", ("batch",), np.int32)
            if model is not None and (model._clears_input or model._clears_output):
                inside = self._inside(x, lengths)
            if model is not None and model._clears_input:
                x = builder.masked(x, inside, isinstance(self._layers[0][1], Embedding))
        ends: list[list[str]] = []
        size: Any = None
        for path, layer in self._layers:
            if isinstance(layer, Recurrent):
                start = self._start(path, layer)
                x, ends = write_recurrent(builder, layer, path, x, lengths, start)
                if self._has_state:
                    self._end(path, layer, ends)
                size = (1 + layer.bidirectional) * layer.hidden_size
                last = layer
            elif isinstance(layer, FinalState):
                x, size = self._final(layer, last, ends), last.hidden_size if layer.all_layers else size
            else:
                x, size = self._part(layer, path, x), self._size(layer, size)
        if inside and model is not None and model._clears_output:
            x = builder.masked(x, inside)
        builder.output("y", x, self._output_shape(size))
        return builder.proto()

    def _input(self) -> str:
        first = self._layers[0][1]
        leading = (("batch", "time") if self._batch_first else ("time", "batch")) if self._has_time else ("batch",)
        if isinstance(first, Embedding):
            return self._builder.input("x", leading, np.int64)
        sizes = (getattr(layer, name, None) for _, layer in self._layers for name in
                 ("input_size", "in_features", "features"))  # fmt: skip
        return self._builder.input("x", (*leading, next((s for s in sizes if s), "features")), self._builder.dtype)

    def _output_shape(self, size: Any) -> tuple[Any, ...]:
        final = [layer for _, layer in self._layers if isinstance(layer, FinalState)]
        if final or not self._has_time:
            return ("batch", "rows", size) if final and final[0].all_layers else ("batch", size or "features")
        return (*(("batch", "time") if self._batch_first else ("time", "batch")), size)

    def _size(self, layer: Any, size: Any) -> Any:
        names = "out_features", "embedding_dim", "features"
        return next((getattr(layer, name) for name in names if hasattr(layer, name)), size)

    def _inside(self, x: str, lengths: str) -> str:
        """Where the sequences are: (B, T) or (T, B)."""
        builder, time = self._builder, 1 if self._batch_first else 0
        steps = builder.add("Gather", builder.add("Shape", x), builder.scalar(time, np.int64))
        zero, one = (builder.scalar(value, np.int32) for value in (0, 1))
        steps = builder.add("Range", zero, builder.add("Cast", steps, to=6), one)
        steps = builder.add("Unsqueeze", steps, builder.integers(1 - time))
        return builder.add("Less", steps, builder.add("Unsqueeze", lengths, builder.integers(time)))

    def _start(self, path: str, layer: Any) -> list[str]:
        if not self._has_state:
            return []
        rows = layer.num_layers * (1 + layer.bidirectional)
        shape = rows, "batch", layer.hidden_size
        names = ("h_0", "c_0")[: 2 if isinstance(layer, LSTM) else 1]
        return [self._builder.input(self._builder.joined(path, name), shape, layer.dtype) for name in names]

    def _end(self, path: str, layer: Any, ends: list[list[str]]) -> None:
        shape = layer.num_layers * (1 + layer.bidirectional), "batch", layer.hidden_size
        for name, parts in zip(("h_n", "c_n"), zip(*ends, strict=True), strict=False):
            whole = parts[0] if len(parts) == 1 else self._builder.add("Concat", *parts, axis=0)
            self._builder.output(self._builder.joined(path, name), whole, shape)

    def _final(self, layer: FinalState, source: Any, ends: list[list[str]]) -> str:
        builder = self._builder
        if layer.all_layers:
            parts = [end[0] for end in ends]
            h = parts[0] if len(parts) == 1 else builder.add("Concat", *parts, axis=0)
            return builder.add("Transpose", h, perm=[1, 0, 2])
        h = ends[-1][0]
        if not source.bidirectional:
            return builder.add("Squeeze", h, builder.integers(0))
        h = builder.add("Transpose", h, perm=[1, 0, 2])
        return builder.add("Reshape", h, builder.integers(0, 2 * source.hidden_size))

    def _part(self, layer: Any, path: str, x: str) -> str:
        match layer:
            case Linear():
                return write_linear(self._builder, layer, path, x)
            case Embedding():
                return write_embedding(self._builder, layer, path, x)
            case LayerNorm():
                return write_norm(self._builder, layer, path, x)
            case Activation():
                return write_activation(self._builder, layer.function, x)
            case Dropout():  # as in every other inference
                return x
        raise AssertionError(layer)
