"""A model of an amplifier or pedal in a file: fastgate's own, or the JSON of RTNeural, AIDA-X or GuitarML."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fastgate as fg
from fastgate._atomic import atomic_file
from fastgate._options import check_target
from fastgate._terminal import UserError
from fastgate.exchange import rtneural_files


class Amplifier(NamedTuple):
    """gain * (model(x) + x), or without x, for sounds of one rate."""

    model: fg.Sequential
    residual: bool = True
    gain: float = 1.0
    rate: int | None = None  # samples a second; None where nobody knows


def read(path: Path, residual: bool) -> Amplifier:
    """With `residual` the input is added where the file does not say whether it is; a UserError says what is wrong."""
    said: dict[str, Any] = {}
    try:
        if path.suffix.lower() == ".safetensors":
            model = fg.load(path)
        else:
            model, said = _from_json(rtneural_files.read(path))
    except (OSError, TypeError, ValueError, ImportError) as error:
        reason = str(error).removeprefix("path: ")
        raise UserError(f"--model: {reason}" if repr(str(path)) in reason else f"--model {path}: {reason}") from None
    if not isinstance(model, fg.Sequential):
        raise UserError(f"--model {path}: expected a fg.Sequential, got a {type(model).__name__}")
    try:
        shape = model.step(np.zeros((1, 1), model.dtype))[0].shape
    except (TypeError, ValueError) as error:
        raise UserError(f"--model {path}: expected a model of one input, sample by sample: {error}") from None
    if shape != (1, 1):
        raise UserError(f"--model {path}: expected a model of one output, got {shape[-1]}")
    return Amplifier(model, **{"residual": residual, **said})


def _from_json(content: Any) -> tuple[fg.Sequential, dict[str, Any]]:
    """The model, and what else of an `Amplifier` is said."""
    said: dict[str, Any] = {}
    guitar = content.get("model_data") if isinstance(content, Mapping) else None
    if isinstance(guitar, Mapping):  # of GuitarML, whose sum with the input is no layer
        said["residual"] = bool(_number(guitar, "skip", 0))
        content = {**content, "model_data": {**guitar, "skip": 0}}
    elif isinstance(content, Mapping):  # of RTNeural, with what AIDA-X writes besides
        if "in_skip" in content:
            said["residual"] = bool(_number(content, "in_skip", 0))
        said["gain"] = 10 ** (_number(content, "out_gain", 0) / 20)  # dB
    model = fg.from_rtneural(content)
    places = (content, content.get("metadata"))
    rates = [_number(place, "samplerate", 0) for place in places if isinstance(place, Mapping)]
    return model, {**said, "rate": int(max(rates)) or None}


def _number(mapping: Mapping[str, Any], name: str, otherwise: float) -> float:
    """Finite, and of moderate size."""
    try:
        number = float(mapping.get(name, otherwise))
    except (TypeError, ValueError):
        number = np.nan
    if not abs(number) <= 1e6:
        raise ValueError(f"{name}: expected a number, got {rtneural_files.shown(mapping[name])}")
    return number


def check_save(path: Path, amplifier: Amplifier) -> None:
    """Before the training."""
    check_target("--save", path)
    _description(amplifier)


def save(path: Path, amplifier: Amplifier) -> None:
    """JSON that RTNeural reads, and AIDA-X with what RTNeural does not know of."""
    with atomic_file(path) as file:
        file.write(json.dumps(_description(amplifier)).encode())


def _description(amplifier: Amplifier) -> dict[str, Any]:
    try:
        found = fg.to_rtneural(amplifier.model)
    except ValueError as error:
        raise UserError(f"--save: {error}") from None
    assert found is not None
    return {**found, "in_skip": int(amplifier.residual), "samplerate": amplifier.rate}
