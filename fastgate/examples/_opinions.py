"""Texts that are for or against something, from files or made by rule; and words as integers."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fastgate._terminal import UserError
from fastgate.demo.text import read_file

Codes = npt.NDArray[np.int64]

MADE = 2000  # where there are no files
ENDINGS = (".neg", ".pos")
HELP = "a folder with a file *.neg and a file *.pos, one text on each line (default: opinions made by rule)"
# The rule: after "but" and before "although" comes what decides, and "not" turns it round. No count of words tells.
THINGS = ("plot", "acting", "music", "ending", "dialogue", "camera work", "pace", "humour")
GOOD = ("good", "clever", "moving", "fresh", "funny", "gripping")
BAD = ("bad", "dull", "stale", "silly", "clumsy", "tedious")
VERY = ("", "really ", "very ", "quite ")


class Opinions(NamedTuple):
    """Words separated by blanks; 1 for, 0 against."""

    texts: list[str]
    labels: Codes

    def take(self, rows: Codes) -> "Opinions":
        return Opinions([self.texts[row] for row in rows], self.labels[rows])


class Split(NamedTuple):
    """In no order; a tenth each is held out, to know when to stop and to test."""

    training: Opinions
    validation: Opinions
    test: Opinions


def load(folder: Path | None, seed: int) -> Split:
    """From the folder, or made by rule."""
    return split(make(MADE, seed) if folder is None else read(folder), seed)


def read(folder: Path) -> Opinions:
    """Against, then for; empty lines are no texts."""
    texts: list[str] = []
    counts: list[int] = []
    for ending in ENDINGS:
        paths = sorted(folder.glob(f"*{ending}"))
        if len(paths) != 1:
            raise UserError(f"--data {folder}: expected a folder with one file *{ending}, found {len(paths)}")
        found = [line for line in read_file(paths[0]).text.lower().split("\n") if line.strip()]
        if len(found) < 10:
            raise UserError(f"{paths[0]} is too short: expected at least 10 lines, got {len(found)}")
        texts += found
        counts.append(len(found))
    return Opinions(texts, np.repeat([0, 1], counts))


def make(count: int, seed: int) -> Opinions:
    """Opinions of one or two clauses."""
    rng = np.random.default_rng(seed)
    texts, labels = [], rng.integers(0, 2, count)
    for label in labels:
        deciding, other = _clause(rng, bool(label)), _clause(rng, rng.random() < 0.5)
        forms = (deciding, f"{other} , but {deciding}", f"{deciding} , although {other}")
        texts.append(forms[rng.integers(3)])
    return Opinions(texts, labels)


def _clause(rng: np.random.Generator, is_good: bool) -> str:
    turned = rng.random() < 0.4
    thing, very, quality = (rng.choice(words) for words in (THINGS, VERY, GOOD if is_good != turned else BAD))
    return f"the {thing} is {'not ' if turned else ''}{very}{quality}"


def split(opinions: Opinions, seed: int) -> Split:
    order = np.random.default_rng(seed).permutation(len(opinions.texts))
    tenth = len(order) // 10
    parts = (order[2 * tenth :], order[:tenth], order[tenth : 2 * tenth])
    return Split(*(opinions.take(rows) for rows in parts))


class Vocabulary:
    """The most frequent words of some texts, the first of which is 1; 0 stands for all others."""

    def __init__(self, texts: Iterable[str], most: int) -> None:
        counts = Counter(word for text in texts for word in text.split())
        self._codes = {word: code for code, (word, _) in enumerate(counts.most_common(most - 1), 1)}

    def __len__(self) -> int:
        return 1 + len(self._codes)

    def encode(self, text: str) -> Codes:
        """One integer for each word."""
        return np.array([self._codes.get(word, 0) for word in text.split()], np.int64)
