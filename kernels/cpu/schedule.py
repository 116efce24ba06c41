"""Which rows of a batch run at which step, and where each lies in memory.

Sequences are sorted by falling length (their place is the *rank*) and the ranks cut into parts, one per worker. The
rows of a part lie one after the other, step by step, each step with the ranks still running: dense and time-major, with
no padding, so kernels know neither lengths, masks nor directions. A reverse direction runs each sequence from its own
last element.
"""

from functools import cached_property, lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from fastgate.kernels.cpu.gradients import CHUNK
from fastgate.kernels.jit import jit


class Part(NamedTuple):
    """One worker's share."""

    first: int  # its ranks: [first, last)
    last: int
    row: int  # its first row
    rows: int
    active: np.ndarray  # (T,) ranks running at each step
    starts: np.ndarray  # (T+1,) the part's rows before each step


class Schedule:
    """The rows of `lengths` (B,) sequences inside a user's array of B x T rows, cut into at most `parts` parts.

    A sequence has its first steps, or those at its `times` (P,), one sequence's after the other's and each in order: a
    mask is that. Only steps [start, stop) of each sequence, in the direction it is run; all of them by default.

    The user's sequences may be cut into several, which are sequences of their own here: `owners` (B,), rising, says
    which of the user's each is a part of. Of every one there is at least one part.
    """

    def __init__(self, lengths, T, batch_first, parts, start=0, stop=None, times=None, owners=None):
        self.order = np.argsort(-lengths, kind="stable")  # rank -> sequence
        self._owners, self.owners = owners, self.order if owners is None else owners[self.order]  # rank -> the user's
        self.batch = lengths.size if owners is None else int(owners[-1]) + 1  # the user's sequences
        self.whole_lengths = lengths[self.order]
        self.start, self.stop = start, T if stop is None else stop
        self.lengths = np.clip(self.whole_lengths - start, 0, self.stop - start)
        self.batch_first, self.steps = batch_first, T
        self.times, self._first_times = times, None if times is None else np.cumsum(lengths) - lengths
        self.recurs = False  # whether the same object may come again
        self.batch_stride, self.time_stride = (T, 1) if batch_first else (1, self.batch)
        self.rows = int(self.lengths.sum())
        self.is_ragged = self.rows < lengths.size * (self.stop - start)
        self.parts, self._begins = [], {}
        row = 0
        for first, last in _cut(self.lengths, parts):
            own = self.lengths[first:last]
            active = np.searchsorted(-own, -np.arange(own.max(initial=0)), side="left").astype(np.int64)
            starts = np.concatenate([[0], np.cumsum(active)])
            self.parts.append(Part(first, last, row, int(own.sum()), active, starts))
            row += self.parts[-1].rows

    def stretches(self, direction, steps):
        """For every so many steps their own schedule, and at which row of the user's arrays its rows begin.

        Ranks and rows are each schedule's own; the order of ranks is the same. Sequences of equal length, the usual
        case, have equal stretches: they share one schedule.
        """
        longest = int(self.lengths.max(initial=0))
        equal, parts = not self.is_ragged, len(self.parts)
        lengths, whole = np.empty_like(self.whole_lengths), None
        lengths[self.order] = self.whole_lengths
        for first in range(0, max(1, longest), steps):
            last = min(first + steps, longest)
            if not equal:
                yield Schedule(lengths, self.steps, self.batch_first, parts, first, last, self.times, self._owners), 0
                continue
            if whole is None or last - first < steps:
                whole = Schedule(np.full_like(lengths, last - first), self.steps, self.batch_first, parts)
            yield whole, (longest - last if direction else first) * self.time_stride

    @cached_property
    def _places(self):
        """(P,) the rank of each row, and its time since `start`."""
        ranks, times = [], []
        for part in self.parts:
            times.append(np.repeat(np.arange(part.active.size), part.active))
            ranks.append(np.arange(part.rows) - np.repeat(part.starts[:-1], part.active) + part.first)
        return _joined(ranks), _joined(times)

    def _row(self, rank, time):
        """The row of a rank at a step."""
        row = np.empty(rank.shape, np.int64)
        for part in self.parts:
            mine = (rank >= part.first) & (rank < part.last)
            row[mine] = part.row + part.starts[time[mine]] + rank[mine] - part.first
        return row

    def user_rows(self, direction):
        """(P,) the user's row that each row reads and writes, in direction 0 (forward) or 1 (reverse)."""
        return self._reverse if direction else self._forward

    @cached_property
    def _forward(self):
        return self._rows_at(self.start + self._places[1])

    @cached_property
    def _reverse(self):
        rank, time = self._places
        return self._rows_at(self.whole_lengths[rank] - 1 - self.start - time)

    def _rows_at(self, step):
        """(P,) the user's rows, of each row's sequence that of its own step."""
        rank = self._places[0]
        time = step if self.times is None else self.times[self._first_times[self.order[rank]] + step]
        return self.owners[rank] * self.batch_stride + time * self.time_stride

    @cached_property
    def canonical(self):
        """(P,) rows in an order that does not depend on the parts: by step, then by rank."""
        return np.arange(self.rows) if len(self.parts) == 1 else np.lexsort(self._places)

    def canonical_user_rows(self, direction):
        """(P,) the user's rows in the same order."""
        return self._canonical_reverse if direction else self._canonical_forward

    @cached_property
    def _canonical_forward(self):
        return self._forward[self.canonical]

    @cached_property
    def _canonical_reverse(self):
        return self._reverse[self.canonical]

    @cached_property
    def canonical_before(self):
        """(P,) the state before each row of `canonical`."""
        rank, time = (place[self.canonical] for place in self._places)
        before = rank.copy()
        later = time > 0
        before[later] = self.order.size + self._row(rank[later], time[later] - 1)
        return before

    @cached_property
    def before(self):
        """(P,) the state before each row, in the rows' own order."""
        found = np.empty(self.rows, np.int64)
        found[self.canonical] = self.canonical_before
        return found

    @cached_property
    def rows_of_owners(self):
        """Of each of the user's sequences its rows, step after step, those of its parts side by side."""
        owners = self.owners[self._places[0][self.canonical]]
        ends = np.cumsum(np.bincount(owners, minlength=self.batch))
        return np.split(self.canonical[np.argsort(owners, kind="stable")], ends[:-1])

    @cached_property
    def chunks(self):
        """(n+1,) where `canonical` is cut for sums over rows: at steps that do not depend on `start` and `stop`."""
        active = sum(_lengthened(part.active, self.lengths.max(initial=0)) for part in self.parts)
        starts = np.concatenate([[0], np.cumsum(active, dtype=np.int64)])
        cuts = np.append(starts[: -1 : self.steps_of_chunk], starts[-1])
        within = [np.arange(first, last, CHUNK) for first, last in pairwise(cuts)]
        return np.append(_joined(within), cuts[-1])

    def begins(self, number, rows):
        """(T,) where each step's group begins: steps of a part grouped to at most `rows` rows, or one step alone"""
        found = self._begins.get((number, rows))
        if found is None:
            part = self.parts[number]
            found = np.empty(part.active.size, np.int64)
            _group_steps(part.starts, rows, found)
            self._begins[number, rows] = found  # only now: other threads may have this schedule too
        return found

    @property
    def steps_of_chunk(self):
        return max(1, CHUNK // max(1, self.order.size))


LARGEST_CACHED = 1 << 16  # rows; making a larger schedule takes far less time than running it


def uniform_schedule(B, T, batch_first, parts):
    """The schedule of a batch in which every sequence has T steps; small ones are kept."""
    make = _cached_schedule if B * T <= LARGEST_CACHED else _new_schedule
    return make(B, T, batch_first, parts)


def _new_schedule(B, T, batch_first, parts):
    return Schedule(np.full(B, T, np.int64), T, batch_first, parts)


@lru_cache(maxsize=16)
def _cached_schedule(B, T, batch_first, parts):
    schedule = _new_schedule(B, T, batch_first, parts)
    schedule.recurs = True
    return schedule


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


def _lengthened(array, size):
    return np.pad(array, (0, size - array.size))


def _joined(arrays):
    return np.concatenate(arrays) if arrays else np.empty(0, np.int64)


@jit
def _group_steps(starts, rows, begins):
    begin = 0
    for step in range(begins.size):
        if starts[step + 1] - starts[begin] > rows:
            begin = step
        begins[step] = begin
