"""One direction of one layer, forward and backward through a stretch of time, on all the workers it is worth.

x, y, dx and dy have the user's rows; `schedule.py` says which of them run when.
"""

from functools import partial
from typing import NamedTuple

import numpy as np

from fastgate.kernels import memory
from fastgate.kernels.cpu import team
from fastgate.kernels.cpu.features import lanes, padded
from fastgate.kernels.cpu.layout import slice_units
from fastgate.kernels.cpu.turns import new_turns

PROJECTED_BYTES = 1 << 18  # gates computed from the input ahead of the recurrence: they should stay in the cache
PROJECTED_ROWS = 24  # fewer would read the input's weights too often


class Trace(NamedTuple):
    """What forward leaves for backward: states (B+P,Hp) and gates (P,gates*H), each empty if the cell has none."""

    h: np.ndarray
    c: np.ndarray
    gates: np.ndarray


def forward(cell, weights, x, y, direction, start, end, schedule, keep):
    """x (R,I)  states start (each (B,H)) -> y (R,D*H), its columns of this direction  states end; a Trace if keep"""
    dtype, (B, H), (slices, M) = x.dtype, start[0].shape, weights.bias.shape
    Hp, rows, none = padded(H, dtype), schedule.rows, np.empty((0, H), dtype)
    if keep:
        h = memory.empty((B + rows, Hp), dtype)
        c = memory.empty((B + rows, Hp), dtype) if cell.has_memory else none
        gates = memory.empty((rows, cell.gates_kept * H), dtype)
    else:
        h = memory.scratch("h", (2 * B, Hp), dtype)
        c = memory.scratch("c", (B, Hp), dtype) if cell.has_memory else none
        gates = none
    chunk = max(PROJECTED_ROWS, PROJECTED_BYTES // (slices * M * dtype.itemsize))
    turns = new_turns(slices)

    def tasks(number, part):
        room = slices * min(part.rows, max(chunk, part.last - part.first))
        arguments = (
            x, y, direction * H, H, schedule.user_rows(direction), schedule.order, schedule.lengths,
            *_pair(start, none), *_pair(end, none), h, c, gates,
            memory.scratch(("x_rows", number), (room, x.shape[1]), dtype),
            memory.scratch(("a", number), (room, M), dtype),
            *weights, part.active, part.starts, schedule.begins(number, chunk), part.first, part.last, part.row,
            keep, keep and cell.gates_kept > 0, slice_units(H, lanes(dtype), slices),
        )  # fmt: skip
        return [partial(cell.forward, *arguments, worker, turns) for worker in range(slices)]

    team.run([task for numbered in enumerate(schedule.parts) for task in tasks(*numbered)])
    return Trace(h, c, gates) if keep else None


def backward(cell, weights, trace, dy, direction, d_end, d_start, da, schedule, slices):
    """dy (R,D*H), its columns of this direction  d_end of the states (each (B,H)) -> da (P,N)  d_start of the states"""
    dtype, (B, H) = dy.dtype, d_end[0].shape
    Hp, none = padded(H, dtype), np.empty((0, H), dtype)
    turns = new_turns(slices)
    arguments = (
        dy, direction * H, schedule.user_rows(direction), schedule.order, *_pair(d_end, none), *_pair(d_start, none),
        memory.scratch("dh", (B, Hp), dtype),
        memory.scratch("dc", (B, Hp), dtype),
        memory.scratch("d_reset", (B, Hp), dtype),
        trace.gates, trace.h, trace.c, da, weights.W_hh,
    )  # fmt: skip

    def task(part, worker):
        where = part.active, part.starts, part.first, part.last, part.row, slice_units(H, lanes(dtype), slices)
        return partial(cell.backward, *arguments, *where, slices, worker, turns)

    team.run([task(part, worker) for part in schedule.parts for worker in range(slices)])


def _pair(states, none):
    """h, and c or what stands for it where there is none."""
    return states if len(states) == 2 else (states[0], none)
