"""ZIP archives whose members are stored as they are: nothing else that the format allows is read.

Nothing is unpacked, so that no file can say more than it is long; members may not overlap; checksums are compared.
"""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO, NamedTuple

END, END_64, LOCATOR_64 = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q"), struct.Struct("<4sLQL")
ENTRY, LOCAL = struct.Struct("<4s6H3L5H2L"), struct.Struct("<4s5H3L2H")
WIDE = 0xFFFFFFFF  # a size that stands in the extra field, in 64 bits
LONGEST_DIRECTORY = 2**22  # bytes: some 40,000 members
ENCRYPTED = 1
PIECE = 2**20  # bytes at once


class Member(NamedTuple):
    """Where a member's bytes lie in the file."""

    start: int
    size: int
    checksum: int
    is_stored: bool  # not compressed nor encrypted


def members_of(file: BinaryIO, size: int) -> dict[str, Member]:
    """Name -> member of the archive that a file of so many bytes is; a ValueError that says what is wrong with it."""
    try:
        start, length = _directory(file, size)
        file.seek(start)
        entries = _entries(file.read(length))
        found = {name: _located(file, own, offset) for name, (own, offset) in entries.items()}
    except (struct.error, UnicodeDecodeError):
        raise ValueError("is damaged: its directory is cut off") from None
    end = 0
    for member in sorted(found.values()):
        if member.start < end:
            raise ValueError("is damaged: its members overlap")
        end = member.start + member.size
    if end > start:
        raise ValueError("is damaged: its members overlap the directory")
    return found


def read(file: BinaryIO, name: str, member: Member) -> bytes:
    if not member.is_stored:
        raise ValueError(f"is damaged: {_packed(name)}")
    file.seek(member.start)
    content = file.read(member.size)
    if len(content) != member.size or zlib.crc32(content) != member.checksum:
        raise ValueError(f"is damaged: the checksum of its member {name!r} is wrong")
    return content


def located(file: BinaryIO, name: str, member: Member) -> tuple[int, int]:
    """Where the bytes of a member lie that is not to be read at once; they have been compared with its checksum."""
    if not member.is_stored:
        raise ValueError(f"is damaged: {_packed(name)}")
    checksum, left = 0, member.size
    file.seek(member.start)
    while left and (piece := file.read(min(left, PIECE))):
        checksum, left = zlib.crc32(piece, checksum), left - len(piece)
    if left or checksum != member.checksum:
        raise ValueError(f"is damaged: the checksum of its member {name!r} is wrong")
    return member.start, member.size


def _packed(name: str) -> str:
    return f"its member {name!r} is compressed or encrypted, as neither PyTorch nor Keras writes any"


def _directory(file: BinaryIO, size: int) -> tuple[int, int]:
    """Where the list of members begins, and its length."""
    file.seek(max(0, size - END.size))
    magic, _, _, _, _, length, start, comment = END.unpack(file.read(END.size))
    if magic != b"PK\5\6" or comment:
        raise ValueError("is damaged: it does not end as a ZIP archive does")
    if size >= END.size + LOCATOR_64.size:
        file.seek(size - END.size - LOCATOR_64.size)
        magic, _, at, _ = LOCATOR_64.unpack(file.read(LOCATOR_64.size))
        if magic == b"PK\6\7" and at < size:
            file.seek(at)
            magic, *_, length, start = END_64.unpack(file.read(END_64.size))
            if magic != b"PK\6\6":
                raise ValueError("is damaged: its directory is not where it says")
    if length > LONGEST_DIRECTORY:
        raise ValueError(f"is damaged: its directory takes {length} bytes, of which {LONGEST_DIRECTORY} are allowed")
    if start + length > size:
        raise ValueError("is damaged: its directory is not where it says")
    return start, length


def _entries(directory: bytes) -> dict[str, tuple[Member, int]]:
    """Name -> member, not yet located, and where its own header is."""
    found: dict[str, tuple[Member, int]] = {}
    at = 0
    while at < len(directory):
        entry = ENTRY.unpack_from(directory, at)
        magic, _, _, flags, method, _, _, checksum, packed, size, *lengths = entry[:13]
        offset = entry[-1]
        if magic != b"PK\1\2":
            raise ValueError("is damaged: its directory is damaged")
        at += ENTRY.size
        name = directory[at : at + lengths[0]].decode()
        extra = directory[at + lengths[0] : at + lengths[0] + lengths[1]]
        at += sum(lengths)
        size, packed, offset = _wide(extra, (size, packed, offset))
        if name in found:
            raise ValueError(f"is damaged: it has two members {name!r}")
        is_stored = not method and not flags & ENCRYPTED and packed == size
        found[name] = Member(0, packed, checksum, is_stored), offset
    return found


def _wide(extra: bytes, sizes: tuple[int, int, int]) -> tuple[int, ...]:
    """The sizes, those that 32 bits do not hold from the field for 64."""
    at = 0
    while WIDE in sizes and at < len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            wide = iter(struct.unpack_from(f"<{sizes.count(WIDE)}Q", extra, at + 4))
            return tuple(next(wide) if size == WIDE else size for size in sizes)
        at += 4 + length
    return sizes


def _located(file: BinaryIO, member: Member, offset: int) -> Member:
    """With the place of its bytes, which only its own header tells."""
    file.seek(min(offset, 2**62))
    magic, *_, name, extra = LOCAL.unpack(file.read(LOCAL.size))
    if magic != b"PK\3\4":
        raise ValueError("is damaged: its members are not where it says")
    return member._replace(start=offset + LOCAL.size + name + extra)
