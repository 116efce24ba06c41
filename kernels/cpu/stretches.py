"""One direction through time in many stretches of steps, of which only the states at the beginning are kept.

The way back computes a stretch once more, this time keeping everything, and then goes back through it: the memory is
that of one stretch and of the states between them (Chen et al. 2016, "Training deep nets with sublinear memory cost").
"""

from functools import partial
from math import isqrt
from typing import NamedTuple

import numpy as np

from fastgate.kernels import memory
from fastgate.kernels.cpu.direction import Backward, Forward
from fastgate.kernels.cpu.weight_gradients import Sums


class Stretches(NamedTuple):
    """What `record_states` leaves for `recompute`: states (each (B,H)) before every so many `steps`."""

    weights: object
    steps: int
    starts: list[tuple[np.ndarray, ...]]

    def arrays(self):
        return [state for start in self.starts for state in start]


def steps_of_stretch(schedule, wanted):
    """`wanted` steps, None for a number that needs little memory; in whole chunks of the weights' gradients."""
    if wanted is None:
        # A step of a stretch takes 10 numbers for every unit of an LSTM (its states and gates, and the gradients of
        # these), and the states between stretches 2: sqrt(T / 5) steps would need the least. Four times as many need
        # about twice that, and a quarter of the stretches, each of which takes some time to begin.
        wanted = 4 * isqrt(int(schedule.lengths.max(initial=0)) // 5)
    chunk = schedule.steps_of_chunk
    return max(1, -(-wanted // chunk)) * chunk


def record_states(cell, weights, x, y, direction, start, end, schedule, slices, steps, dropout=None):
    """x (R,I)  start of the states (each (B,H)) -> y (R,D*H)  end; returns `Stretches`"""
    sizes = x.shape[1], start[-1].shape[1], start[0].shape[1], x.dtype
    ready = _Ready(Forward, cell, direction, slices, *sizes)
    starts = [tuple(state.copy() for state in start)]  # the tape must not refer to the user's
    for own, row in schedule.stretches(direction, steps):
        after = tuple(memory.empty(state.shape, state.dtype) for state in start)
        run = ready(own) if dropout is None else partial(ready(own).record, dropout=dropout, for_now=True)
        run(weights, x[None, row:], y[None, row:], _stacked(starts[-1]), _stacked(after))
        starts.append(after)
    for last, state in zip(end, starts.pop(), strict=True):
        last[...] = state
    return Stretches(weights, steps, starts)


def recompute(
    cell, weights, tape, x, dy, direction, d_end, d_start, dx, schedule, slices, gradients, extras,
    dropout=None,
):  # fmt: skip
    """x (R,I)  dy (R,D*H)  d_end of the states (each (B,H)) -> dx (R,I), added to in the second direction  d_start
    gradients and extras, as `direction.Backward` computes them
    """
    sizes, sums = (x.shape[1], d_end[-1].shape[1], d_end[0].shape[1], x.dtype), Sums(gradients, extras)
    forward, backward = (_Ready(kind, cell, direction, slices, *sizes) for kind in (Forward, Backward))
    no_y, is_last = np.empty((0, 0, 0), x.dtype), True
    pieces = zip(schedule.stretches(direction, tape.steps), tape.starts, strict=True)
    for (own, row), start in reversed(list(pieces)):
        ends = [memory.empty(state.shape, state.dtype) for state in start]
        states = _stacked(start), _stacked(ends)
        trace = forward(own).record(tape.weights, x[None, row:], no_y, *states, dropout, for_now=True)
        before = d_start if start is tape.starts[0] else ends
        rows = x[None, row:], dy[None, row:], _stacked(d_end), _stacked(before), dx[None, row:]
        backward(own)(weights, trace, *rows, sums, is_last, dropout)
        d_end, is_last = before, False
    sums.finish()


def _stacked(states):
    """(B,H) each -> (1,B,H)"""
    return [state[None] for state in states]


class _Ready:
    """What runs a schedule, made once for stretches in a row that share it."""

    def __init__(self, kind, cell, direction, slices, *sizes):
        self.make = lambda schedule: kind(cell, direction, schedule, slices, *sizes)
        self.schedule = self.found = None

    def __call__(self, schedule):
        if schedule is not self.schedule:
            self.schedule, self.found = schedule, self.make(schedule)
        return self.found
