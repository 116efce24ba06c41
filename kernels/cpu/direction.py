"""One direction of one layer, forward and backward through a stretch of time, on all the workers it is worth.

x, y, dx and dy have the user's rows; `schedule.py` says which of them run when.
"""

from typing import NamedTuple

import numpy as np

from fastgate.kernels import memory
from fastgate.kernels.cpu import team
from fastgate.kernels.cpu.features import lanes, padded
from fastgate.kernels.cpu.layout import slice_units
from fastgate.kernels.cpu.turns import new_turns
from fastgate.kernels.cpu.weight_gradients import RowGradients, Sums
from fastgate.kernels.cpu.weights import group_widths

PROJECTED_BYTES = 1 << 18  # gates computed from the input ahead of the recurrence: they should stay in the cache
PROJECTED_ROWS = 24  # fewer would read the input's weights too often


class Trace(NamedTuple):
    """What forward leaves for backward: states (B+P,Hp) and gates (P,gates*H), each empty if the cell has none."""

    h: np.ndarray
    c: np.ndarray
    gates: np.ndarray

    def arrays(self):
        return self


class Forward:
    """One direction of one layer made ready for a schedule: what does not change from call to call is found once.

    It holds scratch memory of the thread that made it, and is for that thread alone.
    """

    def __init__(self, cell, direction, schedule, slices, input_size, H, dtype):
        B, M, Hp = schedule.order.size, sum(group_widths(cell, H, dtype, slices)), padded(H, dtype)
        self.dtype, self.none, self.slices = dtype, np.empty((0, H), dtype), slices
        self.kept = B + schedule.rows, Hp
        self.gates_kept = schedule.rows, cell.gates_kept * H
        self.has_memory, self.keeps_gates = cell.has_memory, cell.gates_kept > 0
        self.h = memory.scratch("h", (2 * B, Hp), dtype)
        self.c = memory.scratch("c", (B, Hp), dtype) if cell.has_memory else self.none
        chunk = max(PROJECTED_ROWS, PROJECTED_BYTES // (slices * M * dtype.itemsize))
        self.where = direction * H, H, schedule.user_rows(direction), schedule.order, schedule.lengths
        self.parts = []
        for number, part in enumerate(schedule.parts):
            room = slices * min(part.rows, max(chunk, part.last - part.first))
            x_rows = memory.scratch(("x_rows", number), (room, input_size), dtype)
            a = memory.scratch(("a", number), (room, M), dtype)
            steps = part.active, part.starts, schedule.begins(number, chunk), part.first, part.last, part.row
            self.parts.append((x_rows, a, (*steps, slice_units(H, lanes(dtype), slices))))
        self.kernel = cell.forward

    @property
    def scratch(self):
        return [self.h, self.c, *(array for x_rows, a, _ in self.parts for array in (x_rows, a))]

    def __call__(self, weights, x, y, start, end):
        """x (R,I)  states start (each (B,H)) -> y (R,D*H), its columns of this direction, or (0,0): not wanted  end"""
        self._run(weights, x, y, start, end, self.h, self.c, self.none, False, False)

    def record(self, weights, x, y, start, end, *, for_now=False):
        """x (R,I) -> y (R,D*H), and a trace; `for_now` it is valid only until the thread records another such one"""

        def allocate(name, shape):
            return memory.scratch(("trace", name), shape, self.dtype) if for_now else memory.empty(shape, self.dtype)

        h = allocate("h", self.kept)
        c = allocate("c", self.kept) if self.has_memory else self.none
        gates = allocate("gates", self.gates_kept)
        self._run(weights, x, y, start, end, h, c, gates, True, self.keeps_gates)
        return Trace(h, c, gates)

    def _run(self, weights, x, y, start, end, h, c, gates, keep, keep_gates):
        states = (*start, *end) if len(start) == 2 else (start[0], self.none, end[0], self.none)
        common, turns = (x, y, *self.where, *states, h, c, gates, keep, keep_gates), new_turns(self.slices)
        tasks = [
            (*common, x_rows, a, *weights, *steps, turns, worker)
            for x_rows, a, steps in self.parts
            for worker in range(self.slices)
        ]
        team.run_kernel(self.kernel, tasks)


class Backward:
    """The way back of one direction of one layer made ready for a schedule, like `Forward`."""

    def __init__(self, cell, direction, schedule, slices, input_size, H, dtype):
        self.dtype, self.none, self.slices = dtype, np.empty((0, H), dtype), slices
        self.da_shape = schedule.rows, len(cell.da_places) * H
        state = (schedule.order.size, padded(H, dtype))
        self.where = direction * H, schedule.user_rows(direction), schedule.order
        self.scratch = [memory.scratch(name, state, dtype) for name in ("dh", "dc", "d_reset")]
        units = slice_units(H, lanes(dtype), slices)
        self.parts = [
            (part.active, part.starts, part.first, part.last, part.row, units, slices) for part in schedule.parts
        ]
        self.kernel = cell.backward
        self.gradients = RowGradients(cell, direction, schedule, input_size, H, dtype)

    def whole(self, weights, trace, x, dy, d_end, d_start, dx, gradients):
        """x (R,I)  dy (R,D*H) -> dx (R,I)  d_start  gradients: W_ih (G*H,I)  W_hh (G*H,H)  b_ih, b_hh (G*H)"""
        sums = Sums(gradients)
        self(weights, trace, x, dy, d_end, d_start, dx, sums.arrays, True)
        sums.finish()

    def __call__(self, weights, trace, x, dy, d_end, d_start, dx, sums, begin):
        """x (R,I)  dy (R,D*H), its columns of this direction  d_end of the states (each (B,H))
        -> dx (R,I), added to in the second direction  d_start of the states  sums as `RowGradients`
        """
        da = memory.scratch("da", self.da_shape, self.dtype)
        states = (*d_end, *d_start) if len(d_end) == 2 else (d_end[0], self.none, d_start[0], self.none)
        common = dy, *self.where, *states, *self.scratch, trace.gates, trace.h, trace.c, da, weights.W_hh
        turns = new_turns(self.slices)
        team.run_kernel(
            self.kernel, [(*common, *part, turns, worker) for part in self.parts for worker in range(self.slices)]
        )  # fmt: skip
        self.gradients(weights, trace, x, da, dx, sums, begin)
