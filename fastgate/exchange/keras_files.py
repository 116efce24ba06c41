"""Files of Keras: ``.keras`` (a ZIP archive), ``.weights.h5``, and whole models in the older ``.h5``.

Of a ``.keras`` archive config.json, metadata.json and model.weights.h5 are read, which Keras stores as they are.
Neither Keras nor h5py is needed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

from fastgate import _errors
from fastgate._safetensors import strict_json
from fastgate.exchange import files, hdf5, stored
from fastgate.exchange.keras_sources import Flat, Source, Stored

LONGEST_CONFIG = 2**22  # bytes: some 2,000 layers; as objects of Python it takes up to twenty times as much
WEIGHTS = "model.weights.h5"


class Contents(NamedTuple):
    """What a file says. Without a configuration it holds weights alone."""

    config: Any
    source: Source
    generation: int
    root: hdf5.Group | None = None  # of the weights, of a file


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Contents]:
    """A file, whose weights can be read inside the ``with``; whatever is wrong with it is said with its name."""
    start = files.read_start(path)
    with open(path, "rb") as file:
        try:
            size = os.fstat(file.fileno()).st_size
            if start.startswith(b"PK"):
                yield _archive(file, size)
            elif start.startswith(hdf5.MAGIC):
                yield _of_group(hdf5.read(hdf5.Part(file, 0, size)))
            else:
                raise ValueError("is no file of Keras: neither a ZIP archive, as .keras is, nor HDF5, as .h5 is")
        except ValueError as error:
            raise _errors.bad_file(path, error) from None


def _archive(file: BinaryIO, size: int) -> Contents:
    members = stored.members_of(file, size)
    if "config.json" not in members:
        raise ValueError("is a ZIP archive, but not one of Keras: it has no config.json")
    if WEIGHTS not in members:
        raise ValueError(f"has no {WEIGHTS}: its weights are stored in another way, which is not read")
    texts = []
    for name in ("config.json", "metadata.json"):
        if name not in members:
            texts.append("{}")
            continue
        if members[name].size > LONGEST_CONFIG:
            raise ValueError(f"has a {name} of {members[name].size} bytes, of which {LONGEST_CONFIG} are allowed")
        texts.append(stored.read(file, name, members[name]).decode())
    config, metadata = map(strict_json, texts)
    _check_object(config)
    version = metadata.get("keras_version") if isinstance(metadata, dict) else None
    root = hdf5.read(hdf5.Part(file, *stored.located(file, WEIGHTS, members[WEIGHTS])))
    return Contents(config, Stored(root), _generation(version), root)


def _of_group(root: hdf5.Group) -> Contents:
    """A whole model, or weights alone, in either layout."""
    config = root.attributes.get("model_config")
    if config:
        if len(config[0]) > LONGEST_CONFIG:
            raise ValueError(f"has a model_config of {len(config[0])} characters: {LONGEST_CONFIG} are allowed")
        weights = root.group("model_weights")
        version = (weights.attributes.get("keras_version") or root.attributes.get("keras_version") or [""])[0]
        tree = strict_json(config[0])
        _check_object(tree)
        return Contents(tree, Flat(weights), _generation(version), weights)
    if "layer_names" in root.attributes or "layer_names0" in root.attributes:
        return Contents(None, Flat(root), 2, root)
    return Contents(None, Stored(root), 3, root)


def _check_object(config: Any) -> None:
    if not isinstance(config, dict):
        raise ValueError(f"is damaged: its configuration is no object, but of type {type(config).__name__}")


def _generation(version: Any) -> int:
    """Of Keras: 2, whose hard_sigmoid is another, or 3."""
    return 2 if isinstance(version, str) and version.split(".")[0] in ("1", "2") else 3
