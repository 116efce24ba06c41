"""Models of fastgate as layers of Keras: what becomes of which parts, before any file or object is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastgate import _errors
from fastgate._arrays import Array
from fastgate._recurrent import Recurrent
from fastgate._weights import Place
from fastgate.activation import Activation
from fastgate.dropout import Dropout
from fastgate.embedding import Embedding
from fastgate.exchange import errors, keras_recurrent
from fastgate.final_state import FinalState
from fastgate.gru import GRU
from fastgate.layer_norm import LayerNorm
from fastgate.linear import Linear
from fastgate.lstm import LSTM
from fastgate.masking import Masking
from fastgate.merge_directions import MergeDirections
from fastgate.repeat_past import RepeatPast
from fastgate.reverse import Reverse
from fastgate.rnn import RNN
from fastgate.sequential import Sequential

NAMES: dict[Any, str] = {LSTM: "LSTM", GRU: "GRU", RNN: "SimpleRNN"}
STEPWISE = {
    Linear, Embedding, LayerNorm, Dropout, Masking, Activation, RepeatPast, Reverse, MergeDirections, FinalState,
}  # fmt: skip
KNOWN = {"nonlinearity", "activations", "reset_after", "recurrent_dropout"}  # to Keras too


@dataclass
class Made:
    """A layer of Keras to be: its class, options, own weights, and parts by their attributes."""

    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    weights: Sequence[Array] = ()
    parts: dict[str, Made] = field(default_factory=dict)
    write: Callable[[list[Array]], None] | None = None  # into the layer of fastgate

    def config(self, name: str, dtype: str) -> dict[str, Any]:
        """As Keras writes it."""
        own = {"name": name, "dtype": dtype, **self.options}
        if self.kind == "Bidirectional":
            inner = self.parts["forward_layer"]
            own["layer"] = inner.config(f"forward_{name}", dtype)
            own["backward_layer"] = self.parts["backward_layer"].config(f"backward_{name}", dtype)
        return {"module": "keras.layers", "class_name": self.kind, "config": own, "registered_name": None}


def layers_of(layer: Any, name: str = "layer") -> list[Made]:
    """Of a layer or model, which is the argument of this name: all of its parts, one after the other."""
    members = layer._members if isinstance(layer, Sequential) else None
    places = [(m.place, m.layer) for m in members] if members else [(name, layer)]
    return list(_Chain(places).layers())


class _Chain:
    def __init__(self, parts: Sequence[tuple[str, Any]]) -> None:
        self._parts, self._at = parts, 0
        self._is_masked = False

    def layers(self) -> Iterator[Made]:
        while self._at < len(self._parts):
            yield from self._next()

    def _take(self, kind: type, **options: Any) -> Any:
        """The next part, if it is of this class with these options."""
        if self._at >= len(self._parts):
            return None
        part = self._parts[self._at][1]
        if type(part) is not kind or any(getattr(part, name) != own for name, own in options.items()):
            return None
        self._at += 1
        return part

    def _next(self) -> Iterator[Made]:
        start, place = self._at, self._parts[self._at][0]
        dropped, is_reversed = self._take(Dropout, same_every_step=True), self._take(Reverse)
        here, part = self._parts[self._at] if self._at < len(self._parts) else ("", None)
        if isinstance(part, Recurrent):
            self._at += 1
            yield from self._recurrent(here, part, dropped, is_reversed)
            return
        self._at = start + 1
        if dropped:
            _must(place, dropped, batch_first=True)
            yield Made("SpatialDropout1D", {"rate": dropped.p})
        else:
            yield from self._stepwise(place, self._parts[start][1])

    def _stepwise(self, place: str, part: Any) -> Iterator[Made]:
        if type(part) not in STEPWISE:
            raise errors.unknown_layer(place, type(part).__name__, "Keras")
        params = getattr(part, "params", None)
        match part:
            case Linear():
                following = self._take(Activation)
                name = _function(following.function) if following else "linear"
                self._at -= bool(following and not name)
                weights = [part.params["weight"].T, *([part.params["bias"]] if part.bias else [])]
                options: dict[str, Any] = {"units": part.out_features, "activation": name or "linear"}
                options["use_bias"] = part.bias
                yield Made("Dense", options, weights, write=_writer(params, ("weight", "bias"), transposed=True))
            case Embedding():
                _must(place, part, padding_idx=None)
                self._is_masked = part.mask_zero
                sizes = {"input_dim": part.num_embeddings, "output_dim": part.embedding_dim}
                options = sizes | {"mask_zero": part.mask_zero}
                yield Made("Embedding", options, [part.params["weight"]], write=_writer(params, ("weight",)))
            case LayerNorm():
                weights = [part.params["weight"], part.params["bias"]]
                options = {"axis": [-1], "epsilon": part.eps}
                yield Made("LayerNormalization", options, weights, write=_writer(params, ("weight", "bias")))
            case Dropout():
                yield Made("Dropout", {"rate": part.p})
            case Masking():
                if self._is_masked:
                    raise _errors.misplaced(place, "no mask before it, which Keras' Masking forgets", "one")
                self._is_masked = True
                yield Made("Masking", {"mask_value": part.value})
            case Activation(function="leaky_relu"):
                yield Made("LeakyReLU", {"negative_slope": 0.01})
            case Activation():
                yield Made("Activation", {"activation": _function(part.function)})
            case RepeatPast() if not self._is_masked:
                pass
            case Reverse() | RepeatPast() | MergeDirections() | FinalState():
                kind = type(part).__name__
                raise _errors.misplaced(place, "an LSTM, GRU or RNN beside it, as in Keras", f"{kind} elsewhere")

    def _recurrent(self, place: str, layer: Any, dropped: Any, is_reversed: Any) -> Iterator[Made]:
        _check(place, layer)
        final = self._take(FinalState)
        if final and final.all_layers:
            raise errors.no_equal(place, "all_layers", True, "as a layer of Keras has one output")
        repeats = None if final else self._take(RepeatPast)
        merged = self._take(MergeDirections) if layer.bidirectional else None
        if is_reversed and (layer.bidirectional or layer.num_layers > 1):
            raise _errors.misplaced(place, "one layer and direction behind Reverse", repr(layer))
        if self._is_masked and ((repeats and layer.bidirectional) or (is_reversed and not final)):
            what = "RepeatPast behind both directions" if repeats else "Reverse before a layer that gives sequences"
            raise errors.no_equal(place, "mask", what, "as Keras masks other steps there")
        for number in range(layer.num_layers):
            is_last = number == layer.num_layers - 1
            options: dict[str, Any] = {"return_sequences": not (is_last and final), "go_backwards": bool(is_reversed)}
            options["zero_output_for_mask"] = bool(self._is_masked and options["return_sequences"] and not repeats)
            options["dropout"] = dropped.p if dropped and not number else 0.0
            mode = merged.mode if merged and is_last else "concat"
            yield _one(place, layer, number, options, mode)
            if layer.dropout and not is_last:
                yield Made("Dropout", {"rate": layer.dropout})
        self._is_masked = self._is_masked and not final


def _one(place: str, layer: Any, number: int, options: dict[str, Any], mode: str) -> Made:
    """One layer of a stack."""
    options |= _cell_options(place, layer)
    cells = []
    for direction in range(1 + layer.bidirectional):
        here, name = Place(number, direction), NAMES[type(layer)]
        cell = Made(f"{name}Cell", {}, keras_recurrent.arrays_of(layer, here), write=_cell_writer(layer, here))
        own = options | ({"go_backwards": True} if direction else {})
        cells.append(Made(name, own, parts={"cell": cell}))
    if len(cells) == 1:
        return cells[0]
    parts = dict(zip(("forward_layer", "backward_layer"), cells, strict=True))
    return Made("Bidirectional", {"merge_mode": mode}, parts=parts)


def _check(place: str, layer: Any) -> None:
    """Options that Keras does not have."""
    if type(layer) not in NAMES:
        raise errors.unknown_layer(place, type(layer).__name__, "Keras")
    _must(place, layer, batch_first=True)
    for name, usual in layer._usual.items():
        if name not in KNOWN and getattr(layer, name) != usual:
            raise errors.no_equal(place, name, getattr(layer, name), "in Keras")


def _cell_options(place: str, layer: Any) -> dict[str, Any]:
    options: dict[str, Any] = {"units": layer.hidden_size, "use_bias": bool(layer.bias)}
    options["recurrent_dropout"] = getattr(layer, "recurrent_dropout", 0.0)
    if isinstance(layer, RNN):
        return options | {"activation": _nonlinearity(place, layer.nonlinearity)}
    gates, *others = layer.activations
    if len(set(others)) > 1:
        raise errors.no_equal(place, "activations", layer.activations, "as g and c' have one in Keras")
    if isinstance(layer, GRU):
        options["reset_after"] = layer.reset_after
    return options | {
        "recurrent_activation": _nonlinearity(place, gates),
        "activation": _nonlinearity(place, others[0]),
    }


def _nonlinearity(place: str, activation: Any) -> str:
    for name, own in keras_recurrent.ACTIVATIONS.items():
        if own == activation:
            return name
    known = ", ".join(repr(own) for own in keras_recurrent.ACTIVATIONS.values())
    raise errors.no_equal(place, "activation", activation, f"in Keras, which has {known}")


def _function(function: str) -> str:
    """Keras' name; none for the one that is a layer there."""
    return "" if function == "leaky_relu" else function


def _must(place: str, layer: Any, **same: Any) -> None:
    for name, value in same.items():
        if getattr(layer, name) != value:
            raise errors.no_equal(place, name, getattr(layer, name), "in Keras")


def _writer(params: Any, names: Sequence[str], transposed: bool = False) -> Callable[[list[Array]], None]:
    def write(arrays: list[Array]) -> None:
        found: Mapping[str, Array] = dict(zip(names, arrays, strict=False))
        params.update({name: own.T if transposed and own.ndim > 1 else own for name, own in found.items()})

    return write


def _cell_writer(layer: Any, place: Place) -> Callable[[list[Array]], None]:
    return lambda arrays: keras_recurrent.write(layer, {place: arrays})
