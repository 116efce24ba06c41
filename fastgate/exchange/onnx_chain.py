"""An ONNX graph that is a chain of layers, as a `Sequential` model.

Each value on the way is known by its axes: "0" and "1" are the first two of the graph's input, D are directions and F
features. So transpositions are followed, and need not be of one exporter's pattern.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from fastgate import _errors
from fastgate._arrays import Array
from fastgate._from_config import from_config
from fastgate.activation import Activation
from fastgate.exchange import onnx_layers
from fastgate.exchange.onnx_files import OPERATORS, Graph
from fastgate.exchange.onnx_nodes import Node
from fastgate.exchange.onnx_recurrent import Cell, Layers
from fastgate.final_state import FinalState
from fastgate.linear import Linear
from fastgate.sequential import Sequential

MOVES = {"Transpose", "Squeeze", "Unsqueeze", "Reshape", "Slice", "Concat", "Expand", "Identity", "Cast", "Dropout"}


class Piece(NamedTuple):
    """A function of the entries of a stream: what it makes of `onnx_layers.PROBE`."""

    source: str
    values: Array


class Stream(NamedTuple):
    """What the first `stage` layers give: their output, or the state of the last of them."""

    stage: int
    axes: tuple[str, ...]
    is_state: bool = False


def model_of(graph: Graph, constants: dict[str, Array], cells: dict[int, Cell], made: dict[int, Layers]) -> Sequential:
    return _Chain(graph, constants, cells, made).model()


class _Chain:
    def __init__(self, graph: Graph, constants: dict[str, Array], cells: dict[int, Cell], made: Any) -> None:
        self._graph, self._constants, self._cells, self._made = graph, constants, cells, made
        self._layers: list[Any] = []
        self._streams: dict[str, Stream] = {}
        self._sizes: set[str] = set()  # computed from shapes alone
        self._zeros: set[str] = set()  # states of zeros, of any shape
        self._states: set[str] = set()  # that nothing but an output of the graph can take
        self._shape: tuple[int | str | None, ...] | None = None  # as the graph declares its input
        self._lengths = ""
        self._time = ""  # its axis
        self._rows: dict[str, list[tuple[int, int]]] = {}  # of states (rows, B, H): stage and direction of each
        self._halves: dict[str, tuple[int, int]] = {}  # states of one direction (B, H)
        self._pieces: dict[str, Piece] = {}

    def model(self) -> Sequential:
        name, *others = self._graph.inputs or [""]
        if name:
            self._shape = shape = self._graph.inputs[name].shape
            rank = 3 if shape is None else len(shape)
            is_index = self._graph.inputs[name].dtype.kind != "f"
            self._streams[name] = Stream(0, ("0", "1")[:rank] if is_index else (*("0", "1")[: rank - 1], "F"))
        for number, node in enumerate(self._graph.nodes):
            if not all(name in self._constants for name in node.outputs if name):
                self._take(number, node)
        for own in others:
            if own != self._lengths:
                raise _errors.misplaced(f"model: input {own!r}", "one input, and perhaps sequence_lens", "another")
        output, *further = self._graph.outputs
        found = self._resolved(output)
        if found is None or found.stage != len(self._layers) or found.axes not in (("0", "1", "F"), self._batch()):
            raise _errors.misplaced(
                f"model: output {output!r}", "that of a chain of layers, laid out as its input", "another"
            )
        for own in further:
            if own not in self._states and own not in self._rows:
                raise _errors.misplaced(f"model: output {own!r}", "a final state, beside the output", "another")
        return Sequential(*self._finished())

    def _batch(self) -> tuple[str, ...]:
        return ("0" if self._time != "0" else "1", "F")

    def _finished(self) -> Iterator[Any]:
        """The layers with their biases, laid out as the graph's input is: none of them one that the graph runs."""
        for layer, following in zip(self._layers, [*self._layers[1:], None], strict=True):
            if isinstance(following, np.ndarray):
                yield onnx_layers.with_bias(layer, following)
            elif _is_recurrent(layer):
                made = from_config(layer.config() | {"batch_first": self._time == "1"})
                made.params.flat = layer.params.flat
                yield made
            elif not isinstance(layer, np.ndarray):
                yield layer

    def _take(self, number: int, node: Node) -> None:
        moving = [name for name in node.inputs if name and name not in self._constants]
        if node.operator == "Shape" or (moving and all(name in self._sizes for name in moving)):
            target = self._zeros if self._makes_zeros(node) else self._sizes
            target.update(node.outputs)
        elif any(name in self._zeros for name in moving) and node.operator in MOVES:
            data = moving if node.operator == "Concat" else moving[:1]
            self._must(node, all(name in self._zeros for name in data))
            self._zeros.update(node.outputs)
        elif number in self._cells:
            self._recurrent(number, node)
        else:
            self._stepwise(node)

    def _makes_zeros(self, node: Node) -> bool:
        if node.operator == "ConstantOfShape":
            return not node.attributes.get("value", np.zeros(1)).any()
        data = self._constants.get(node.input(0))
        return node.operator == "Expand" and data is not None and not data.any()

    def _must(self, node: Node, holds: bool) -> None:
        if not holds:
            raise _errors.misplaced(f"model: {node.place}", "a layer in a chain of layers of fastgate", "another node")

    def _recurrent(self, number: int, node: Node) -> None:
        cell, layers = self._cells[number], self._made.get(number, ())
        x = self._stream(node, node.input(0))
        self._must(node, len(layers) == 1 and node.attributes.get("direction") != "reverse" and len(x.axes) == 3)
        time, batch = x.axes[:2][:: -1 if cell.batch_first else 1]
        self._must(node, {time, batch} == {"0", "1"} and self._time in ("", time) and x.axes[2] == "F")
        self._time = time
        if lengths := node.input(4):
            is_same = len(self._graph.inputs) == 2 and lengths == list(self._graph.inputs)[1]
            self._must(node, is_same and (self._lengths or not any(map(_is_recurrent, self._layers))) != "")
            self._lengths = lengths
        self._must(node, bool(lengths) == bool(self._lengths))
        for name in (node.input(5), node.input(6)):
            known = self._constants.get(name)
            self._must(node, not name or name in self._zeros or (known is not None and not known.any()))
        self._layers.append(layers[0])
        stage = len(self._layers)
        y, h, c = (*node.outputs, "", "", "")[:3]
        self._streams[y] = Stream(stage, (batch, time, "D", "F") if cell.batch_first else (time, "D", batch, "F"))
        self._streams[h] = Stream(stage, (batch, "D", "F") if cell.batch_first else ("D", batch, "F"), True)
        if not cell.batch_first:
            self._rows[h] = [(stage, d) for d in range(cell.directions)]
        self._states |= {h, c}

    def _stream(self, node: Node, name: str) -> Stream:
        """The one that the next layer takes."""
        found = self._resolved(name)
        self._must(node, found is not None and found.stage == len(self._layers))
        assert found is not None
        return found

    def _resolved(self, name: str) -> Stream | None:
        """An activation, and a final state that is laid out as `FinalState` gives it, are layers of their own."""
        if piece := self._pieces.get(name):
            source = self._resolved(piece.source)
            function = onnx_layers.function_of(piece.values)
            if source is None or function is None or source.stage != len(self._layers):
                return None
            self._layers.append(Activation(function))
            self._streams[name] = Stream(len(self._layers), source.axes)
            del self._pieces[name]
        found = self._streams.get(name)
        if found and found.is_state and found.stage == len(self._layers) and found.axes == self._batch():
            self._layers.append(FinalState())
            found = self._streams[name] = Stream(len(self._layers), found.axes)
        return found

    def _stepwise(self, node: Node) -> None:
        moving = [name for name in node.inputs if name and name not in self._constants]
        name, output = moving[0] if moving else "", node.outputs[0]
        if node.operator == "Concat":
            self._concatenated(node)
        elif node.operator == "Add" and (bias := self._bias(node, name)) is not None:
            self._layers.append(bias)
            self._streams[output] = self._streams[name]._replace(stage=len(self._layers))
        elif node.operator in onnx_layers.ENTRYWISE:
            self._piece(node, moving)
        elif node.operator == "Gather" and name in self._rows and node.attributes.get("axis", 0) == 0:
            self._half(node, name)
        elif self._known(name) and (moved := self._moved(node, self._streams[name])):
            self._streams[output] = moved
        else:
            x = self._stream(node, name)
            is_index = "F" not in x.axes
            self._must(node, is_index == (node.operator == "Gather"))
            self._must(node, name == node.input(1 if is_index else 0))
            layer = onnx_layers.layer_of(node, [self._constants.get(own) for own in node.inputs], len(x.axes))
            self._must(node, layer is not None)
            self._layers.append(layer)
            self._streams[output] = Stream(len(self._layers), (*x.axes, "F") if is_index else x.axes)

    def _known(self, name: str) -> bool:
        """Whether it has axes; an activation is a layer by then."""
        if name in self._pieces:
            self._resolved(name)
        return name in self._streams

    def _concatenated(self, node: Node) -> None:
        """Of states: those of all layers, or of both directions."""
        axis, output = node.attributes["axis"], node.outputs[0]
        if all(name in self._rows for name in node.inputs) and axis == 0:
            self._rows[output] = [row for name in node.inputs for row in self._rows[name]]
        elif all(name in self._halves for name in node.inputs) and axis in (1, -1):
            stage = self._halves[node.inputs[0]][0]
            self._must(node, [self._halves[name] for name in node.inputs] == [(stage, 0), (stage, 1)])
            self._streams[output] = Stream(stage, self._batch(), True)
        else:
            self._must(node, all(name in self._states for name in node.inputs))
        self._states.add(output)

    def _half(self, node: Node, name: str) -> None:
        rows, index = self._rows[name], self._constants.get(node.input(1))
        self._must(node, index is not None and index.ndim == 0 and -len(rows) <= int(index) < len(rows))
        stage, _ = self._halves[node.outputs[0]] = rows[int(index)]  # type: ignore[arg-type]
        if not self._layers[stage - 1].bidirectional:
            self._streams[node.outputs[0]] = Stream(stage, self._batch(), True)

    def _piece(self, node: Node, moving: list[str]) -> None:
        sources = {self._pieces[name].source if name in self._pieces else name for name in moving}
        self._must(node, len(sources) == 1)
        (source,) = sources
        dtype = self._layers[-1].dtype if self._layers and hasattr(self._layers[-1], "dtype") else np.float32
        arrays: list[Array | None] = []
        for name in node.inputs:
            array = self._constants.get(name)
            self._must(node, array is None or array.size == 1)
            known = self._pieces[name].values if name in self._pieces else onnx_layers.PROBE.astype(dtype)
            arrays.append(None if not name else known if array is None else array.reshape(()))
        with np.errstate(all="ignore"):
            values = OPERATORS[node.operator].run(node, *arrays)
        self._pieces[node.outputs[0]] = Piece(source, values)

    def _moved(self, node: Node, x: Stream) -> Stream | None:
        """What a node makes of the axes; None if it computes."""
        axes, directions = x.axes, 1 + getattr(self._layers[x.stage - 1], "bidirectional", 0) if x.stage else 1
        given = self._constants.get(node.input(1))
        match node.operator:
            case "Identity":
                return x
            case "Transpose":
                perm = node.attributes.get("perm", list(range(len(axes)))[::-1])
                return x._replace(axes=tuple(axes[axis] for axis in perm))
            case "Squeeze":
                places = node.attributes.get("axes", None if given is None else given.tolist())
                self._must(node, places is not None and directions == 1 and [axes[place] for place in places] == ["D"])
                return x._replace(axes=tuple(axis for axis in axes if axis != "D"))
            case "Reshape":
                self._must(node, given is not None and axes[-2:] == ("D", "F") and given.size == len(axes) - 1)
                assert given is not None
                *leading, last = given.tolist()
                size = directions * self._layers[x.stage - 1].hidden_size
                sizes = self._shape or (None,) * 3
                same = [
                    0 if node.attributes.get("allowzero") else each in (0, sizes["01".find(axis)])
                    for each, axis in zip(leading, axes, strict=False)
                    if axis != "D"
                ]
                self._must(node, all(same) and len(same) == len(leading) and last in (-1, size))
                return x._replace(axes=(*axes[:-2], "F"))
            case "Gather" if given is not None and given.ndim == 0 and directions == 1:
                axis = axes[node.attributes.get("axis", 0)]
                is_last = (
                    axis == self._time and given == -1 and x.stage > 0 and _is_recurrent(self._layers[x.stage - 1])
                )
                self._must(node, is_last and not self._lengths and not x.is_state)
                return Stream(x.stage, tuple(own for own in axes if own not in (axis, "D")), True)
        return None

    def _bias(self, node: Node, name: str) -> Array | None:
        """What is added to a product just made; it stands among the layers until that has it."""
        bias = next((self._constants[own] for own in node.inputs if own in self._constants), None)
        last, found = self._layers[-1] if self._layers else None, self._streams.get(name)
        if bias is None or found is None or found.stage != len(self._layers):
            return None
        return bias if isinstance(last, Linear) and not last.bias and bias.shape == (last.out_features,) else None


def _is_recurrent(layer: Any) -> bool:
    return hasattr(layer, "batch_first")
