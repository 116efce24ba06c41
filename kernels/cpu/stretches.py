"""One direction through time, forward and back, in one stretch of steps or in many.

A tape that keeps everything has one stretch. A tape that recomputes has only the states at the beginning of each; the
way back computes a stretch once more, this time keeping everything, and then goes back through it: the memory is that
of one stretch and of the states between them (Chen et al. 2016, "Training deep nets with sublinear memory cost").
"""

from math import isqrt
from typing import NamedTuple

import numpy as np

from fastgate.kernels import memory
from fastgate.kernels.cpu import direction as one
from fastgate.kernels.cpu.weight_gradients import add_gradients, sum_for, take_sum


class Stretch(NamedTuple):
    """Steps [first, last) of every sequence. A trace, or the states (each (B,H)) from which to recompute it."""

    first: int
    last: int
    trace: one.Trace | None
    start: tuple[np.ndarray, ...]


class Tape(NamedTuple):
    """What `record` leaves for `backward`; `weights` are those to recompute with."""

    stretches: tuple[Stretch, ...]
    weights: object

    def arrays(self):
        """Those that belong to the tape, for counting their bytes."""
        for stretch in self.stretches:
            yield from stretch.start
            if stretch.trace is not None:
                yield from stretch.trace


def steps_of_stretch(schedule, wanted):
    """`wanted` steps, None for the number that needs the least memory; in whole chunks of the weights' gradients."""
    if wanted is None:
        # A step of a stretch takes 10 numbers for every unit of an LSTM (its states and gates, and the gradients of
        # these), and the states between stretches 2.
        wanted = isqrt(int(schedule.lengths.max(initial=0)) // 5)
    chunk = schedule.steps_of_chunk
    return max(1, -(-wanted // chunk)) * chunk


def record(cell, weights, x, y, direction, start, end, schedule, steps):
    """x (R,I) -> y (R,D*H) -> Tape: `direction.forward`, keeping all, or states at every so many steps (None: all)"""
    if steps is None:
        trace = one.forward(cell, weights, x, y, direction, start, end, schedule, True)
        return Tape((Stretch(0, schedule.steps, trace, ()),), None)
    stretches, start = [], [state.copy() for state in start]  # the tape must not refer to the user's
    for first in range(0, max(1, schedule.lengths.max(initial=0)), steps):
        after = tuple(np.empty_like(state) for state in start)
        stretches.append(Stretch(first, first + steps, None, tuple(start)))
        one.forward(cell, weights, x, y, direction, start, after, schedule.stretch(first, first + steps), False)
        start = after
    for last, state in zip(end, start, strict=True):
        last[...] = state
    return Tape(tuple(stretches), weights)


def backward(cell, weights, tape, x, dy, direction, d_end, d_start, dx, schedule, slices, gradients):
    """dy (R,D*H) -> dx (R,I): `direction.backward` and `add_gradients` through all stretches, the last one first"""
    dtype, (dW_ih, dW_hh, db_ih, db_hh) = dy.dtype, gradients
    W_ih, W_hh = sum_for(dW_ih, "W_ih_sum"), sum_for(dW_hh, "W_hh_sum")
    for stretch in reversed(tape.stretches):
        own, trace = schedule, stretch.trace
        if trace is None:
            own = schedule.stretch(stretch.first, stretch.last)
            ends, no_y = [np.empty_like(state) for state in stretch.start], np.empty((0, 0), dtype)
            trace = one.forward(cell, tape.weights, x, no_y, direction, stretch.start, ends, own, True)
        before = d_start if stretch.first == 0 else [np.empty_like(state) for state in d_start]
        da = memory.scratch("da", (own.rows, len(cell.da_places) * dW_hh.shape[1]), dtype)
        one.backward(cell, weights, trace, dy, direction, d_end, before, da, own, slices)
        sums, is_last = (W_ih, W_hh, db_ih, db_hh), stretch is tape.stretches[-1]
        add_gradients(cell, weights, trace, x, da, direction, own, dx, sums, begin=is_last)
        d_end = before
    take_sum(dW_ih, W_ih)
    take_sum(dW_hh, W_hh)
