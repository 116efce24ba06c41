"""The rows of each batch that one of several processes computes."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from fastgate._arrays import Array
from fastgate.training.batches import Samples, Source
from fastgate.training.layout import Batch


def share_of(rows: slice, rank: int, size: int) -> slice:
    """Nearly equal parts of so many rows, in the order of the ranks; of a small batch some are empty."""
    count = rows.stop - rows.start
    return slice(rows.start + count * rank // size, rows.start + count * (rank + 1) // size)


class Shared:
    """A source of batches, of which only the rows of one process are taken.

    `seen` is a checksum of the batches that were taken in this epoch, of their shapes and beginnings. What is read row
    by row has none: of that `description` has a checksum.
    """

    def __init__(self, source: Source, rank: int, size: int, *, time_first: bool) -> None:
        self._source, self._axis = source, int(time_first)
        self._share = partial(share_of, rank=rank, size=size)
        self.can_resume, self.description = source.can_resume, source.description
        self.seen = 0

    @property
    def steps(self) -> int | None:
        return self._source.steps

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        source, self.seen = self._source, 0
        if isinstance(source, Samples) and source.is_regular:  # what others compute is not even read
            for rows, batch in source.shares(number, start, self._share):
                yield batch._replace(part=_part(rows, self._share(rows)))
        else:  # a list is padded to the longest of the whole batch
            yield from map(self._cut, source.epoch(number, start))

    def _cut(self, batch: Batch) -> Batch:
        first = batch.x[0] if isinstance(batch.x, tuple) else batch.x
        rows = slice(0, np.shape(first)[self._axis])
        self.seen = zlib.crc32(
            np.asarray(first)[:1, :8].tobytes(), zlib.crc32(repr(np.shape(first)).encode(), self.seen)
        )
        own = self._share(rows)
        kept = {"x": cut(batch.x, own, self._axis), "carries": batch.carries, "part": _part(rows, own)}
        return Batch(**{name: cut(value, own) for name, value in batch._asdict().items() if name not in kept}, **kept)


def _part(rows: slice, own: slice) -> tuple[int, int, int]:
    return own.start - rows.start, own.stop - own.start, rows.stop - rows.start


def cut(part: Any, rows: slice, axis: int = 0) -> Any:
    """Some rows of an array, or of each of several, where there is one."""
    if part is None:
        return None
    if isinstance(part, (tuple, list)):
        return type(part)(cut(own, rows, axis) for own in part)
    array: Array = part
    return array[rows] if axis == 0 else array[:, rows]


def joined(states: list[Any]) -> Any:
    """The final states of several shares as one: arrays (layers, rows, units), in tuples."""
    known = [state for state in states if state is not None]
    if not known:
        return None
    if isinstance(known[0], (tuple, list)):
        return type(known[0])(joined(list(parts)) for parts in zip(*known, strict=True))
    return np.concatenate(known, axis=1)
