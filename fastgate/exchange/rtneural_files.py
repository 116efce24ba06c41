"""JSON of anybody, within bounds; and the arrays of numbers in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fastgate import _errors, _safetensors
from fastgate._arrays import Array
from fastgate.exchange import files

LONGEST = 2**27  # bytes
MOST_LISTS = 2**17  # and mappings: as objects of Python each takes more than its brackets do
MOST_NUMBERS = 2**22
LONGEST_SHOWN = 40


def read(path: str | os.PathLike[str]) -> Any:
    """What a file says; a ValueError if that is no JSON, is without a meaning or beyond the bounds above."""
    files.read_start(path)
    if (size := os.stat(path).st_size) > LONGEST:
        raise _errors.bad_file(path, f"has {size} bytes, of which {LONGEST} are allowed")
    content = Path(path).read_bytes()
    lists, numbers = content.count(b"[") + content.count(b"{"), content.count(b",")
    if lists > MOST_LISTS or numbers > MOST_NUMBERS:
        raise _errors.bad_file(path, f"has more than {MOST_LISTS} lists or {MOST_NUMBERS} numbers")
    try:
        return _safetensors.strict_json(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise _errors.bad_file(path, "is no JSON: it is no text in UTF-8") from None
    except ValueError as error:
        raise _errors.bad_file(path, f"is damaged: {error}") from None


def entry(place: str, mapping: Any, key: str, kind: type | tuple[type, ...], expected: str) -> Any:
    """What a mapping has under a name, if it is of that kind."""
    if not isinstance(mapping, Mapping):
        raise _errors.wrong_type(place, f"a mapping with {key!r}", type(mapping).__name__)
    if key not in mapping:
        raise _errors.misplaced(place, f"{key!r}, {expected}", "none")
    value = mapping[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise _errors.wrong_type(f"{place}: {key}", expected, type(value).__name__)
    return value


def shown(value: Any) -> str:
    """As Python writes it, of which an error says the beginning."""
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 3] + "..."


def as_numbers(place: str, value: Any, shape: tuple[int | None, ...]) -> Array:
    """Of a list, or a list of lists, or an array; None for any size. In float64, which holds what JSON says."""
    if not isinstance(value, np.ndarray):
        value = _array(place, value, len(shape))
    elif value.dtype.kind not in "fiu":
        raise _errors.wrong_type(place, "real numbers", value.dtype)
    if value.ndim != len(shape) or any(size not in (None, own) for size, own in zip(shape, value.shape, strict=True)):
        expected = ", ".join("any" if size is None else str(size) for size in shape)
        raise _errors.wrong_shape(place, f"({expected})", value.shape)
    numbers: Array = value.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise _errors.misplaced(place, "finite numbers", "others")
    return numbers


def _array(place: str, value: Any, rank: int) -> Array:
    rows = value if rank == 2 else [value]
    expected = "a list of lists of numbers" if rank == 2 else "a list of numbers"
    if not isinstance(rows, (list, tuple)):
        raise _errors.wrong_type(place, expected, type(rows).__name__)
    for row in rows:
        if not isinstance(row, (list, tuple)):
            raise _errors.wrong_type(place, expected, f"{type(row).__name__} in it")
        if len(row) != len(rows[0]):
            raise _errors.misplaced(place, "rows of one length", f"{len(rows[0])} and {len(row)}")
        for number in row:
            if type(number) not in (int, float):
                raise _errors.wrong_type(place, expected, f"{type(number).__name__} in it")
    try:
        return np.array(value, np.float64)
    except OverflowError:
        raise _errors.misplaced(place, "finite numbers", "one beyond float64") from None
