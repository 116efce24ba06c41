"""Files of torch.save: read without running anything, and written without PyTorch.

They are ZIP archives of stored members: ``NAME/data.pkl``, a pickle of what was saved, and ``NAME/data/0``, ... with
the entries of tensors. What PyTorch wrote before 1.6 is one bare pickle, or a tar archive, and is refused; so is
TorchScript.
"""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, Literal

import numpy as np

from fastgate import _errors
from fastgate._arrays import Array
from fastgate._atomic import atomic_file
from fastgate.exchange import pickled, stored
from fastgate.exchange.pickled import Storage, StoredTensor
from fastgate.exchange.tensors import Tensor, widen

LONGEST_PICKLE = 2**22  # bytes: some 40,000 tensors
ORDERS: dict[bytes, Literal["<", ">"]] = {b"little": "<", b"big": ">"}
AGAIN = "load it with PyTorch, if you trust it, and save module.state_dict() anew"


def reason_to_refuse(start: bytes) -> str | None:
    """What a file with this start is, if PyTorch wrote it in a way of which nothing is read."""
    if start.startswith(b"\x80"):
        return f"is a bare pickle, as torch.save wrote before PyTorch 1.6, and might run anything; {AGAIN}"
    if start[257:262] == b"ustar":
        return f"is a tar archive, as the oldest PyTorch wrote; {AGAIN}"
    return None


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    """What was saved, with a `Tensor` wherever there was one, which can be read inside the ``with``."""
    with open(path, "rb") as file:
        with _named(path):
            archive = _Archive(path, file)
        yield archive.content


@contextmanager
def _named(path: Any) -> Iterator[None]:
    """Errors get the name of the file."""
    try:
        yield
    except ValueError as error:
        raise _errors.bad_file(path, error) from None


class _Archive:
    def __init__(self, path: Any, file: BinaryIO) -> None:
        self._path, self._file = path, file
        self._members = stored.members_of(file, os.fstat(file.fileno()).st_size)
        pickles = [name for name in self._members if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError("is a ZIP archive, but not one of torch.save: it has no data.pkl")
        self._root = pickles[0].removesuffix("data.pkl")
        if f"{self._root}constants.pkl" in self._members:
            raise ValueError(f"is an archive of TorchScript, which holds programs; {AGAIN}")
        order = self._read("byteorder") if f"{self._root}byteorder" in self._members else b"little"
        if order not in ORDERS:
            raise ValueError(f"is damaged: its byte order is {order[:20]!r}")
        self._order = ORDERS[order]
        self._storages: dict[Storage, Array] = {}
        start = f"{self._root}data/"
        sizes = {name[len(start) :]: own.size for name, own in self._members.items() if name.startswith(start)}
        self.content = pickled.read(self._read("data.pkl", LONGEST_PICKLE), sizes, self._made)

    def _read(self, name: str, longest: int | None = None) -> bytes:
        own = self._members[self._root + name]
        if longest is not None and own.size > longest:
            raise ValueError(f"has a {name} of {own.size} bytes, of which {longest} are allowed")
        return stored.read(self._file, name, own)

    def _made(self, tensor: StoredTensor) -> Tensor:
        return Tensor(tensor.shape, tensor.storage.dtype, lambda: self._tensor(tensor))

    def _tensor(self, tensor: StoredTensor) -> Array:
        """The entries of a tensor, in a C-contiguous array of its own."""
        with _named(self._path):
            entries = self._entries(tensor.storage)[tensor.offset :]
        if 0 in tensor.shape:
            return np.zeros(tensor.shape, entries.dtype)
        # Of an axis of one entry the stride says nothing, and may be anything.
        steps = [0 if size == 1 else step for size, step in zip(tensor.shape, tensor.strides, strict=True)]
        strides = [step * entries.itemsize for step in steps]
        return np.lib.stride_tricks.as_strided(entries, tensor.shape, strides).copy()

    def _entries(self, storage: Storage) -> Array:
        """Of a storage; several tensors may be parts of one."""
        if storage not in self._storages:
            dtype = np.dtype("uint16" if storage.dtype == "bfloat16" else storage.dtype).newbyteorder(self._order)
            entries = np.frombuffer(self._read(f"data/{storage.key}"), dtype)
            self._storages[storage] = widen(entries.astype(dtype.newbyteorder("=")), storage.dtype)
        return self._storages[storage]


# ------------------------------------------------------------------------------------------------------------- writing

EARLIEST = (1980, 1, 1, 0, 0, 0)  # the same content gives the same file


def write(path: str | os.PathLike[str], arrays: Mapping[str, Array]) -> None:
    """A state_dict of float32 or float64 arrays that torch.load reads, also with ``weights_only=True``."""
    with atomic_file(path) as file, zipfile.ZipFile(file, "w") as archive:
        members = {"data.pkl": _pickle(arrays), "byteorder": b"little", "version": b"3\n"}
        for number, array in enumerate(arrays.values()):
            members[f"data/{number}"] = array.astype(array.dtype.newbyteorder("<"), order="C").tobytes()
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(f"archive/{name}", EARLIEST), content)


def _pickle(arrays: Mapping[str, Array]) -> bytes:
    """An OrderedDict of tensors, as instructions for the machine of `pickled` and for that of Python."""
    kinds = {dtype: name for name, dtype in pickled.NAMES.items()}
    dictionary = _global("collections.OrderedDict") + b")R"
    parts = [b"\x80\x02", dictionary, b"("]
    for number, (name, array) in enumerate(arrays.items()):
        kind = _global(kinds[array.dtype.name])
        storage = b"(" + _text("storage") + kind + _text(str(number)) + _text("cpu") + _integer(array.size) + b"tQ"
        steps = tuple(stride // array.itemsize for stride in np.empty(array.shape, array.dtype).strides)
        shape, strides = (b"(" + b"".join(map(_integer, numbers)) + b"t" for numbers in (array.shape, steps))
        arguments = b"(" + storage + _integer(0) + shape + strides + b"\x89" + dictionary + b"t"
        parts += [_text(name), _global("torch._utils._rebuild_tensor_v2"), arguments, b"R"]
    return b"".join([*parts, b"u."])


def _global(name: str) -> bytes:
    module, _, short = name.rpartition(".")
    return f"c{module}\n{short}\n".encode()


def _text(text: str) -> bytes:
    content = text.encode()
    return b"X" + struct.pack("<I", len(content)) + content


def _integer(value: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", value)
