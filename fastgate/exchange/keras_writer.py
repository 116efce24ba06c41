"""What `keras_export` made, as files or as objects of Keras. Files need h5py; objects need Keras."""

from __future__ import annotations

import io
import json
import os
import random
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastgate import _errors
from fastgate._arrays import Array
from fastgate._atomic import atomic_file
from fastgate.exchange.keras_export import Made
from fastgate.exchange.keras_files import WEIGHTS
from fastgate.exchange.keras_sources import Flat, Live, Source, names_in_files

EARLIEST = (1980, 1, 1, 0, 0, 0)  # the same content gives the same file
VERSION = "3.0.0"  # the first that reads it
RANKS = {"Embedding": 2, "LSTM": 3, "GRU": 3, "SimpleRNN": 3, "Bidirectional": 3, "Masking": 3, "SpatialDropout1D": 3}


def leaves(layers: Sequence[Made], source: Source) -> Iterator[tuple[Made, Source]]:
    """All layers that have weights of their own, each with its place in a source."""
    for layer, own in zip(layers, source.items("layers", [layer.kind for layer in layers]), strict=True):
        yield from _of_one(layer, own)


def _of_one(layer: Made, source: Source) -> Iterator[tuple[Made, Source]]:
    if layer.weights:
        yield layer, source
    for attribute, part in layer.parts.items():
        yield from _of_one(part, source.child(attribute))


def write(path: str | os.PathLike[str], layers: Sequence[Made], dtype: str, *, weights_alone: bool) -> None:
    """A new file in the place of `path`, whole or not at all."""
    content = _weights_file(layers)
    with atomic_file(path) as file:
        if weights_alone:
            file.write(content)
            return
        texts = {"metadata.json": {"keras_version": VERSION}, "config.json": _model(layers, dtype)}
        with zipfile.ZipFile(file, "w") as archive:
            for name, text in texts.items():
                archive.writestr(zipfile.ZipInfo(name, EARLIEST), json.dumps(text))
            archive.writestr(zipfile.ZipInfo(WEIGHTS, EARLIEST), content)


def _weights_file(layers: Sequence[Made]) -> bytes:
    try:
        import h5py
    except ImportError:
        raise _errors.missing_extra("h5py", "keras", "to write files of Keras") from None
    memory = io.BytesIO()
    with h5py.File(memory, "w", libver="earliest") as file:
        for path, made in _paths(layers):
            group = file.create_group(f"{path}/vars")
            for number, array in enumerate(made.weights):
                group.create_dataset(str(number), data=np.ascontiguousarray(array))
    return memory.getvalue()


def _paths(layers: Sequence[Made]) -> Iterator[tuple[str, Made]]:
    """Each layer and part with the name of its group."""
    waiting = [
        (f"layers/{name}", own)
        for name, own in zip(names_in_files([layer.kind for layer in layers]), layers, strict=True)
    ]
    yield "", Made("Sequential")
    while waiting:
        path, made = waiting.pop(0)
        yield path, made
        waiting += [(f"{path}/{attribute}", part) for attribute, part in made.parts.items()]


def _model(layers: Sequence[Made], dtype: str) -> dict[str, Any]:
    """The configuration of a Sequential model, which begins with the shape of its input."""
    is_index = layers[0].kind == "Embedding"
    shape = _input_shape(layers)
    options = {"batch_shape": shape, "dtype": "int32" if is_index else dtype, "name": "input_layer"}
    first = {"module": "keras.layers", "class_name": "InputLayer", "config": options, "registered_name": None}
    names = names_in_files([layer.kind for layer in layers])
    inside = [layer.config(name, dtype) for name, layer in zip(names, layers, strict=True)]
    own = {"name": "sequential", "dtype": dtype, "layers": [first, *inside]}
    return {"module": "keras", "class_name": "Sequential", "config": own, "registered_name": None}


def _input_shape(layers: Sequence[Made]) -> list[int | None]:
    """The first axis is the batch; time steps are of any number."""
    rank = max(RANKS.get(layer.kind, 2) for layer in layers)
    if layers[0].kind == "Embedding":
        return [None, None]
    for layer in layers:
        if (features := _features(layer)) is not None:
            return [None] * (rank - 1) + [features]
    return [None] * rank


def _features(layer: Made) -> int | None:
    """Size of the last axis of its input, if it is fixed."""
    if layer.weights:
        return int(layer.weights[0].shape[0])
    return next((found for part in layer.parts.values() if (found := _features(part)) is not None), None)


def object_of(layers: Sequence[Made], dtype: str, is_model: bool) -> Any:
    """A layer or a Sequential model of Keras."""
    try:
        import keras
    except ImportError as error:
        needed = "to make a layer or model of Keras; a file can be written without it, by path="
        raise _errors.missing_extra("keras", "test", f"{needed} ({error})") from None
    state = random.getstate()  # which Keras' initializers draw from, and no other's numbers should depend on
    try:
        if is_model or len(layers) > 1:
            made = keras.saving.deserialize_keras_object(_nameless(_model(layers, dtype)))
            pairs = list(leaves(layers, Live(made)))
        else:
            (name,) = names_in_files([layers[0].kind])
            made = keras.saving.deserialize_keras_object(_nameless(layers[0].config(name, dtype)))
            made.build(tuple(_input_shape(layers)))
            pairs = list(_of_one(layers[0], Live(made)))
    finally:
        random.setstate(state)
    for own, target in pairs:
        assert isinstance(target, Live)
        target.layer.set_weights([np.asarray(array) for array in own.weights])
    return made


def _nameless(tree: dict[str, Any]) -> dict[str, Any]:
    """With a name that Keras finds: two of one name cannot be in one model."""
    return tree | {"config": tree["config"] | {"name": None}}


def read_into(layers: Sequence[Made], source: Source, as_model: bool) -> None:
    """The weights of a source into the layers of fastgate that these were made of: all of them, or none."""
    if not as_model and len(layers) > 1:
        raise _errors.wrong_value("into", "one layer, as the source is", f"{len(layers)}")
    pairs = leaves(layers, source) if as_model else _of_one(layers[0], source)
    found: list[tuple[Made, list[Array]]] = []
    for made, own in pairs:
        place = f"into: {made.kind}"
        tensors = own.own(len(made.weights), place)
        for number, (tensor, array) in enumerate(zip(tensors, made.weights, strict=True)):
            if tensor.shape != array.shape:
                raise _errors.wrong_shape(f"{place}: array {number}", f"{array.shape}", tensor.shape)
        found.append((made, [tensor.read() for tensor in tensors]))
    if isinstance(source, Flat):
        source.check_done()
    for made, arrays in found:
        assert made.write is not None
        made.write(arrays)
