"""Where the weights of a Keras layer are: in its objects, or in the groups of a file, in either layout of those.

A source is asked as the layers are gone through, by the attributes that hold a layer's parts.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from fastgate import _errors
from fastgate.exchange import errors
from fastgate.exchange.hdf5 import Dataset, Group
from fastgate.exchange.tensors import FLOATING, Tensor, tensor_of

OLDER_LAYERS = "_layer_checkpoint_dependencies"


class Source(Protocol):
    """The weights of a layer."""

    def items(self, attribute: str, kinds: Sequence[str]) -> Sequence[Source]:
        """Of the layers of these classes in a list."""
        ...

    def child(self, attribute: str) -> Source:
        """Of a layer's part."""
        ...

    def own(self, count: int, place: str) -> tuple[Tensor, ...]:
        """Those of the layer itself, so many."""
        ...


def names_in_files(kinds: Sequence[str]) -> Iterator[str]:
    """The names of layers of these classes in a file: not the names that they have."""
    seen: Counter[str] = Counter()
    for kind in kinds:
        name = re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", kind)).lower()
        yield f"{name}_{seen[name]}" if seen[name] else name
        seen[name] += 1


class Stored:
    """In a file that Keras 3 wrote, or Keras 2 in the same format, where 2.13 had another name for `layers`."""

    def __init__(self, root: Group, path: str = "") -> None:
        self._root, self._path = root, path

    def items(self, attribute: str, kinds: Sequence[str]) -> Sequence[Source]:
        names, members = list(names_in_files(kinds)), self._root.group(self._path).members
        attribute = OLDER_LAYERS if attribute not in members and OLDER_LAYERS in members else attribute
        for other, own in self._root.group(f"{self._path}/{attribute}").members.items():
            if other not in names and _has_arrays(own):
                raise errors.unfit_layer(other, names)
        return [self.child(f"{attribute}/{name}") for name in names]

    def child(self, attribute: str) -> Source:
        return Stored(self._root, f"{self._path}/{attribute}")

    def own(self, count: int, place: str) -> tuple[Tensor, ...]:
        if not count:
            return ()
        members = self._root.group(f"{self._path}/vars").members
        where = f"{self._path.strip('/') or 'its root'}/vars"
        if sorted(members) != sorted(map(str, range(count))):
            known = [name for name, own in self._root.group("layers").members.items() if isinstance(own, Group)]
            raise errors.wrong_arrays(place, count, where, members, known)
        return tuple(_tensor_of(members[str(number)], f"{where}/{number}") for number in range(count))


class Flat:
    """In a file as Keras 2 wrote them: all in one row, in the order of the layers."""

    def __init__(self, weights: Group) -> None:
        self._tensors = list(_legacy(weights))
        self._taken = 0

    def items(self, attribute: str, kinds: Sequence[str]) -> Sequence[Source]:
        return [self] * len(kinds)

    def child(self, attribute: str) -> Source:
        return self

    def own(self, count: int, place: str) -> tuple[Tensor, ...]:
        found = self._tensors[self._taken : self._taken + count]
        if len(found) < count:
            raise errors.wrong_arrays(place, count, "the file", found, ())
        self._taken += count
        return tuple(found)

    def check_done(self) -> None:
        if left := len(self._tensors) - self._taken:
            raise _errors.misplaced("weights", "those of the layers alone", f"{left} more")


class Live:
    """In a layer of Keras."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def items(self, attribute: str, kinds: Sequence[str]) -> Sequence[Live]:
        layers = list(getattr(self.layer, attribute))
        found = dict(zip(names_in_files([type(own).__name__ for own in layers]), layers, strict=True))
        names = list(names_in_files(kinds))
        for name in {**found, **dict.fromkeys(names)}:
            if name not in names and found[name].weights:
                raise errors.unfit_layer(name, names)
            if name not in found:
                raise errors.wrong_arrays(name, 1, "the model", (), found)
        return [Live(found[name]) for name in names]

    def child(self, attribute: str) -> Live:
        part = getattr(self.layer, attribute, None)
        if part is None:
            raise _errors.misplaced("into", f"a layer of Keras with a {attribute}", repr(self.layer))
        return Live(part)

    def own(self, count: int, place: str) -> tuple[Tensor, ...]:
        weights = self.layer.weights if count else []
        if len(weights) != count:
            raise errors.wrong_arrays(place, count, "it", weights, ())
        to_array = sys.modules["keras"].ops.convert_to_numpy
        found = [tensor_of(f"{place}: {own.name}", to_array(own)) for own in weights]
        return tuple(tensor for tensor in found if tensor is not None)


def _has_arrays(found: Group | Dataset) -> bool:
    return isinstance(found, Dataset) or any(map(_has_arrays, found.members.values()))


def _legacy(weights: Group) -> Iterator[Tensor]:
    seen: set[int] = set()
    for layer in _texts(weights, "layer_names"):
        group = weights.find(layer)  # whose name may have slashes
        if not isinstance(group, Group):
            raise ValueError(f"is damaged: it has no group of the layer {layer!r}")
        for name in _texts(group, "weight_names"):
            found = group.find(name)
            if id(found) in seen:  # of which a small file could make much
                raise ValueError(f"is damaged: two of its weights are the array {name!r}")
            seen.add(id(found))
            yield _tensor_of(found, f"{layer}/{name}")


def _texts(group: Group, name: str) -> list[str]:
    """Lists too long for one attribute are cut into several, with numbers."""
    found, number = list(group.attributes.get(name, [])), 0
    while f"{name}{number}" in group.attributes:
        found += group.attributes[f"{name}{number}"]
        number += 1
    return found


def _tensor_of(found: Group | Dataset | None, where: str) -> Tensor:
    if not isinstance(found, Dataset):
        raise ValueError(f"is damaged: there is no array {where!r}")
    if found.dtype not in FLOATING:
        raise ValueError(f"has an array {where!r} of {found.dtype}: expected floating-point numbers")
    return Tensor(found.shape, FLOATING[found.dtype], found.read)
