"""Files in the safetensors format, by its library; what that lets pass is checked here."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from fastgate import _errors
from fastgate._arrays import Array
from fastgate._atomic import atomic_file
from fastgate.training.checkpoint import is_checkpoint

LONGEST_HEADER = 2**22  # bytes: some 40,000 tensors; as objects of Python it takes up to twenty times as much
DEEPEST = 100  # brackets within brackets: whatever limit of recursion is set, Python's parser crashes beyond some depth
DTYPES = {"F32": "float32", "F64": "float64"}
TEXT_OR_BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[\]{}]')  # *+ takes no memory to turn back
CHECKPOINT = "is a checkpoint of fit, which goes on from it with the same arguments, checkpoint=FOLDER and resume=True"
CHECKPOINT += "; fastgate.save(path, model) then writes what load reads"
FOREIGN = {
    b"PK\x03\x04": "a ZIP archive, as .npz, .pt and .keras are",
    b"\x93NUMPY": "an array of NumPy",
    b"\x89HDF": "HDF5",
    b"\x80": "a pickle, which is never read because that could run anything",
    b"{": "JSON",
    b"[": "JSON",
}


class Contents(NamedTuple):
    """An opened file: what it holds is known, and nothing has been read of it yet."""

    metadata: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str]
    file: Any

    @property
    def entries(self) -> int:
        return sum(map(math.prod, self.shapes.values()))

    def read(self, name: str) -> Array:
        array: Array = self.file.get_tensor(name)
        return array


def write(path: str | os.PathLike[str], arrays: Mapping[str, Array], metadata: dict[str, str]) -> None:
    """A new file in the place of `path`, whole or not at all."""
    content = _library().numpy.save(dict(arrays), metadata)
    header = int.from_bytes(content[:8], "little")
    if header > LONGEST_HEADER:
        raise _errors.too_long_description(header, LONGEST_HEADER)
    with atomic_file(path) as file:
        file.write(content)


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Contents]:
    """The file, checked: a header without doubt, and tensors that cover the rest to the last byte."""
    library = _library()
    path = Path(path)
    header = read_header(path)
    try:
        with library.safe_open(path, framework="numpy") as file:
            _check_said_once(path, header)
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
            dtypes = {name: str(part.get_dtype()) for name, part in slices.items()}
            yield Contents(file.metadata() or {}, shapes, {k: DTYPES.get(v, v) for k, v in dtypes.items()}, file)
    except library.SafetensorError as error:
        raise _errors.bad_file(path, f"is damaged: {error}") from None


def read_header(path: Path) -> bytes:
    """The JSON at the start of a file, as it is."""
    if not path.exists():
        raise _errors.no_file(path)
    if path.is_dir():
        raise _errors.a_folder(path)
    if not path.is_file():  # a pipe would wait for ever
        raise _errors.no_ordinary_file(path)
    with open(path, "rb") as file:
        start, size = file.read(8), os.fstat(file.fileno()).st_size
        length = int.from_bytes(start, "little")
        if size == 0:
            raise _errors.bad_file(path, "is empty")
        if len(start) < 8 or length > size - 8:
            if is_checkpoint(path):
                raise _errors.bad_file(path, CHECKPOINT)
            kinds = (f"is {kind}" for magic, kind in FOREIGN.items() if start.startswith(magic))
            raise _errors.bad_file(path, f"is no safetensors file: it {next(kinds, 'ends before its header does')}")
        if length > LONGEST_HEADER:
            raise _errors.bad_file(path, f"has a header of {length} bytes, of which {LONGEST_HEADER} are allowed")
        return file.read(length)


def _check_said_once(path: Path, header: bytes) -> None:
    """Of two tensors or texts of one name the library takes the last."""
    try:
        strict_json(header.decode())
    except ValueError as error:
        raise _errors.bad_file(path, f"is damaged: {error}") from None


def strict_json(text: str) -> Any:
    """What the text says; a ValueError if that is not JSON, says a thing twice, or is nested beyond reading."""
    depth = 0
    for found in TEXT_OR_BRACKET.finditer(text):
        depth += (found[0] in "[{") - (found[0] in "]}")
        if depth > DEEPEST:
            raise ValueError(f"its JSON is nested more than {DEEPEST} deep")
    return json.loads(text, object_pairs_hook=_without_doubles, parse_constant=_no_number)


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        doubles = sorted({name for name, _ in pairs if sum(name == other for other, _ in pairs) > 1})
        raise ValueError(f"its JSON says {doubles[0]!r} twice")
    return found


def _no_number(text: str) -> None:
    raise ValueError(f"its JSON holds {text}, which is no number")


def _library() -> ModuleType:
    try:
        import safetensors.numpy
    except ImportError:
        raise _errors.missing_extra("safetensors", "files", "to save and load") from None
    return safetensors
