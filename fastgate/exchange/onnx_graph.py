"""An ONNX graph that is run by fastgate's layers and NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgate import _errors
from fastgate._arrays import Array, as_array, as_floating
from fastgate._places import as_any_floating
from fastgate.exchange import onnx_chain, onnx_files
from fastgate.exchange.onnx_nodes import Node
from fastgate.exchange.onnx_recurrent import Cell, Layers, read_lengths


class OnnxModel:
    """What `from_onnx` returns.

    Attributes
    ----------
    inputs : dict
        Name -> (dtype, shape) as the file declares them; in a shape a name, or None, stands for any size.
    outputs : list
        Names.
    layers : dict
        Name of each LSTM, GRU and RNN node (``"node 3"`` where it has none) -> the layer that computes it: with its
        parameters, `forward` and `backward`. It is a tuple of two where directions differ in their activations. A node
        of direction "reverse" is a layer that is given its sequences turned round. Nodes whose weights are computed, or
        inputs of the graph, are not here.
    """

    def __init__(self, graph: onnx_files.Graph) -> None:
        self._graph = graph
        self.inputs, self.outputs = graph.inputs, graph.outputs
        self._cells: dict[int, Cell] = {}
        self._made: dict[int, Layers] = {}
        self._constants = _folded(graph)
        for number, node in enumerate(graph.nodes):
            if node.is_recurrent:
                self._cells[number] = cell = Cell(node)
                weights = [self._constants.get(name) for name in node.weights]
                if all(array is not None or not name for name, array in zip(node.weights, weights, strict=True)):
                    self._made[number] = cell.layers(*weights)  # type: ignore[arg-type]
        self.layers = {
            graph.nodes[number].name or f"node {number}": made[0] if len(made) == 1 else made
            for number, made in self._made.items()
        }

    @cached_property
    def model(self) -> Any:
        """The graph as a `Sequential` model, which can be trained, if it is a chain of layers.

        The model's layers are copies: training it does not change what `run` computes; `to_onnx` writes it.

        Raises
        ------
        ValueError
            If it is none: the message names the first node that is no part of one.
        """
        return onnx_chain.model_of(self._graph, self._constants, self._cells, self._made)

    def run(self, inputs: Mapping[str, npt.ArrayLike], *others: Any) -> dict[str, Array]:
        """Compute all outputs.

        Parameters
        ----------
        inputs : mapping
            Name -> array, of all inputs of the graph, in the dtypes and shapes that it declares.
        *others
            None: what ONNX Runtime takes, ``run(None, inputs)``, is refused.

        Returns
        -------
        dict
            Name -> ndarray.

        Raises
        ------
        TypeError, ValueError
            If an input is missing, unknown, or of a wrong dtype or shape, or a node cannot take what it is given; the
            message names the input or the node.
        """
        if others or not isinstance(inputs, Mapping):
            expected = f"run({{{', '.join(f'{name!r}: array' for name in self.inputs)}}}), which returns a dict"
            got = f"{1 + len(others)} arguments" if others else f"run({type(inputs).__name__})"
            raise _errors.wrong_type("inputs", expected, got)
        if set(inputs) != set(self.inputs):
            got = ", ".join(map(str, inputs))
            raise _errors.wrong_value("inputs", f"arrays for {', '.join(self.inputs) or 'none'}", got)
        values = dict(self._constants)
        values |= {name: _read(name, inputs[name], declared) for name, declared in self.inputs.items()}
        uses = _last_uses(self._graph)
        for number, node in enumerate(self._graph.nodes):
            if all(name in values for name in node.outputs if name):
                continue  # a constant
            arrays = [values[name] if name else None for name in node.inputs]
            found = self._recurrent(number, arrays) if number in self._cells else compute(node, arrays)
            values.update((name, array) for name, array in zip(node.outputs, found, strict=False) if name)
            for name in uses.get(number, ()):
                values.pop(name, None)
        return {name: np.array(values[name]) for name in self.outputs}

    def _recurrent(self, number: int, arrays: list[Array | None]) -> tuple[Array, ...]:
        cell, node = self._cells[number], self._graph.nodes[number]
        arrays += [None] * (8 - len(arrays))
        x, W, R, B, lengths, h, c, P = arrays
        layers = self._made.get(number) or cell.layers(W, R, B, P)  # type: ignore[arg-type]
        try:
            return cell.run(layers, x, read_lengths(node, lengths), h, c)  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:
            raise _of_node(node, error) from None

    def __repr__(self) -> str:
        return f"OnnxModel({', '.join(self.inputs)} -> {', '.join(self.outputs)})"


def compute(node: Node, arrays: list[Array | None]) -> tuple[Array, ...]:
    """Any other node, by NumPy."""
    try:
        with np.errstate(all="ignore"):  # infinities and NaN are results as good as others
            found = onnx_files.OPERATORS[node.operator].run(node, *arrays)
    except (TypeError, ValueError, IndexError, AttributeError, KeyError, MemoryError) as error:
        raise _of_node(node, error) from None
    return found if isinstance(found, tuple) else (np.asarray(found),)


def _of_node(node: Node, error: Exception) -> Exception:
    if str(error).startswith(node.place):
        return error
    kind = type(error) if isinstance(error, (TypeError, MemoryError)) else ValueError
    return kind(f"{node.place}: {error}")


LARGEST_FOLDED = 1 << 22  # entries: what a file says in few bytes may be more than fits in memory


def _folded(graph: onnx_files.Graph) -> dict[str, Array]:
    """What does not depend on inputs, if it is no larger than that or no node makes it larger."""
    known = dict(graph.constants)
    for node in graph.nodes:
        if node.is_recurrent or not all(name in known for name in node.inputs if name):
            continue
        arrays = [known[name] if name else None for name in node.inputs]
        largest = max([LARGEST_FOLDED, *(array.size for array in arrays if array is not None)])
        found = compute(node, arrays)
        if all(array.size <= largest for array in found):
            known.update((name, array) for name, array in zip(node.outputs, found, strict=False) if name)
    return known


def _last_uses(graph: onnx_files.Graph) -> dict[int, list[str]]:
    """After which node an array is no longer needed."""
    last = {name: number for number, node in enumerate(graph.nodes) for name in (*node.inputs, *node.outputs)}
    found: dict[int, list[str]] = {}
    for name, number in last.items():
        if name not in graph.outputs:
            found.setdefault(number, []).append(name)
    return found


def _read(name: str, value: Any, declared: onnx_files.Value) -> Array:
    dtype, shape = declared
    label = f"inputs[{name!r}]"
    array = as_array(label, value)
    if dtype.kind == "f":
        array = as_floating(label, array if array.dtype == dtype else as_any_floating(label, array), dtype)
    elif array.dtype.kind not in ("b" if dtype.kind == "b" else "iu"):
        raise _errors.wrong_type(label, f"an array of {dtype}", array.dtype)
    elif dtype.kind != "b" and array.size:
        info = np.iinfo(dtype)
        if int(array.min()) < info.min or int(array.max()) > info.max:
            raise _errors.wrong_value(label, f"values of {dtype}", f"{array.min()} to {array.max()}")
    if shape is not None and (
        array.ndim != len(shape)
        or any(type(size) is int and size != own for size, own in zip(shape, array.shape, strict=True))
    ):
        raise _errors.wrong_shape(label, f"({', '.join('any' if s is None else str(s) for s in shape)})", array.shape)
    return array.astype(dtype, copy=False)
