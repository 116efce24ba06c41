"""What is in a file of Keras: its layers by their configuration, known here or not, and its arrays; nothing is made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fastgate.convert.inspection import Listing, Row
from fastgate.exchange import keras_files
from fastgate.exchange.hdf5 import Dataset, Group
from fastgate.exchange.keras_description import CELLS, KNOWN, MODELS
from fastgate.exchange.keras_sources import Flat, names_in_files

MISSING = "not in fastgate"


class Described(NamedTuple):
    """A layer as a configuration tells it."""

    name: str
    kind: str
    group: str  # where its arrays are


def of_keras(path: Path, options: dict[str, Any]) -> Listing:
    """Any file that Keras writes, of weights alone too."""
    with keras_files.opened(path) as found:
        arrays = dict(_arrays(found.root or Group(), ""))
        layers = list(_layers(found.config, "", isinstance(found.source, Flat))) if found.config else []
    dtypes, rows = dict.fromkeys(own.dtype for own in arrays.values()), list[Row]()
    for layer in layers:
        inside = [name for name in arrays if name.startswith(f"{layer.group}/") and layer.group]
        own = [Row(layer.name, layer.kind, name[len(layer.group) + 1 :], arrays.pop(name).shape) for name in inside]
        rows += own or [Row(layer.name, layer.kind)]
    rows += [Row(*_split(name), own.shape) for name, own in arrays.items()]
    return Listing(rows, ", ".join(dtypes))


def _arrays(group: Group, path: str) -> Iterator[tuple[str, Dataset]]:
    """All of a file, by their paths in it."""
    for name, own in group.members.items():
        place = f"{path}/{name}" if path else name
        if isinstance(own, Dataset):
            yield place, own
        else:
            yield from _arrays(own, place)


def _layers(tree: Any, group: str, is_flat: bool) -> Iterator[Described]:
    """Of a model its layers, of a model in it those inside; else the one that it is."""
    inside = _config(tree).get("layers")
    if not isinstance(inside, list) or not inside or (is_flat and group):
        name = _config(tree).get("name")
        yield Described(name if isinstance(name, str) else "", _kind(tree), group)
        return
    stored = [own for own in inside if _class(own) != "InputLayer"]
    names = iter(names_in_files(list(map(_class, stored))))
    for own in inside:
        if _class(own) == "InputLayer":
            yield from _layers(own, "", True)
        elif is_flat:
            yield from _layers(own, str(_config(own).get("name")), True)
        else:
            yield from _layers(own, f"{group}/layers/{next(names)}".lstrip("/"), False)


def _config(tree: Any) -> Mapping[str, Any]:
    found = tree.get("config") if isinstance(tree, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _class(tree: Any) -> str:
    return str(tree.get("class_name", "?")) if isinstance(tree, Mapping) else "?"


def _kind(tree: Any) -> str:
    """Its class, and that of what it is around; of what is not known here, that."""
    kind, given = _class(tree), tree if isinstance(tree, Mapping) else {}
    is_own = str(given.get("module") or "keras").split(".")[0] != "keras"
    is_own |= given.get("registered_name") not in (None, kind)
    is_known = kind in KNOWN or kind in CELLS or kind in MODELS
    text = kind if is_known and not is_own else f"{kind} ({MISSING})"
    parts = [_config(tree).get(name) for name in ("layer", "cell")]
    return " of ".join([text, *(_kind(own) for own in parts if isinstance(own, Mapping))])


def _split(name: str) -> tuple[str, str, str]:
    group, _, own = name.rpartition("/")
    return group, "", own
