"""Which steps of a batch run, and the segments into which resets cut its sequences.

Nothing goes from one segment of a sequence to the next, so that for the kernels each is a sequence of its own, with a
state of its own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastgate import _errors
from fastgate._arrays import Array
from fastgate._masks import Mask, as_mask, within


class Segments(NamedTuple):
    """Where the states (N,B,H) of a user's sequences are among those of S segments, (N,S,H).

    The forward direction begins with a sequence's first segment and ends with its last one, the reverse direction runs
    them the other way round.
    """

    total: int  # S
    first: Array  # (B,) each sequence's first segment
    last: Array  # (B,)
    is_reset: Mask  # (B,) before its first step: the forward direction does not know the user's state

    def start(self, states: list[Array], directions: int) -> list[Array]:
        """(N,B,H) each -> (N,S,H), zeros where a segment does not begin with a user's state"""
        found = self._spread(states, directions, self.first, self.last)
        for own in found:
            own[::directions, self.first[self.is_reset]] = 0
        return found

    def end(self, states: list[Array], directions: int) -> list[Array]:
        """(N,S,H) each -> (N,B,H)"""
        return self._picked(states, directions, self.last, self.first)

    def end_gradient(self, states: list[Array], directions: int) -> list[Array]:
        """(N,B,H) each -> (N,S,H), what `end` is on the way back"""
        return self._spread(states, directions, self.last, self.first)

    def start_gradient(self, states: list[Array], directions: int) -> list[Array]:
        """(N,S,H) each -> (N,B,H), what `start` is on the way back"""
        found = self._picked(states, directions, self.first, self.last)
        for own in found:
            own[::directions, self.is_reset] = 0
        return found

    def _spread(self, states: list[Array], directions: int, *places: Array) -> list[Array]:
        found = [np.zeros((part.shape[0], self.total, part.shape[2]), part.dtype) for part in states]
        for direction, place in zip(range(directions), places, strict=False):
            for own, part in zip(found, states, strict=True):
                own[direction::directions, place] = part[direction::directions]
        return found

    def _picked(self, states: list[Array], directions: int, *places: Array) -> list[Array]:
        found = [np.empty((part.shape[0], self.first.size, part.shape[2]), part.dtype) for part in states]
        for direction, place in zip(range(directions), places, strict=False):
            for own, part in zip(found, states, strict=True):
                own[direction::directions] = part[direction::directions, place]
        return found


class Steps(NamedTuple):
    """Which run, of B sequences or of the segments of them; all None where every sequence has all its steps."""

    counts: Array | None = None  # (B,) or (S,)
    times: Array | None = None  # one sequence's after the other's; None: its first ones
    valid: Mask | None = None  # the same as a mask, laid out as the user's
    owners: Array | None = None  # (S,) whose segments they are
    segments: Segments | None = None


def read_steps(lengths: Any, mask: Any, reset: Any, x: Array, batch_first: bool) -> Steps:
    """What the user says of the steps of x."""
    leading, steps = x.shape[:-1], _read_valid(lengths, mask, x, batch_first)
    if reset is None:
        return steps
    own = as_mask(reset, leading, axes=_axes(leading, batch_first), name="reset")
    if lengths is not None and steps.valid is not None:
        own = own & steps.valid  # beyond the lengths nothing is read
    return _cut(_by_sequence(own, batch_first), steps, batch_first) if own.any() else steps


def _read_valid(lengths: Any, mask: Any, x: Array, batch_first: bool) -> Steps:
    leading = x.shape[:-1]
    if mask is None:
        if lengths is None:
            return Steps()
        if len(leading) == 1:
            raise _errors.wrong_shape("x", "of 3 dimensions beside lengths", x.shape)
        counts, valid = within(lengths, leading, batch_first)
        return Steps() if valid.all() else Steps(counts, None, valid)
    if lengths is not None:
        raise _errors.unwanted("mask", "None beside lengths", mask)
    valid = as_mask(mask, leading, axes=_axes(leading, batch_first))
    if valid.all():
        return Steps()
    by_sequence = _by_sequence(valid, batch_first)
    return Steps(by_sequence.sum(axis=1, dtype=np.int64), by_sequence.nonzero()[1], valid)


def _cut(reset: Mask, steps: Steps, batch_first: bool) -> Steps:
    """The segments of sequences that are cut before the steps where reset (B,T) is True; somewhere it is."""
    begins = np.array(reset, order="C")
    begins[:, 0] = True
    segment = (begins.cumsum() - 1).reshape(begins.shape)  # of each step
    owners, _ = begins.nonzero()
    segments = Segments(owners.size, segment[:, 0], segment[:, -1], reset[:, 0])
    if owners.size == len(reset):  # all resets are at the beginning
        return steps._replace(segments=segments)
    valid = np.ones(reset.shape, bool) if steps.valid is None else _by_sequence(steps.valid, batch_first)
    counts = np.bincount(segment[valid], minlength=owners.size)
    return Steps(counts, valid.nonzero()[1], steps.valid, owners, segments)


def _by_sequence(steps: Mask, batch_first: bool) -> Mask:
    """(B,T), (T,B) or unbatched (T,) -> (B,T)"""
    if steps.ndim == 1:
        return steps[None]
    return steps if batch_first else steps.T


def _axes(leading: tuple[int, ...], batch_first: bool) -> str:
    if len(leading) == 1:
        return "(time)"
    return "(batch, time)" if batch_first else "(time, batch)"
