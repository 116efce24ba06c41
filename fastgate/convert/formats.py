"""The formats: what reads each, what writes it, and what else runs it.

=========  =========================  ==============================  ================================================
format     files                      read and written by             run by, besides
=========  =========================  ==============================  ================================================
fastgate   .safetensors               fastgate.load, fastgate.save    nothing
pytorch    .pt, .pth, .safetensors    from_torch, to_torch            PyTorch: the module that fastgate makes of the
                                                                      layer, with the weights that PyTorch reads
onnx       .onnx                      from_onnx(...).model, to_onnx   ONNX Runtime
keras      .keras, .h5                from_keras, to_keras            Keras
rtneural   .json                      from_rtneural, to_rtneural      nothing that Python could call
=========  =========================  ==============================  ================================================

A .safetensors file is fastgate's if its metadata say so, and written as fastgate's unless --to says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import fastgate
from fastgate import _files, _safetensors
from fastgate._terminal import UserError
from fastgate.convert import inspection, inspection_keras, originals
from fastgate.convert.originals import Original
from fastgate.convert.samples import Run, batch_first, run_of, with_options

Options = dict[str, Any]


class Format(NamedTuple):
    """One row of the table."""

    title: str
    endings: tuple[str, ...]
    options: frozenset[str]  # that files of it may need
    read: Callable[[Path, Options], Any]  # the layer
    write: Callable[[Any, Path], Any]
    read_again: Callable[[Path, Any], Run]  # what was just written of this layer
    original: Callable[[Path, Any, Options], Original] | None  # raises Unavailable

    inspect: Callable[[Path, Options], inspection.Listing]


def named(name: str) -> Any:
    """A public function of fastgate."""
    return getattr(fastgate, name)


def _read_onnx(path: Path, options: Options) -> Any:
    return fastgate.from_onnx(path).model


def _onnx_again(path: Path, layer: Any) -> Run:
    graph = fastgate.from_onnx(path)
    return batch_first(lambda x: graph.run({"x": x})["y"], layer)


def _inspect_read(read: Callable[[Path, Options], Any]) -> Callable[[Path, Options], inspection.Listing]:
    return lambda path, options: inspection.of_layer(read(path, options))


def _twice_biased(layer: Any) -> Any:
    """Its like, with two biases where it has one for two, which no file of PyTorch has."""
    return with_options(layer, lambda name, value: True if name == "bias" and value == "single" else value)


def _load(path: Path, options: Options) -> Any:
    return fastgate.load(path)


def _read_keras(path: Path, options: Options) -> Any:
    return named("from_keras")(path, **options)


def _keras_again(path: Path, layer: Any) -> Run:
    weights_only = path.name.endswith(".weights.h5")
    return run_of(
        named("from_keras")(path, **({"into": with_options(layer, lambda name, value: value)} if weights_only else {}))
    )


FORMATS = {
    "fastgate": Format(
        "fastgate",
        (".safetensors",),
        frozenset(),
        _load,
        lambda layer, path: fastgate.save(path, layer),
        lambda path, layer: run_of(fastgate.load(path)),
        None,
        _inspect_read(_load),
    ),
    "pytorch": Format(
        "PyTorch",
        (".pt", ".pth", ".safetensors"),
        frozenset({"part", "into", "names", "batch_first", "nonlinearity", "dtype"}),
        lambda path, options: fastgate.from_torch(path, **options),
        lambda layer, path: fastgate.to_torch(layer, path),
        lambda path, layer: run_of(fastgate.from_torch(path, into=_twice_biased(layer))),
        originals.with_torch,
        inspection.of_state_dict,
    ),
    "onnx": Format(
        "ONNX",
        (".onnx",),
        frozenset(),
        _read_onnx,
        lambda layer, path: fastgate.to_onnx(layer, path),
        _onnx_again,
        originals.with_onnxruntime,
        inspection.of_onnx,
    ),
    "keras": Format(
        "Keras",
        (".keras", ".h5"),
        frozenset({"into"}),
        _read_keras,
        lambda layer, path: named("to_keras")(layer, path),
        _keras_again,
        originals.with_keras,
        inspection_keras.of_keras,
    ),
    "rtneural": Format(
        "RTNeural's JSON",
        (".json",),
        frozenset({"dtype"}),
        lambda path, options: fastgate.from_rtneural(path, **options),
        lambda layer, path: fastgate.to_rtneural(layer, path),
        lambda path, layer: run_of(fastgate.from_rtneural(path, dtype=layer.dtype)),
        originals.with_rtneural,
        inspection.of_rtneural,
    ),
}


def of_input(path: Path) -> str:
    """By its ending; of safetensors by what the file says."""
    name = _by_ending(path)
    if path.suffix == ".safetensors":
        with _safetensors.opened(path) as contents:
            return "fastgate" if _files.KEY in contents.metadata else "pytorch"
    return name


def of_output(path: Path, wanted: str | None) -> str:
    """The wanted one, if the ending allows it."""
    if wanted is None:
        return _by_ending(path)
    if path.suffix not in (endings := FORMATS[wanted].endings):
        raise UserError(f"OUT {path}: expected a name that ends in {' or '.join(endings)} for --to {wanted}")
    return wanted


def _by_ending(path: Path) -> str:
    for name, known in FORMATS.items():
        if path.suffix in known.endings:
            return name
    endings = dict.fromkeys(ending for known in FORMATS.values() for ending in known.endings)
    raise UserError(f"{path}: expected a name that ends in {', '.join(endings)}")
