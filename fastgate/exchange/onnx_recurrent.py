"""ONNX's operators LSTM, GRU and RNN, computed by fastgate's layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastgate import _errors
from fastgate._activations import Activation
from fastgate._arrays import DTYPES, Array
from fastgate._kernels import cpu
from fastgate._recurrent import Recurrent
from fastgate.exchange import onnx_names
from fastgate.exchange.onnx_nodes import Node

Layers = tuple[Recurrent, ...]
COMMON = ("activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size", "layout")
ATTRIBUTES = {
    "LSTM": {*COMMON, "input_forget"},
    "GRU": {*COMMON, "linear_before_reset"},
    "RNN": {*COMMON},
}
ORDERS = {"LSTM": "i, o, f, c", "GRU": "z, r, h", "RNN": "the only gate"}


class Cell:
    """A node of LSTM, GRU or RNN: its attributes are read, its weights may come later."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._operator = node.operator
        self._direction = node.choice("direction", "forward", ("forward", "reverse", "bidirectional"))
        self.directions = 2 if self._direction == "bidirectional" else 1
        self.batch_first = node.choice("layout", 0, (0, 1)) == 1
        self._clip = node.attributes.get("clip")
        flag = {"LSTM": "input_forget", "GRU": "linear_before_reset"}.get(self._operator)
        self._flag = flag is not None and node.choice(flag, 0, (0, 1)) == 1
        self._activations = _activations(node, self.directions)

    def layers(self, W: Array, R: Array, B: Array | None, P: Array | None) -> Layers:
        """Made of the weights: one layer, or one for each direction where these have not the same activations."""
        H = self._check(W, R, B, P)
        if self.directions == 2 and self._activations[0] == self._activations[1]:
            return (self._layer(W, R, B, P, H, self._activations[0]),)
        parts = []
        for d, activations in enumerate(self._activations):
            own = [None if array is None else array[d : d + 1] for array in (B, P)]
            parts.append(self._layer(W[d : d + 1], R[d : d + 1], own[0], own[1], H, activations))
        return tuple(parts)

    def run(
        self, layers: Layers, x: Array, lengths: Array | None, h: Array | None, c: Array | None
    ) -> tuple[Array, ...]:
        """Y, Y_h and, of an LSTM, Y_c; all arrays as the operator lays them out."""
        if x.ndim != 3 or (lengths is not None and lengths.shape != (x.shape[0 if self.batch_first else 1],)):
            expected = "shape (batch, time, features), or (time, batch, features) with layout=0, and (batch,)"
            got = f"{x.shape}{'' if lengths is None else f' and {lengths.shape}'}"
            raise self.node.wrong("X and sequence_lens", expected, got)
        states = [part if part is None or not self.batch_first else part.swapaxes(0, 1) for part in (h, c)]
        for name, part, own in zip(("initial_h", "initial_c"), states, (h, c), strict=True):
            if part is not None and part.shape[:1] != (self.directions,):
                raise self.node.wrong(name, f"{self.directions} directions", "no array" if own is None else own.shape)
        outputs, ends = [], []
        for d, layer in enumerate(layers):
            of_layer = slice(d, d + 1 + layer.bidirectional)
            start: Any = [None if part is None else part[of_layer] for part in states]
            start = tuple(start) if self._operator == "LSTM" else start[0]
            is_turned = self._direction == "reverse" or d == 1
            y, end = layer(self._turned(x, lengths) if is_turned else x, start, lengths=lengths)
            outputs.append(self._turned(y, lengths) if is_turned else y)
            ends.append(end if isinstance(end, tuple) else (end,))
        y = outputs[0] if len(outputs) == 1 else np.concatenate(outputs, axis=-1)
        y = y.reshape(*y.shape[:2], self.directions, -1) if y.size else np.empty(self._empty(y), y.dtype)
        final = [np.concatenate(parts) for parts in zip(*ends, strict=True)]
        if self.batch_first:
            return y, *(part.swapaxes(0, 1) for part in final)
        return y.swapaxes(1, 2), *final

    def _empty(self, y: Array) -> tuple[int, ...]:
        return (*y.shape[:2], self.directions, y.shape[2] // self.directions)

    def _turned(self, array: Array, lengths: Array | None) -> Array:
        """Each sequence from its last step to its first; what lies beyond stays where it is."""
        time = 1 if self.batch_first else 0
        if lengths is None:
            return np.flip(array, time)
        steps = np.arange(array.shape[time])
        index = np.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)
        return np.take_along_axis(array, (index if self.batch_first else index.T)[..., None], time)

    def _check(self, W: Array, R: Array, B: Array | None, P: Array | None) -> int:
        node, D, gates = self.node, self.directions, len(onnx_names.GATES[self._operator])
        if W.ndim != 3 or R.ndim != 3 or not R.size:
            raise node.wrong("W and R", "3 axes each, and something in them", f"{W.shape} and {R.shape}")
        H: int = R.shape[2]
        if (said := node.attributes.get("hidden_size", H)) != H:
            raise node.wrong("hidden_size", f"{H}, as R of shape {R.shape} has it", said)
        node.check_shape("W", W, (D, gates * H, W.shape[2]))
        node.check_shape("R", R, (D, gates * H, H))
        node.check_shape("B", B, (D, 2 * gates * H))
        node.check_shape("P", P, (D, 3 * H))
        kinds = {array.dtype.name for array in (W, R, B, P) if array is not None}
        if len(kinds) > 1 or not kinds <= DTYPES.keys():
            raise node.wrong("W, R, B and P", "one dtype, float32 or float64", ", ".join(sorted(kinds)))
        return H

    def _layer(
        self, W: Array, R: Array, B: Array | None, P: Array | None, H: int, activations: tuple[Activation, ...]
    ) -> Recurrent:
        options: dict[str, Any] = {"bias": B is not None, "batch_first": self.batch_first, "dtype": W.dtype, "seed": 0}
        options |= {"bidirectional": len(W) == 2, "clip": onnx_names.attribute(self._clip, W.dtype)}
        named = [
            tuple(onnx_names.attribute(part, W.dtype) for part in each) if isinstance(each, tuple) else each
            for each in activations
        ]
        options |= {"nonlinearity": named[0]} if self._operator == "RNN" else {"activations": named}
        if self._operator == "LSTM":
            options |= {"coupled": self._flag, "peepholes": P is not None}
        elif self._operator == "GRU":
            options["reset_after"] = self._flag
        try:
            layer: Recurrent = onnx_names.LAYERS[self._operator](W.shape[2], H, **options)
        except (TypeError, ValueError) as error:  # clip and activations have values of their own
            raise type(error)(f"{self.node.place}: {error}") from None
        gates = layer._gates
        with layer.params.edit() as params:
            for d, place in enumerate(layer._layout.places()):
                end = place.suffix
                params[f"weight_ih_{end}"][...] = onnx_names.from_onnx(W[d], self._operator, gates)
                params[f"weight_hh_{end}"][...] = onnx_names.from_onnx(R[d], self._operator, gates)
                if B is not None:
                    b_ih, b_hh = (onnx_names.from_onnx(half, self._operator, gates) for half in np.split(B[d], 2))
                    if layer._layout.bias == "double":
                        params[f"bias_ih_{end}"][...], params[f"bias_hh_{end}"][...] = b_ih, b_hh
                    else:  # there is no telling them apart
                        params[f"bias_{end}"][...] = b_ih + b_hh
                if P is not None:
                    for gate, own in zip(onnx_names.PEEPHOLES, np.split(P[d], 3), strict=True):
                        if gate in gates:
                            params[f"peephole_{gate}_{end}"][...] = own
        return layer


def _activations(node: Node, directions: int) -> list[tuple[Activation, ...]]:
    """Of each direction. Values of alpha and beta go, in order, to those that take some."""
    usual = onnx_names.USUAL[node.operator]
    names = node.attributes.get("activations")
    count = len(usual) * directions
    if names is None:
        kinds = list(usual) * directions
    else:
        known = {name.lower(): own for name, own in onnx_names.ACTIVATIONS.items()}
        if len(names) != count or any(name.lower() not in known for name in names):
            raise node.wrong("activations", f"{count} of {', '.join(onnx_names.ACTIVATIONS)}", ", ".join(names))
        kinds = [known[name.lower()] for name in names]
    found: list[Activation] = []
    values = [node.attributes.get(name, ()) for name in ("activation_alpha", "activation_beta")]
    wanted = [[kind for kind in kinds if len(cpu.DEFAULTS[kind]) > place] for place in (0, 1)]
    for name, given, takers in zip(("activation_alpha", "activation_beta"), values, wanted, strict=True):
        if takers and len(given) > len(takers):
            raise node.wrong(name, f"at most {len(takers)} values, one for each of {', '.join(takers)}", len(given))
        for kind in takers[len(given) :]:
            if kind in onnx_names.WITHOUT_DEFAULTS:
                raise node.wrong(name, f"a value for each {kind}, for which ONNX has no default", "none")
    alphas, betas = map(iter, values)
    for kind in kinds:
        defaults = cpu.DEFAULTS[kind]
        numbers = [next(each, usual) for each, usual in zip((alphas, betas), defaults, strict=False)]
        is_linear = kind == "affine" and numbers == [1.0, 0.0]
        found.append("linear" if is_linear else (kind, *map(float, numbers)) if numbers else kind)
    return [tuple(found[first : first + len(usual)]) for first in range(0, count, len(usual))]


def read_lengths(node: Node, lengths: Array | None) -> Array | None:
    """sequence_lens as an argument of `Cell.run`."""
    if lengths is not None and lengths.dtype.kind not in "iu":
        raise _errors.wrong_type(f"{node.place}: sequence_lens", "integers", lengths.dtype)
    return lengths
