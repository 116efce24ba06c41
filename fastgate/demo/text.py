"""The demo's text: read from a file, or from Python's own sources, and turned into integers."""

import codecs
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fastgate._arrays import Array
from fastgate._terminal import UserError

Codes = npt.NDArray[np.int64]

MOST_BYTES = 20_000_000  # of a file
STANDARD_LIBRARY_BYTES = 1_500_000
MOST_SYMBOLS = 200
HELD_OUT = 20  # one part in so many
MOST_HELD_OUT = 50_000  # characters: some seconds of evaluation, one after the other
UNKNOWN = "\N{REPLACEMENT CHARACTER}"


class Corpus(NamedTuple):
    name: str
    text: str
    is_cut: bool  # there was more


def read_file(path: Path) -> Corpus:
    """UTF-8, or Latin-1 where it is not."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    is_cut, data = len(data) > MOST_BYTES, data[:MOST_BYTES]
    if b"\0" in data:
        raise UserError(f"{path} is not a text file: it holds NUL bytes (expected UTF-8 or Latin-1)")
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(data, final=not is_cut)
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    if not text:
        raise UserError(f"{path} is empty")
    return Corpus(path.name, text.replace("\r\n", "\n"), is_cut)


def read_standard_library() -> Corpus:
    """Modules of Python's standard library in the order of their names, as many as fit."""
    folder = Path(sysconfig.get_path("stdlib"))
    parts, total = [], 0
    for path in sorted(folder.glob("*.py")):
        try:
            part = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        parts.append(part)
        total += len(part)
        if total >= STANDARD_LIBRARY_BYTES:
            break
    text = "".join(parts)[:STANDARD_LIBRARY_BYTES]
    if not text:
        raise UserError(f"no Python sources in {folder}: choose a text of your own")
    return Corpus(f"the first {len(parts)} modules of Python's standard library", text, False)


def points_of(text: str) -> npt.NDArray[np.uint32]:
    """The number of each character in Unicode."""
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


class Vocabulary:
    """The most frequent characters of a text; all others are one symbol, UNKNOWN, the last."""

    def __init__(self, points: npt.NDArray[np.uint32]) -> None:
        found, counts = np.unique(points, return_counts=True)
        frequent = found[np.argsort(-counts, kind="stable")[: MOST_SYMBOLS - 1]]
        self._points = np.sort(frequent)
        self.characters = [chr(point) for point in self._points] + [UNKNOWN]
        self.unknown = len(self._points)

    def __len__(self) -> int:
        return len(self.characters)

    def encode(self, points: npt.NDArray[np.uint32]) -> Codes:
        at = np.searchsorted(self._points, points)
        known = self._points[np.minimum(at, self.unknown - 1)] == points
        return np.where(known, at, self.unknown)


class Data(NamedTuple):
    vocabulary: Vocabulary
    training: Codes
    held_out: Codes

    @property
    def uniform_bits(self) -> float:
        """Bits per character of knowing nothing but the vocabulary."""
        return float(np.log2(len(self.vocabulary)))

    @property
    def unigram_bits(self) -> float:
        """Bits per character, on the held-out text, of knowing how frequent each is in the training text."""
        counts = np.bincount(self.training, minlength=len(self.vocabulary)) + 1.0
        return float(-np.log2(counts / counts.sum())[self.held_out].mean())


def prepare(corpus: Corpus, batch: int, seq_len: int) -> Data:
    """The end of the text is held out; the vocabulary is that of the rest."""
    points = points_of(corpus.text)
    held_out = min(len(points) // HELD_OUT, MOST_HELD_OUT)
    training = points[: len(points) - held_out]
    needed = batch * (seq_len + 1)
    if len(training) < needed or held_out < 2:
        raise UserError(
            f"the text is too short: {len(points):,} characters, of which 1 in {HELD_OUT} is held out; with --batch"
            f" {batch} and --seq-len {seq_len} training needs at least {max(needed, 2 * HELD_OUT):,}"
        )
    vocabulary = Vocabulary(training)
    return Data(vocabulary, vocabulary.encode(training), vocabulary.encode(points[len(training) :]))


def batches(training: Codes, batch: int, seq_len: int) -> Iterator[tuple[bool, Array, Array]]:
    """Without end: (is the start of a pass, input (B,T), the next characters (B,T)).

    The text is cut into `batch` streams side by side, so that each batch continues the one before.
    """
    length = len(training) // batch
    streams = training[: length * batch].reshape(batch, length)
    while True:
        for at in range(0, length - seq_len, seq_len):
            yield at == 0, streams[:, at : at + seq_len], streams[:, at + 1 : at + seq_len + 1]
