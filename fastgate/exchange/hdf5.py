"""The part of HDF5 that Keras writes, read in Python: no library is handed a file that somebody else made.

Groups of the first layout (h5py's default in all its versions), datasets that lie in one piece, texts as attributes.
All else that HDF5 knows is refused by name: links to other places and files, data in other files, chunks, compression.
No byte is read twice as data, and of what is no data there is a limit, so that no file can say more than it is long.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from typing import BinaryIO, Literal, NamedTuple

import numpy as np

from fastgate._arrays import Array

MAGIC = b"\x89HDF\r\n\x1a\n"
MOST = 2**24  # bytes of everything but data: some 10,000 layers
DEEPEST = 64  # groups within groups
LONGEST_NAME = 255
NOWHERE = 2**64 - 1  # the address of what was never written
DATASPACE, DATATYPE, EXTERNAL, LAYOUT, ATTRIBUTE, CONTINUATION, GROUP = 1, 3, 7, 8, 12, 16, 17
NEWER = {2, 6}  # messages of groups of a later layout
STRING, TEXT_ELSEWHERE = 3, 9
SHARED = 2
# Size, and where sign, exponent and mantissa are: IEEE's formats.
FLOATS = {
    struct.pack("<2H4BI", 0, 16, 10, 5, 0, 10, 15): "float16",
    struct.pack("<2H4BI", 0, 32, 23, 8, 0, 23, 127): "float32",
    struct.pack("<2H4BI", 0, 64, 52, 11, 0, 52, 1023): "float64",
}


class Part(NamedTuple):
    """Bytes of a file that are a file of HDF5."""

    file: BinaryIO
    start: int
    size: int

    def read(self, at: int, count: int) -> bytes:
        if at + count > self.size:
            raise ValueError("is damaged: it refers to what lies beyond its end")
        self.file.seek(self.start + at)
        content = self.file.read(count)
        if len(content) != count:
            raise ValueError("is damaged: it is cut off")
        return content


@dataclass(frozen=True)
class Dataset:
    """An array that is known, and not read yet."""

    shape: tuple[int, ...]
    dtype: str  # float16, float32, float64, or what else it is
    part: Part
    at: int
    order: Literal["<", ">"]

    def read(self) -> Array:
        kind = np.dtype(self.dtype)
        content = self.part.read(self.at, prod(self.shape) * kind.itemsize)
        return np.frombuffer(content, kind.newbyteorder(self.order)).astype(kind).reshape(self.shape)


@dataclass
class Group:
    """Names, in the order of the file, and what they are of; attributes are read when they are asked for."""

    members: dict[str, Group | Dataset] = field(default_factory=dict)
    attributes: dict[str, list[str]] = field(default_factory=dict)

    def find(self, path: str) -> Group | Dataset | None:
        found: Group | Dataset | None = self
        for name in filter(None, path.split("/")):
            found = found.members.get(name) if isinstance(found, Group) else None
        return found

    def group(self, path: str) -> Group:
        """Of this path; an empty one if there is none."""
        found = self.find(path)
        return found if isinstance(found, Group) else Group()


def read(part: Part) -> Group:
    """What is in a file; a ValueError that says what is wrong with it."""
    try:
        return _Reader(part).root()
    except (struct.error, IndexError):
        raise ValueError("is damaged: its structure is cut off") from None
    except UnicodeDecodeError:
        raise ValueError("is damaged: a name or text in it is no text") from None


class _Reader:
    def __init__(self, part: Part) -> None:
        self._part, self._left, self._data = part, MOST, part.size
        self._seen: set[int] = set()
        self._heaps: dict[int, dict[int, tuple[int, int]]] = {}

    def root(self) -> Group:
        start = self._read(0, min(96, self._part.size))
        if not start.startswith(MAGIC):
            raise ValueError("is no file of HDF5")
        if start[8] != 0:
            raise ValueError(f"is a file of HDF5 in its layout {start[8]}: expected layout 0, which Keras writes")
        base, header = struct.unpack_from("<Q", start, 24)[0], struct.unpack_from("<Q", start, 64)[0]
        if start[13:15] != b"\x08\x08" or base:
            raise ValueError("is damaged: its first bytes are not as Keras writes them")
        found = self._object(header, "", 0)
        if not isinstance(found, Group):
            raise ValueError("is damaged: it is no group")
        return found

    def _read(self, at: int, count: int) -> bytes:
        """What is no data."""
        self._left -= count
        if self._left < 0:
            raise ValueError(f"holds more than {MOST} bytes beside its arrays")
        return self._part.read(at, count)

    def _once(self, at: int, magic: bytes, count: int) -> bytes:
        """The start of something that only one other refers to."""
        if at in self._seen:
            raise ValueError("is damaged: two parts of it are one, or it goes round in a circle")
        self._seen.add(at)
        content = self._read(at, count)
        if not content.startswith(magic):
            raise ValueError(f"is damaged: there is no {magic.decode() or 'header'} where it says")
        return content

    def _object(self, at: int, path: str, depth: int) -> Group | Dataset:
        messages = list(self._messages(at))
        kinds = {kind for kind, _ in messages}
        if GROUP in kinds:
            if depth > DEEPEST:
                raise ValueError(f"has groups that are nested more than {DEEPEST} deep")
            tree, heap = struct.unpack("<2Q", next(body for kind, body in messages if kind == GROUP)[:16])
            group = Group()
            for kind, body in messages:
                if kind == ATTRIBUTE:
                    name, texts = self._attribute(body)
                    group.attributes[name] = texts
            (names,) = struct.unpack_from("<Q", self._once(heap, b"HEAP", 32), 24)
            for offset, header in self._links(tree, path):
                name = self._name(names + offset)
                own = f"{path}/{name}" if path else name
                if name in group.members:
                    raise ValueError(f"is damaged: it has two members {own!r}")
                group.members[name] = self._object(header, own, depth + 1)
            return group
        if NEWER & kinds:
            raise ValueError(f"is damaged, or {path or 'its root'!r} is a group in a layout that Keras does not write")
        return self._dataset(dict(messages), path)

    def _messages(self, at: int) -> Iterator[tuple[int, bytes]]:
        """Kind and content of all of an object's."""
        version, _, count, _, size = struct.unpack("<2BHLL", self._once(at, b"", 12))
        if version != 1:
            raise ValueError("is damaged, or written in a layout of HDF5 that Keras does not write")
        blocks = [(at + 16, size)]
        while blocks:
            start, size = blocks.pop(0)
            block = self._once(start, b"", size)
            place = 0
            while place + 8 <= size and count:
                kind, length, flags = struct.unpack_from("<2HB", block, place)
                body, place, count = block[place + 8 : place + 8 + length], place + 8 + length, count - 1
                if kind and flags & SHARED:
                    raise ValueError("is damaged, or shares types between its arrays, as Keras does not")
                if kind == CONTINUATION:
                    blocks.append(struct.unpack("<2Q", body[:16]))
                elif kind:
                    yield kind, body

    def _links(self, at: int, path: str) -> Iterator[tuple[int, int]]:
        """Where each name is, and the object of that name."""
        waiting = [at]
        while waiting:
            node = waiting.pop(0)
            kind, level, count = struct.unpack_from("<2BH", self._once(node, b"TREE", 8), 4)
            if kind:
                raise ValueError("is damaged: a group's list of names is one of chunks")
            content = self._read(node + 24, 16 * count)
            children = [struct.unpack_from("<Q", content, 16 * number + 8)[0] for number in range(count)]
            if level:
                waiting += children
                continue
            for child in children:
                (links,) = struct.unpack_from("<H", self._once(child, b"SNOD", 8), 6)
                for name, header, kind, _ in struct.iter_unpack("<2Q2L16x", self._read(child + 8, 40 * links)):
                    if kind == 2 or header == NOWHERE:
                        raise ValueError(f"has a link in {path or 'its root'!r} to another place, as Keras writes none")
                    yield name, header

    def _name(self, at: int) -> str:
        content, end, _ = self._read(at, min(LONGEST_NAME + 1, max(self._part.size - at, 0))).partition(b"\0")
        if not end or not content or b"/" in content:
            raise ValueError(f"is damaged: a name in it is not one of at most {LONGEST_NAME} bytes")
        return content.decode()

    def _dataset(self, messages: dict[int, bytes], path: str) -> Dataset:
        if not {DATASPACE, DATATYPE, LAYOUT} <= messages.keys():
            raise ValueError(f"is damaged: {path!r} is neither a group nor an array")
        shape, (dtype, order, size) = _shape(messages[DATASPACE], path), _kind(messages[DATATYPE])
        layout = messages[LAYOUT]
        if EXTERNAL in messages:
            raise ValueError(f"has an array {path!r} whose data are in another file, as Keras writes none")
        if layout[0] != 3 or layout[1] != 1:
            how = {0: "beside its name", 2: "in chunks, or compressed", 3: "in other arrays"}.get(layout[1], "oddly")
            raise ValueError(f"has an array {path!r} whose data lie {how}, as Keras writes none")
        at, length = struct.unpack_from("<2Q", layout, 2)
        if length != prod(shape) * size or (length and at + length > self._part.size):
            raise ValueError(f"is damaged: its array {path!r} of shape {shape} is longer or shorter than its data")
        self._data -= length
        if self._data < 0:
            raise ValueError("is damaged: its arrays overlap")
        return Dataset(shape, dtype, self._part, at if length else 0, order)

    def _attribute(self, body: bytes) -> tuple[str, list[str]]:
        """Name, and texts; nothing of what is no text."""
        version, _, name, kind, space = struct.unpack_from("<2B3H", body)
        if version not in (1, 2, 3):
            raise ValueError("is damaged: an attribute of it is of a kind that Keras does not write")
        starts, at = [], 9 if version == 3 else 8
        for length in (name, kind, space):
            starts.append(at)
            at += length if version > 1 else -(-length // 8) * 8
        own = body[starts[0] : starts[0] + name].split(b"\0")[0].decode()
        text, size = body[starts[1]], struct.unpack_from("<L", body, starts[1] + 4)[0]
        count, data = prod(_shape(body[starts[2] : starts[2] + space], own)), body[at:]
        if text & 15 not in (STRING, TEXT_ELSEWHERE) or not size or count * size > len(data):
            return own, []
        pieces = [data[place : place + size] for place in range(0, count * size, size)]
        if text & 15 == TEXT_ELSEWHERE:
            pieces = [self._elsewhere(*struct.unpack("<LQL", piece[:16])) for piece in pieces]
        return own, [piece.split(b"\0")[0].decode() for piece in pieces]

    def _elsewhere(self, length: int, at: int, number: int) -> bytes:
        """A text that lies in a heap."""
        if at not in self._heaps:
            start = self._once(at, b"GCOL", 16)
            end, found, place = at + struct.unpack_from("<Q", start, 8)[0], dict[int, tuple[int, int]](), at + 16
            while place + 16 <= end:
                index, _, size = struct.unpack("<2H4xQ", self._read(place, 16))
                if not index:
                    break
                found[index] = place + 16, size
                place += 16 + -(-size // 8) * 8
            self._heaps[at] = found
        place, size = self._heaps[at].get(number, (0, 0))
        if length > size:
            raise ValueError("is damaged: a text in it is longer than what is stored")
        return self._read(place, length)


def _shape(body: bytes, path: str) -> tuple[int, ...]:
    version, rank, flags, kind = struct.unpack_from("<4B", body)
    if version not in (1, 2) or rank > 8 or (version == 2 and kind > 1) or flags > 1:
        raise ValueError(f"is damaged: {path!r} has no shape that Keras writes")
    return struct.unpack_from(f"<{rank}Q", body, 8 if version == 1 else 4)


def _kind(body: bytes) -> tuple[str, Literal["<", ">"], int]:
    """Dtype, byte order and bytes of an entry."""
    size: int = struct.unpack_from("<L", body, 4)[0]
    name = FLOATS.get(body[8:20], "")
    if body[0] & 15 != 1 or body[1] & ~0x21 or not name or np.dtype(name).itemsize != size:
        kinds = {0: "integers", 1: "other floating-point numbers", 3: "strings", 5: "bytes", 8: "booleans"}
        return kinds.get(body[0] & 15, "other values"), "<", size
    return name, ">" if body[1] & 1 else "<", size
