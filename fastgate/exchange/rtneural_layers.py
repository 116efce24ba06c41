"""Layers of RTNeural's JSON as fastgate's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastgate import _errors
from fastgate._arrays import Array, as_floating, as_size
from fastgate.activation import Activation
from fastgate.exchange.rtneural_files import as_numbers, entry, shown
from fastgate.gru import GRU
from fastgate.linear import Linear
from fastgate.lstm import LSTM
from fastgate.sequential import Sequential

Shapes = dict[str, tuple[int | None, ...]]  # None for any size
ACTIVATIONS = "tanh", "relu", "sigmoid", "softmax", "elu"
KINDS = "lstm", "gru", "dense", "time-distributed-dense", "activation", "prelu"
SLOPES = {0.01: "leaky_relu", 0.0: "relu"}
DEEPEST = 3  # axes of a shape: RTNeural takes the product of the last two of four


def swap_gates(array: Array, hidden_size: int) -> Array:
    """Of a GRU (..., 3H), from r z n to z r n, or back."""
    r, z, n = np.split(array, [hidden_size, 2 * hidden_size], axis=-1)
    return np.concatenate([z, r, n], axis=-1)


class Reader:
    """Of one description; `name` is what errors call it."""

    def __init__(self, name: str, dtype: np.dtype[Any]) -> None:
        self._name, self._dtype = name, dtype

    def model(self, content: Any) -> Sequential:
        """All layers, one behind the other."""
        size = self._size(self._name, content, "in_shape")
        found: list[Any] = []
        for number, given in enumerate(entry(self._name, content, "layers", (list, tuple), "a list of layers")):
            place = f"{self._name}: layers[{number}]"
            kind = entry(place, given, "type", str, "the name of a kind of layer")
            place = f"{place} ({shown(kind)})"
            if kind not in KINDS:
                raise _errors.misplaced(place, f"one of {', '.join(KINDS)}, which fastgate has too", shown(kind))
            outputs = self._size(place, given, "shape")
            found += self._layers(place, kind, given, size, outputs)
            size = outputs
        if not found:
            raise _errors.misplaced(f"{self._name}: layers", "at least one that computes", "none")
        return Sequential(*found)

    def _size(self, place: str, mapping: Any, key: str) -> int:
        """The last of a shape, of which neither the batch nor the time is known here."""
        shape = entry(place, mapping, key, (list, tuple), "a shape")
        if not 1 <= len(shape) <= DEEPEST:
            raise _errors.misplaced(f"{place}: {key}", f"1 to {DEEPEST} axes, the last of them features", len(shape))
        return as_size(f"{place}: {key}[-1]", shape[-1])

    def _layers(self, place: str, kind: str, given: Any, n: int, m: int) -> Iterator[Any]:
        activation = given.get("activation", "")
        weights = entry(place, given, "weights", (list, tuple), "a list of arrays")
        if kind in ("lstm", "gru"):
            if activation not in ("tanh", ""):
                raise _errors.misplaced(
                    f"{place}: activation", "'tanh', as RTNeural computes no other", shown(activation)
                )
            yield self._recurrent(place, kind, weights, n, m)
            return
        if activation not in (*ACTIVATIONS, ""):
            raise _errors.misplaced(f"{place}: activation", f"one of {', '.join(ACTIVATIONS)}", shown(activation))
        if kind.endswith("dense"):
            yield self._dense(place, weights, n, m)
        elif n != m:
            raise _errors.misplaced(f"{place}: shape", f"{n} features, as the layer before it has", m)
        if kind == "prelu":
            yield self._prelu(place, weights, m)
        elif activation:
            yield Activation(activation)

    def _recurrent(self, place: str, kind: str, weights: Any, n: int, m: int) -> LSTM | GRU:
        G = 4 * m if kind == "lstm" else 3 * m
        bias = (G,) if kind == "lstm" else (2, G)
        W, U, b = self._arrays(place, weights, {"kernel": (n, G), "recurrent kernel": (m, G), "bias": bias})
        layer: LSTM | GRU
        if kind == "lstm":
            layer = LSTM(n, m, bias="single", dtype=self._dtype, seed=0)
            layer.params.update({"weight_ih_l0": W.T, "weight_hh_l0": U.T, "bias_l0": b})
        else:
            W, U, b = (swap_gates(array, m) for array in (W, U, b))
            layer = GRU(n, m, dtype=self._dtype, seed=0)
            layer.params.update({"weight_ih_l0": W.T, "weight_hh_l0": U.T, "bias_ih_l0": b[0], "bias_hh_l0": b[1]})
        return layer

    def _dense(self, place: str, weights: Any, n: int, m: int) -> Linear:
        shapes: Shapes = {"kernel": (n, m), "bias": (m,)}
        if len(weights) == 1:
            del shapes["bias"]
        W, *bias = self._arrays(place, weights, shapes)
        layer = Linear(n, m, bias=bool(bias), dtype=self._dtype, seed=0)
        layer.params.update({"weight": W.T} | ({"bias": bias[0]} if bias else {}))
        return layer

    def _prelu(self, place: str, weights: Any, m: int) -> Activation:
        (slopes,) = self._arrays(place, weights, {"alpha": (1, None)})
        if slopes.size not in (1, m):
            raise _errors.wrong_shape(f"{place}: weights[0]", f"(1, {m}) or (1, 1)", slopes.shape)
        for slope, function in SLOPES.items():
            if (slopes == self._dtype.type(slope)).all():
                return Activation(function)
        least, largest = float(slopes.min()), float(slopes.max())
        got = f"{least} to {largest}"
        raise _errors.misplaced(f"{place}: alpha", "0.01 or 0 throughout, as fastgate has no other slopes", got)

    def _arrays(self, place: str, weights: Any, shapes: Shapes) -> list[Array]:
        if len(weights) != len(shapes):
            raise _errors.misplaced(f"{place}: weights", f"{len(shapes)} arrays ({', '.join(shapes)})", len(weights))
        return [
            as_floating(label, as_numbers(label, value, shape), self._dtype)
            for label, value, shape in zip(
                (f"{place}: weights[{i}]" for i in range(len(shapes))), weights, shapes.values(), strict=True
            )
        ]
