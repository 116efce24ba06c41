"""WAV files: samples of any number of channels, as integers of 16, 24 or 32 bits or as floating-point numbers."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fastgate._atomic import atomic_file
from fastgate._options import check_target
from fastgate._terminal import UserError
from fastgate.examples._program import Array

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE  # kinds, as files number them
BITS = {PCM: (16, 24, 32), FLOAT: (32, 64)}
LARGEST = 2**32 - 1  # bytes, which are counted in 32 bits
MOST_CHANNELS = 64
# Of EXTENSIBLE: what follows the number of the kind itself.
GUID = bytes.fromhex("000000001000800000aa00389b71")


class Format(NamedTuple):
    """How samples are stored."""

    kind: int = PCM
    bits: int = 16

    def __str__(self) -> str:
        return f"{self.bits} bits" + ", floating point" * (self.kind == FLOAT)


class Sound(NamedTuple):
    """What a file holds: samples (N,C) from -1 to 1, in float64, which has every one of them exactly."""

    samples: Array
    rate: int  # a second
    format: Format


def read(path: Path) -> Sound:
    """A whole file; a UserError says what is wrong with it."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    if not content:
        raise UserError(f"{path}: expected a WAV file, got an empty one")
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise UserError(f"{path}: expected a WAV file, which begins with RIFF and WAVE, got {content[:12]!r}")
    chunks = _chunks(path, content)
    for name in (b"fmt ", b"data"):
        if name not in chunks:
            raise UserError(f"{path}: is damaged: it has no chunk {name.decode()!r}")
    channels, rate, form = _header(path, chunks[b"fmt "])
    width, data = form.bits // 8, chunks[b"data"]
    if not len(data) or len(data) % (width * channels):
        raise UserError(f"{path}: expected samples of {channels} x {width} bytes, got {len(data):,} bytes")
    samples = _decoded(data, form).reshape(-1, channels)
    if not np.isfinite(samples).all():
        raise UserError(f"{path}: expected finite samples, got some that are infinite or NaN")
    return Sound(samples, rate, form)


def write(path: Path, sound: Sound) -> int:
    """The whole file or none; returns how many samples were too loud for its format, and cut off."""
    data, clipped = _encoded(sound.samples, sound.format)
    channels, width = sound.samples.shape[1], sound.format.bits // 8
    frame = channels * width
    rate, (kind, bits) = sound.rate, sound.format
    header = struct.pack("<4sIHHIIHH", b"fmt ", 16, kind, channels, rate, rate * frame, frame, bits)
    if kind != PCM:  # which says besides how many samples there are
        header = struct.pack("<4sIHHIIHHH", b"fmt ", 18, kind, channels, rate, rate * frame, frame, bits, 0)
        header += struct.pack("<4sII", b"fact", 4, len(sound.samples))
    size = 4 + len(header) + 8 + len(data) + len(data) % 2
    if size > LARGEST:
        raise UserError(f"{path}: {size:,} bytes are too many for a WAV file")
    try:
        with atomic_file(path) as file:
            file.write(struct.pack("<4sI4s", b"RIFF", size, b"WAVE") + header)
            file.write(struct.pack("<4sI", b"data", len(data)) + data + b"\0" * (len(data) % 2))
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None
    return clipped


def check_output(path: Path, source: Path | None) -> None:
    """Before the work: that it can be written, and is another file than the one that is read."""
    check_target("--output", path)
    if source is not None and path.exists() and os.path.samefile(path, source):
        raise UserError(f"--output {path}: expected another file than --input, which would be lost")


def _chunks(path: Path, content: bytes) -> dict[bytes, memoryview]:
    """The first one of each name."""
    found: dict[bytes, memoryview] = {}
    at, view = 12, memoryview(content)
    while at + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, at)
        if size > len(content) - at - 8:
            raise UserError(f"{path}: is damaged: it ends {size - (len(content) - at - 8):,} bytes too early")
        found.setdefault(name, view[at + 8 : at + 8 + size])
        at += 8 + size + size % 2
    return found


def _header(path: Path, header: memoryview) -> tuple[int, int, Format]:
    """Channels, rate, format."""
    if len(header) < 16:
        raise UserError(f"{path}: is damaged: its description has {len(header)} bytes, expected 16")
    kind, channels, rate, _, frame, bits = struct.unpack_from("<HHIIHH", header)
    if kind == EXTENSIBLE and len(header) >= 40 and header[26:40] == GUID:
        (kind,) = struct.unpack_from("<H", header, 24)
    if bits not in BITS.get(kind, ()):
        expected = "16, 24 or 32 bits (PCM) or 32 or 64 bits (floating point)"
        raise UserError(f"{path}: expected samples of {expected}, got format {kind} with {bits} bits")
    if not 1 <= channels <= MOST_CHANNELS or not rate or frame != channels * bits // 8:
        sizes = f"{channels} channels, {rate} samples a second, {frame} bytes for all channels"
        raise UserError(f"{path}: is damaged: it has {sizes}")
    return channels, rate, Format(kind, bits)


def _decoded(data: memoryview, form: Format) -> Array:
    if form.kind == FLOAT:
        return np.frombuffer(data, f"<f{form.bits // 8}").astype(np.float64)
    if form.bits == 24:  # the upper three bytes of four
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        return wide.view("<i4")[:, 0] / 2.0**31
    return np.frombuffer(data, f"<i{form.bits // 8}") / 2.0 ** (form.bits - 1)


def _encoded(samples: Array, form: Format) -> tuple[bytes, int]:
    if form.kind == FLOAT:
        return samples.astype(f"<f{form.bits // 8}").tobytes(), 0
    unit = 2.0 ** (form.bits - 1)
    rounded = np.rint(samples * unit)
    clipped = int(np.count_nonzero((rounded < -unit) | (rounded > unit - 1)))
    whole = np.clip(rounded, -unit, unit - 1).astype("<i4" if form.bits > 16 else "<i2")
    if form.bits == 24:
        whole = np.ascontiguousarray(whole)[..., None].view(np.uint8)[..., :3]
    return whole.tobytes(), clipped
