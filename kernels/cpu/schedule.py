"""Which rows of a batch run at which step, and where each lies in memory.

Sequences are sorted by falling length (their place is the *rank*) and the ranks cut into parts, one per worker. The
rows of a part lie one after the other, step by step, each step with the ranks still running: dense and time-major, with
no padding, so kernels know neither lengths nor directions. A reverse direction runs each sequence from its own last
element.
"""

from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np


class Part(NamedTuple):
    """One worker's share."""

    first: int  # its first rank
    ranks: int
    row: int  # its first row
    rows: int
    active: np.ndarray  # (T,) ranks running at each step


class Schedule:
    """The rows of `lengths` (B,) sequences inside a user's array of B x T rows, cut into at most `parts` parts."""

    def __init__(self, lengths, T, batch_first, parts):
        B = lengths.size
        self.order = np.argsort(-lengths, kind="stable")  # rank -> the user's sequence
        self.lengths = lengths[self.order]
        self.batch_stride, self.time_stride = (T, 1) if batch_first else (1, B)
        self.rows = int(self.lengths.sum())
        self.is_ragged = self.rows < B * T
        self.batch_first, self.steps = batch_first, T
        self.parts = []
        ranks, times, rows = [], [], []
        row = 0
        for first, last in _cut(self.lengths, parts):
            own = self.lengths[first:last]
            steps = np.arange(own.max(initial=0))
            active = np.searchsorted(-own, -steps, side="left").astype(np.int64)
            part = Part(first, last - first, row, int(own.sum()), active)
            self.parts.append(part)
            starts = np.cumsum(active) - active
            times.append(np.repeat(steps, active))
            ranks.append(np.arange(part.rows) - np.repeat(starts, active) + first)
            rows.append((row, starts))
            row += part.rows
        self._rank = _joined(ranks)  # of each row
        self._time = _joined(times)
        self._starts = rows

    def _row(self, rank, time):
        """The row of a rank at a step."""
        row = np.empty(rank.shape, np.int64)
        for part, (first_row, starts) in zip(self.parts, self._starts, strict=True):
            mine = (rank >= part.first) & (rank < part.first + part.ranks)
            row[mine] = first_row + starts[time[mine]] + rank[mine] - part.first
        return row

    def user_rows(self, direction):
        """(P,) the user's row that each row reads and writes, in direction 0 (forward) or 1 (reverse)."""
        return self._reverse if direction else self._forward

    @cached_property
    def _forward(self):
        return self.order[self._rank] * self.batch_stride + self._time * self.time_stride

    @cached_property
    def _reverse(self):
        time = self.lengths[self._rank] - 1 - self._time
        return self.order[self._rank] * self.batch_stride + time * self.time_stride

    @cached_property
    def canonical(self):
        """(P,) rows in an order that does not depend on the parts: by step, then by rank."""
        return np.lexsort((self._rank, self._time))

    @cached_property
    def canonical_before(self):
        """(P,) the state before each row of `canonical`."""
        rank, time = self._rank[self.canonical], self._time[self.canonical]
        before = rank.copy()
        later = time > 0
        before[later] = self.order.size + self._row(rank[later], time[later] - 1)
        return before

    @cached_property
    def final(self):
        """(B,) the state after the last step of each of the user's sequences."""
        rank = np.arange(self.order.size)
        state = rank.copy()
        some = self.lengths > 0
        state[some] = self.order.size + self._row(rank[some], self.lengths[some] - 1)
        by_sequence = np.empty_like(state)
        by_sequence[self.order] = state
        return by_sequence

    @cached_property
    def final_of_two(self):
        """(B,) the same where states go to and fro between rows [0, B) and [B, 2B)."""
        return self.rank_of + self.lengths[self.rank_of] % 2 * self.order.size

    @cached_property
    def rank_of(self):
        """(B,) the rank of each of the user's sequences."""
        rank = np.empty_like(self.order)
        rank[self.order] = np.arange(self.order.size)
        return rank


LARGEST_CACHED = 1 << 16  # rows; making a larger schedule takes far less time than running it


def uniform_schedule(B, T, batch_first, parts):
    """The schedule of a batch in which every sequence has T steps; small ones are kept."""
    make = _cached_schedule if B * T <= LARGEST_CACHED else _new_schedule
    return make(B, T, batch_first, parts)


def _new_schedule(B, T, batch_first, parts):
    return Schedule(np.full(B, T, np.int64), T, batch_first, parts)


_cached_schedule = lru_cache(maxsize=16)(_new_schedule)


def _cut(lengths, parts):
    """Ranks cut where each part has about the same number of rows; every part has at least one rank."""
    B = lengths.size
    parts = max(1, min(parts, B))
    done = np.cumsum(lengths)
    cuts = [0]
    for i in range(1, parts):
        middle = int(np.searchsorted(done, done[-1] * i / parts)) + 1
        cuts.append(min(max(middle, cuts[-1] + 1), B - parts + i))
    return [(a, b) for a, b in zip(cuts, [*cuts[1:], B], strict=True)]


def _joined(arrays):
    return np.concatenate(arrays) if arrays else np.empty(0, np.int64)
