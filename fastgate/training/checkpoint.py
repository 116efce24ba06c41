"""Checkpoints: the whole state of a training, one file each, written whole or not at all, checked when read.

A file is NumPy's ``.npz``: arrays, each with a checksum, and JSON as bytes that says what they are. Nothing is pickled.
"""

from __future__ import annotations

import json
import os
import re
import sys
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from fastgate import _errors
from fastgate._arrays import Array, as_size
from fastgate._atomic import atomic_file
from fastgate.training import errors

FORMAT = 1
NAME = re.compile(r"step-(\d{9,})\.npz")
LEFT_BEHIND = re.compile(r"\.step-\d{9,}\.npz\.[0-9a-f]+\.part")  # by a process that was killed while it wrote
DESCRIPTION = "description"
# Whatever NumPy and zipfile make of a file that is damaged, or something else.
UNREADABLE: tuple[type[Exception], ...] = (
    *(OSError, ValueError, KeyError, TypeError, EOFError, MemoryError, NotImplementedError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)


class Checkpoints:
    """The last `keep` checkpoints of one training, in a folder that no other process trains in meanwhile."""

    def __init__(self, folder: str | os.PathLike[str], keep: int) -> None:
        if not isinstance(folder, (str, os.PathLike)):
            raise _errors.wrong_type("checkpoint", "the path of a folder", repr(folder))
        self.folder, self.keep = Path(folder), as_size("keep", keep)
        with _said(f"cannot train into the folder {str(self.folder)!r}"):
            self.folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        with _said(f"cannot train into the folder {str(self.folder)!r}"):
            self._lock = open(self.folder / ".lock", "ab")
        if not _locked(self._lock):
            self._lock.close()
            raise errors.folder_in_use(self.folder)
        for path in self.folder.iterdir():  # of nobody who still writes: the folder is ours
            if LEFT_BEHIND.fullmatch(path.name):
                path.unlink(missing_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.close()  # which unlocks it, as the end of the process does

    def paths(self) -> list[Path]:
        """The checkpoints that there are, the newest first."""
        found = [path for path in self.folder.iterdir() if NAME.fullmatch(path.name)]
        return sorted(found, key=_step_of, reverse=True)

    def newest(self) -> tuple[Path, dict[str, Any]] | None:
        """The last one that can be read; those that cannot are passed over with a warning, unless there is no other."""
        paths = self.paths()
        for path in paths:
            try:
                return path, read(path)
            except UNREADABLE as error:
                warnings.warn(f"{path} cannot be read and is passed over: {error}", stacklevel=2)
        if paths:
            raise errors.none_readable(self.folder)
        return None

    def write(self, step: int, state: dict[str, Any]) -> Path:
        """One more; the oldest beyond `keep` are removed once it is on the disk."""
        path = self.folder / f"step-{step:09d}.npz"
        with _said(f"cannot write {str(path)!r}, that of step {step}"):
            write(path, state)
        # One of a later step could not be read: it must not push out what is written now.
        own = [path for path in self.paths() if _step_of(path) <= step]
        for old in own[self.keep :]:
            old.unlink(missing_ok=True)
        return path


def _step_of(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))


def write(path: Path, state: dict[str, Any]) -> None:
    """A file with `state`: dictionaries, lists and tuples of arrays, numbers, strings and None."""
    arrays: dict[str, Array] = {}
    text = json.dumps({"format": FORMAT, "state": _described(state, "", arrays)})
    arrays[DESCRIPTION] = np.frombuffer(text.encode(), np.uint8)
    with atomic_file(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def read(path: Path) -> dict[str, Any]:
    """The state that `write` was given; some error of `UNREADABLE` if the file is not such a one to the last bit."""
    if not zipfile.is_zipfile(path):
        raise ValueError("it is no .npz file")
    with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
        try:  # all are read, as it is reading that compares checksums
            arrays = {name: np.asarray(file[name]) for name in file.files}
        except ValueError:  # of NumPy, which may give advice about pickles that nobody should follow here
            raise ValueError("it holds what is no array of numbers") from None
    content = json.loads(arrays.pop(DESCRIPTION).tobytes())
    if content["format"] != FORMAT:
        raise ValueError(f"it has format {content['format']}, not {FORMAT}")
    state = _restored(content["state"], arrays)
    if not isinstance(state, dict):
        raise ValueError("it holds no state of a training")
    return state


def is_checkpoint(path: Path) -> bool:
    """Whether the file seems to be one that `write` made; nothing in it is read."""
    try:
        with zipfile.ZipFile(path) as file:
            return f"{DESCRIPTION}.npy" in file.namelist()
    except UNREADABLE:
        return False


@contextmanager
def _said(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise errors.checkpoint_refused(what, error) from error


def check(name: str, state: Any) -> None:
    """Raise unless `write` can write it, so that `read` gives the same."""
    _described(state, name, {})


def _described(value: Any, path: str, arrays: dict[str, Array]) -> Any:
    """The same as JSON, its arrays put aside under the names that stand in their place."""
    if isinstance(value, np.generic):
        value = value.item() if value.dtype.kind in "biufU" else np.asarray(value)
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:  # which NumPy would pickle
            raise _errors.wrong_type(path.lstrip("."), "an array of numbers", f"dtype {value.dtype}")
        name = path.lstrip(".")
        while name in arrays:  # a point may be part of a key
            name += "."
        arrays[name] = value
        return {"array": name}
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise _errors.wrong_type(path.lstrip("."), "a dictionary whose keys are strings", f"keys {list(value)}")
        return {"dict": {key: _described(part, f"{path}.{key}", arrays) for key, part in value.items()}}
    if isinstance(value, (list, tuple)):
        return {type(value).__name__: [_described(part, f"{path}.{i}", arrays) for i, part in enumerate(value)]}
    if value is not None and not isinstance(value, (bool, int, float, str)):
        expected = "arrays, numbers, strings, None, and dictionaries, lists and tuples of them"
        raise _errors.wrong_type(path.lstrip("."), expected, type(value).__name__)
    return value


def _restored(value: Any, arrays: dict[str, Array]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, inside),) = value.items()
    if kind == "array":
        return arrays[inside]
    if kind == "dict":
        return {key: _restored(part, arrays) for key, part in inside.items()}
    return (tuple if kind == "tuple" else list)(_restored(part, arrays) for part in inside)


if sys.platform == "win32":
    import msvcrt

    def _locked(file: IO[bytes]) -> bool:
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def _locked(file: IO[bytes]) -> bool:
        """Whether the folder is ours now. Where the file system has no locks, it is taken to be."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True
