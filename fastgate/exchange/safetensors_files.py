"""Tensors in safetensors files of anybody, of 16 bits too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fastgate import _errors, _files, _safetensors
from fastgate._arrays import Array
from fastgate.exchange.tensors import Tensor, Tensors, widen

DTYPES = {"F16": "float16", "BF16": "bfloat16"} | _safetensors.DTYPES


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Tensors]:
    """All tensors of a file, which can be read inside the ``with``."""
    with _safetensors.opened(path) as contents:
        if _files.KEY in contents.metadata:
            raise _errors.bad_file(
                path, "is one of fastgate.save, with all options of its layers: fastgate.load reads it"
            )
        yield {name: _tensor(path, contents, name) for name in contents.shapes}


def _tensor(path: Any, contents: _safetensors.Contents, name: str) -> Tensor:
    kind, shape = contents.dtypes[name], contents.shapes[name]
    dtype = DTYPES.get(kind, kind)

    def read() -> Array:
        if dtype != "bfloat16":
            return widen(contents.read(name), dtype)
        header = _safetensors.read_header(Path(path))  # NumPy has no such dtype, and so the library reads none
        start, end = _safetensors.strict_json(header.decode())[name]["data_offsets"]
        with open(path, "rb") as file:
            file.seek(8 + len(header) + start)
            return widen(np.frombuffer(file.read(end - start), "<u2").reshape(shape), dtype)

    return Tensor(shape, dtype, read)
