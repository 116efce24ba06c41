"""The layers of a Keras model in the order in which they run, if that is a plain chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from fastgate import _errors

MASKS = "NotEqual", "Any"  # what Keras computes a mask by, as nodes of the graph


def chain_of(config: Mapping[str, Any], place: str, is_sequential: bool) -> list[Any]:
    """The configurations of the layers; a ValueError that says what stands in the way."""
    trees = config.get("layers")
    if not isinstance(trees, (list, tuple)) or not all(isinstance(tree, Mapping) for tree in trees):
        raise _errors.misplaced(place, "a list of layers", type(trees).__name__)
    return list(trees) if is_sequential else _Graph(trees, place).chain(config)


class _Graph:
    def __init__(self, trees: Sequence[Mapping[str, Any]], place: str) -> None:
        self._place = place
        self._trees: dict[str, Mapping[str, Any]] = {}
        for tree in trees:
            name = tree.get("name")
            if not isinstance(name, str) or name in self._trees:
                raise _errors.misplaced(place, "a name of its own for each layer", repr(name))
            self._trees[name] = tree

    def chain(self, config: Mapping[str, Any]) -> list[Any]:
        first, name = (self._end(config, f"{end}_layers") for end in ("input", "output"))
        chain = {name: None}
        while name != first:
            name = self._call(name)[0]
            if name in chain:
                raise self._refused(name, "a layer that is called once", "a circle")
            chain[name] = None
        names = list(chain)[::-1]
        mask: Any = None
        for before, name in pairwise(names):
            given = self._call(name)[1].get("mask")  # if None, Keras takes that of the layers before
            if given is not None and self._mask(given) != mask:
                raise self._refused(name, "the mask of the layers before it, or none if they make none", "another")
            mask = self._mask_after(name, before, mask)
        if others := [own for own in self._trees if own not in chain and self._kind(own) not in MASKS]:
            raise self._refused(others[0], f"a place between {first!r} and {names[-1]!r}, one after the other", "none")
        return [self._trees[name] for name in names]

    def _end(self, config: Mapping[str, Any], which: str) -> str:
        ends = config.get(which)
        if isinstance(ends, Mapping):
            ends = list(ends.values())
        if isinstance(ends, (list, tuple)) and len(ends) == 1:
            ends = ends[0]
        if not _is_reference(ends):
            raise _errors.misplaced(self._place, f"one of {which}, as in a chain", _length(ends))
        return self._reference(ends, self._place)

    def _reference(self, found: Any, place: str) -> str:
        """Name of the layer whose first output this is."""
        if not _is_reference(found) or found[0] not in self._trees or tuple(found[1:3]) != (0, 0):
            raise _errors.misplaced(place, "the output of a layer of the model", repr(found)[:100])
        return str(found[0])

    def _call(self, name: str) -> tuple[str, Mapping[str, Any]]:
        """The layer whose output this one takes, and what else it is called with."""
        nodes = self._trees[name].get("inbound_nodes")
        if not isinstance(nodes, (list, tuple)) or len(nodes) != 1:
            raise self._refused(name, "a layer that is called once", f"one that is called {_length(nodes)} times")
        node: Any = nodes[0]
        kwargs: Any = {}
        if isinstance(node, Mapping):  # of Keras 3
            arguments, kwargs = node.get("args"), node.get("kwargs")
            found = _history(arguments[0]) if isinstance(arguments, (list, tuple)) and len(arguments) == 1 else None
        else:  # [[name, 0, 0, kwargs]]
            found = node[0] if isinstance(node, (list, tuple)) and len(node) == 1 else None
            kwargs = found[3] if isinstance(found, (list, tuple)) and len(found) > 3 else {}
            found = found[:3] if isinstance(found, (list, tuple)) else None
        if found is None or not isinstance(kwargs, Mapping):
            raise self._refused(name, "a layer with one input", "several")
        for option, value in kwargs.items():
            if option not in ("training", "mask") and value is not None:
                raise self._refused(name, f"no {option} in its call", "one")
            if option == "training" and value:
                raise self._refused(name, "a call without training=True", "one with it")
        return self._reference(found, f"{self._place}: {name!r}"), kwargs

    def _mask_after(self, name: str, before: str, mask: Any) -> Any:
        values = self._trees[name].get("config")
        config: Mapping[str, Any] = values if isinstance(values, Mapping) else {}
        match self._kind(name):
            case "Embedding" if config.get("mask_zero"):
                return before, 0
            case "Masking":
                return before, config.get("mask_value", 0.0)
            case "LSTM" | "GRU" | "SimpleRNN" | "RNN" if not config.get("return_sequences"):
                return None
            case "Bidirectional":
                inside = config.get("layer")
                inner = inside.get("config") if isinstance(inside, Mapping) else None
                return mask if isinstance(inner, Mapping) and inner.get("return_sequences") else None
        return mask

    def _mask(self, found: Any) -> Any:
        """Whose output is compared, and with what; None if there is no mask."""
        for _ in range(3):
            if found is None:
                return None
            own = _history(found)
            tree = self._trees.get(own[0]) if _is_reference(own) else None
            nodes = tree.get("inbound_nodes") if tree else None
            if not tree or not isinstance(nodes, (list, tuple)) or len(nodes) != 1 or not isinstance(nodes[0], Mapping):
                break
            arguments = nodes[0].get("args")
            if not isinstance(arguments, (list, tuple)) or not arguments:
                break
            if tree.get("class_name") == "NotEqual" and len(arguments) == 2:
                source = _history(arguments[0])
                return (source[0] if _is_reference(source) else None), arguments[1]
            found = arguments[0]
        return "unknown"

    def _kind(self, name: str) -> Any:
        return self._trees[name].get("class_name")

    def _refused(self, name: str, expected: str, got: str) -> ValueError:
        return _errors.misplaced(f"{self._place}: {name!r} ({self._kind(name)})", expected, got)


def _history(found: Any) -> Any:
    """Where a tensor of Keras comes from."""
    config = found.get("config") if isinstance(found, Mapping) else None
    return config.get("keras_history") if isinstance(config, Mapping) else None


def _is_reference(found: Any) -> bool:
    return isinstance(found, (list, tuple)) and len(found) == 3 and isinstance(found[0], str)


def _length(found: Any) -> str:
    return str(len(found)) if isinstance(found, (list, tuple, Mapping)) else type(found).__name__
