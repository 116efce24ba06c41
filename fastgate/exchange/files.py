"""Files that somebody else wrote: what they are, before any of them is read."""

import os
from pathlib import Path

from fastgate import _errors


def read_start(path: str | os.PathLike[str], count: int = 512) -> bytes:
    """The first bytes of an ordinary file."""
    path = Path(path)
    if not path.exists():
        raise _errors.no_file(path)
    if not path.is_file():  # a pipe would wait for ever
        raise _errors.no_ordinary_file(path)
    with open(path, "rb") as file:
        return file.read(count)
