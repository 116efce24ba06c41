"""One direction through time in stretches of steps, of which only the states at the beginning are kept.

The way back computes a stretch once more, keeping everything, and then goes back through it, as `kernels.cpu.stretches`
does. Gradients in parameters are summed up stretch by stretch: those of a whole tape but for roundings.
"""

from math import isqrt
from typing import Any, NamedTuple

from fastgate.kernels.cuda import arrays
from fastgate.kernels.cuda.direction import Backward, Forward


class Stretches(NamedTuple):
    """What `record_states` leaves for `recompute`: states (each (B,H)) before every so many `steps`."""

    weights: Any
    steps: int
    starts: list[list[Any]]

    def arrays(self):
        return [state for start in self.starts for state in start]


def steps_of_stretch(schedule, wanted):
    """`wanted` steps, None for a number that needs little memory."""
    # A step of a stretch takes some 16 numbers for every unit of an LSTM (what the input gives, states and gates, and
    # gradients of these), and the states between stretches 2: sqrt(T / 8) steps would need the least. Four times as
    # many need about twice that, and a quarter of the launches.
    return wanted or max(1, 4 * isqrt(schedule.steps // 8))


def record_states(cell, weights, x, y, direction, start, end, schedule, slices, steps, dropout=None):
    """x (T*B,I)  start of the states (each (B,H)) -> y (T*B,D*H)  end; returns `Stretches`"""
    x, y = _by_steps(schedule, x, y)
    sizes = slices, x.shape[2], start[-1].shape[1], start[0].shape[1], x.dtype
    starts = [[state.copy() for state in start]]  # the tape must not refer to the user's
    for first, last in _stretches(schedule, direction, steps):
        after = [arrays.empty(state.shape, state.dtype) for state in start]
        run = Forward(cell, direction, schedule.piece(first, last), *sizes)
        where = weights, x[first:last], y[first:last], _stacked(starts[-1]), _stacked(after)
        if dropout is None:
            run(*where)
        else:
            run.record(*where, dropout, for_now=True)
        starts.append(after)
    for final, state in zip(end, starts.pop(), strict=True):
        final[...] = state
    return Stretches(weights, steps, starts)


def recompute(
    cell, weights, tape, x, dy, direction, d_end, d_start, dx, schedule, slices, gradients, extras,
    dropout=None,
):  # fmt: skip
    """x (T*B,I)  dy (T*B,D*H)  d_end of the states (each (B,H)) -> dx (T*B,I), added to in the second direction
    d_start  gradients and extras, as `direction.Backward` computes them
    """
    x, dy, dx = _by_steps(schedule, x, dy, dx)
    sizes = slices, x.shape[2], d_end[-1].shape[1], d_end[0].shape[1], x.dtype
    stretches, sums = _stretches(schedule, direction, tape.steps), _Sums(gradients, extras)
    for (first, last), start in reversed(list(zip(stretches, tape.starts, strict=True))):
        own, own_x, own_dy = schedule.piece(first, last), x[first:last], dy[first:last]
        ends = [arrays.empty(state.shape, state.dtype) for state in start]
        again = arrays.scratch("y again", own_dy.shape, dy.dtype)
        states = _stacked(start), _stacked(ends)
        trace = Forward(cell, direction, own, *sizes).record(tape.weights, own_x, again, *states, dropout, for_now=True)
        before = d_start if start is tape.starts[0] else ends
        rows = own_x, own_dy, _stacked(d_end), _stacked(before), dx[first:last]
        Backward(cell, direction, own, *sizes).whole(weights, trace, *rows, *sums.of_stretch(), dropout)
        sums.add()
        d_end = before


class _Sums:
    """Of gradients and extras over stretches, the first of which writes what the others are added to."""

    def __init__(self, gradients, extras):
        self.gradients, self.extras, self.parts = gradients, extras, None

    def of_stretch(self):
        """Where the next stretch writes."""
        return self.parts or (self.gradients, self.extras)

    def add(self):
        if self.parts is None:
            self.parts = self._like(self.gradients), self.extras._make(self._like(self.extras))
            return
        for own, parts in zip((self.gradients, self.extras), self.parts, strict=True):
            for target, part in zip(own, parts, strict=True):
                if target is not None:
                    target += part

    def _like(self, targets):
        return [None if own is None else arrays.empty(own.shape, own.dtype) for own in targets]


def _stretches(schedule, direction, steps):
    """Bounds of time, in the order of computing; of no step at all one stretch."""
    found = [(first, min(schedule.steps, first + steps)) for first in range(0, max(1, schedule.steps), steps)]
    return found[::-1] if direction else found


def _by_steps(schedule, *arrays_of_rows):
    """(T*B,F) each -> (T,B,F)"""
    return [rows.reshape(schedule.steps, schedule.batch, rows.shape[1]) for rows in arrays_of_rows]


def _stacked(states):
    """(B,H) each -> (1,B,H)"""
    return [state.reshape(1, *state.shape) for state in states]
