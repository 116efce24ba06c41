"""Layers and models in files: parameters by the safetensors library, the configuration in the file's metadata."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import fastgate
from fastgate import _errors, _safetensors
from fastgate._allowance import allowance
from fastgate._arrays import Array
from fastgate._endings import check_ending
from fastgate._from_config import from_config
from fastgate._frozen import as_plain
from fastgate._params import split

FORMAT = 1  # of what stands in the metadata; files of a higher one are refused
KEY = "fastgate"  # in the metadata: one key, as the library would write several in any order


def save(path: str | os.PathLike[str], layer: Any) -> None:
    """Write a layer or model into a safetensors file.

    The file holds the parameters under their own names, and in its metadata, as JSON, the configuration. Any reader of
    the format opens it. It is written whole or not at all: a file that was there before stays until the new one is on
    the disk. Needs safetensors (the extra `files`).

    Parameters
    ----------
    path : str or path-like
        The file's name, used as it is; ".safetensors" is the usual ending, and that of another format is refused.
    layer : layer or model
        A layer of one's own, as part of a model too, needs a method ``config``; see `from_config`.

    Raises
    ------
    TypeError, ValueError
        If something in `layer` has no configuration in JSON, or is quantized. Nothing is written.
    OSError
        If the file cannot be written.
    """
    if isinstance(layer, type) or not callable(getattr(layer, "config", None)):
        raise _errors.wrong_type("layer", "a layer or model, with a method config()", type(layer).__name__)
    description = {"format": FORMAT, "version": fastgate.__version__, "config": as_plain("layer", layer)}
    try:
        text = json.dumps(description, allow_nan=False)
        _safetensors.strict_json(text)  # that `load` will read it
    except (TypeError, ValueError, RecursionError) as error:
        raise _errors.no_json(error) from None
    check_ending(path, "save")
    _safetensors.write(path, _params(layer), {KEY: text})


def load(path: str | os.PathLike[str], *, custom: Mapping[str, Callable[..., Any]] | None = None) -> Any:
    """Read a layer or model that `save` wrote: it computes the same bits.

    Nothing in a file is ever run. Sizes in the configuration are compared with the file's tensors before memory is
    asked for. Needs safetensors (the extra `files`).

    Parameters
    ----------
    path : str or path-like
    custom : dict, optional
        The name of each class in the file that is not fastgate's, and the class.

    Returns
    -------
    layer or model

    Raises
    ------
    ValueError
        If the file is not one of `save`, is damaged, or its configuration and tensors do not fit one another; the
        message names the file and what is wrong.
    OSError
        If there is no such file, or it cannot be read.
    """
    with _safetensors.opened(path) as contents:
        config = _read_config(path, contents.metadata)
        try:
            with allowance(len(contents.shapes), contents.entries):
                layer = from_config(config, custom=custom)
        except (TypeError, ValueError, ArithmeticError) as error:
            raise _errors.bad_file(path, f"cannot be made a layer of: {error}") from error
        _check_tensors(path, layer, contents)
        if contents.shapes:
            with layer.params.edit() as arrays:
                for name in contents.shapes:  # one at a time: large layers are in memory often enough
                    arrays[name] = contents.read(name)
    return layer


def _params(layer: Any) -> Mapping[str, Array]:
    """All of one moment, whoever writes them at the same time."""
    params = getattr(layer, "params", None)
    return split(np.asarray(params.flat), {name: array.shape for name, array in params.items()}) if params else {}


def _read_config(path: Any, metadata: Mapping[str, str]) -> Any:
    if KEY not in metadata:
        advice = "layer.params.update(safetensors.numpy.load_file(path)) reads tensors that have a layer's names"
        raise _errors.bad_file(path, f"is a safetensors file, but not one of fastgate.save; {advice}")
    try:
        found = _safetensors.strict_json(metadata[KEY])
    except ValueError as error:
        raise _errors.bad_file(path, f"is damaged: in its metadata, {error}") from None
    if not isinstance(found, dict) or type(found.get("format")) is not int or "config" not in found:
        raise _errors.bad_file(path, f"is damaged: its metadata holds no format and configuration but {found!r}")
    if found["format"] != FORMAT:
        written = f"is of format {found['format']}, written by fastgate {found.get('version')}"
        raise _errors.bad_file(path, f"{written}; fastgate {fastgate.__version__} reads format {FORMAT}")
    return found["config"]


def _check_tensors(path: Any, layer: Any, contents: _safetensors.Contents) -> None:
    """Names, shapes and dtypes are those of the layer's parameters."""
    params = _params(layer)
    for name in contents.shapes:
        if name not in params:
            raise _errors.bad_file(path, f"has a tensor {name!r}, of which its configuration knows nothing")
    for name, array in params.items():
        if name not in contents.shapes:
            raise _errors.bad_file(path, f"lacks the tensor {name!r} of shape {array.shape}")
        expected, got = (array.dtype.name, array.shape), (contents.dtypes[name], contents.shapes[name])
        if got != expected:
            sizes = "its tensor {!r} is {} of shape {}, expected {} of shape {}".format(name, *got, *expected)
            raise _errors.bad_file(path, f"is damaged: {sizes}")
