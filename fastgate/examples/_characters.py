"""A text to learn from and two that are held out, from files or from Python's own sources; characters as integers."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fastgate._terminal import UserError
from fastgate.demo import text as texts
from fastgate.demo.text import Codes, Vocabulary

__all__ = ["HELP", "NAMES", "Codes", "Parts", "Vocabulary", "load", "vocabulary_of"]

NAMES = ("train", "valid", "test")
HELP = "a text, of which the last tenth is held out; or a folder with *train.txt, *valid.txt and *test.txt, as that of"
HELP += " Penn Treebank (default: Python's own sources)"


class Parts(NamedTuple):
    """Each a stream of integers; the vocabulary is that of the first."""

    vocabulary: Vocabulary
    training: Codes
    validation: Codes
    test: Codes

    @property
    def uniform_bits(self) -> float:
        """Bits per character of knowing nothing but the vocabulary."""
        return self._baselines().uniform_bits

    @property
    def unigram_bits(self) -> float:
        """Bits per character of the test text, of knowing how frequent each is in the training text."""
        return self._baselines().unigram_bits

    def _baselines(self) -> texts.Data:
        return texts.Data(self.vocabulary, self.training, self.test)


def load(data: Path | None, files: Sequence[Path | None], *, least: int, most: int | None = None) -> Parts:
    """Three files, three files of a folder, or one text in three parts.

    Each has at least so many characters, and to learn from at most so many are taken (for the others a tenth of that).
    """
    if data is not None and data.is_dir():
        files = [_only(data, name) for name in NAMES]
    paths = [path for path in files if path is not None]
    if len(paths) == len(NAMES):
        parts = [texts.read_file(path).text for path in paths]
    elif paths:
        raise UserError("expected --train, --valid and --test together, or --data")
    else:
        text = (texts.read_standard_library() if data is None else texts.read_file(data)).text
        ends = len(text) * 90 // 100, len(text) * 95 // 100
        parts = [text[: ends[0]], text[ends[0] : ends[1]], text[ends[1] :]]
    if most is not None:
        parts = [part[: most // shorter] for part, shorter in zip(parts, (1, 10, 10), strict=True)]
    for name, part in zip(NAMES, parts, strict=True):
        if len(part) < least:
            raise UserError(
                f"the text for {name} is too short: expected at least {least:,} characters, got {len(part):,}"
            )
    vocabulary = vocabulary_of(parts[0])
    return Parts(vocabulary, *(vocabulary.encode(texts.points_of(part)) for part in parts))


def vocabulary_of(text: str) -> Vocabulary:
    return Vocabulary(texts.points_of(text))


def _only(folder: Path, name: str) -> Path:
    found = sorted(folder.glob(f"*{name}.txt"))
    if len(found) != 1:
        raise UserError(f"--data {folder}: expected one file *{name}.txt in this folder, found {len(found)}")
    return found[0]
