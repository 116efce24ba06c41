"""One direction of one layer, forward and backward through a stretch of time, on all the workers it is worth.

x, y, dx and dy have the user's rows, on two axes of whatever lengths; `schedule.py` says which of them run when.
"""

from typing import NamedTuple

import numpy as np

from fastgate.kernels import memory
from fastgate.kernels.cpu import team
from fastgate.kernels.cpu.extra_gradients import ExtraGradients
from fastgate.kernels.cpu.features import lanes, padded
from fastgate.kernels.cpu.layout import slice_units
from fastgate.kernels.cpu.recurrent_dropout import Masks
from fastgate.kernels.cpu.sample_gradients import SampleGradients
from fastgate.kernels.cpu.sequences import BACKWARD_FIXED, FORWARD_FIXED
from fastgate.kernels.cpu.turns import NONE, new_turns
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

    It holds scratch memory of the thread that made it, and is for that thread alone. States (each (N,B,H)) are those of
    the whole stack, of which this direction has row `state`.
    """

    def __init__(self, cell, direction, schedule, slices, input_size, H, size, dtype, state=0):
        B, M = schedule.order.size, sum(group_widths(cell, H, dtype, slices))
        columns, Hp = padded(size, dtype), padded(H, dtype)
        self.dtype, self.slices, self.state = dtype, slices, state
        self.masks = Masks(cell, schedule.owners, size, dtype)
        self.none, self.no_state = np.empty((0, H), dtype), np.empty((0, B, H), dtype)
        self.h_kept, self.c_kept = (B + schedule.rows, columns), (B + schedule.rows, Hp)
        self.gates_kept = schedule.rows, cell.gates_kept * H
        self.has_memory, self.keeps_gates = cell.has_memory, cell.gates_kept > 0
        self.h = memory.scratch("h", (2 * B, columns), dtype)
        self.c = memory.scratch("c", (B, Hp), dtype) if cell.has_memory else self.none
        chunk = max(PROJECTED_ROWS, PROJECTED_BYTES // (slices * M * dtype.itemsize))
        where = schedule.user_rows(direction), schedule.order, schedule.lengths
        self.parts = []
        for number, part in enumerate(schedule.parts):
            room = slices * min(part.rows, max(chunk, part.last - part.first))
            x_rows = memory.scratch(("x_rows", number), (room, input_size), dtype)
            a = memory.scratch(("a", number), (room, M), dtype)
            steps = part.active, part.starts, schedule.begins(number, chunk)
            units = slice_units(H, lanes(dtype), slices)
            numbers = direction * size, H, size, part.first, part.last, part.row, units
            self.parts.append((*where, *steps, x_rows, a, self.masks.array, *numbers))
        self.fixed = FORWARD_FIXED.words(self.parts)
        self.kernel = cell.forward

    @property
    def scratch(self):
        return [self.h, self.c, self.masks.array, *(array for part in self.parts for array in part[6:8])]

    def __call__(self, weights, x, y, start, end):
        """x (_,_,I)  states start -> y (_,_,D*H), its columns of this direction, or (0,0,0): not wanted  end"""
        self._run(weights, x, y, start, end, self.h, self.c, self.none, False, False)

    def record(self, weights, x, y, start, end, dropout=None, *, for_now=False):
        """x (_,_,I) -> y (_,_,D*H), and a trace; `for_now` it is valid only until the thread records another one

        dropout: the `RecurrentDropout` of a masked cell.
        """

        def allocate(name, shape):
            return memory.scratch(("trace", name), shape, self.dtype) if for_now else memory.empty(shape, self.dtype)

        h = allocate("h", self.h_kept)
        c = allocate("c", self.c_kept) if self.has_memory else self.none
        gates = allocate("gates", self.gates_kept)
        self._run(weights, x, y, start, end, h, c, gates, True, self.keeps_gates, dropout)
        return Trace(h, c, gates)

    def tangent(self, weights, J, x, y, start, end):
        """Of a `Tangent`'s cell, x, y and states being tangents, and J what its `linearize` made"""
        own = weights._replace(bias=np.zeros_like(weights.bias))
        self._run(own, x, y, start, end, self.h, self.c, J, False, False)

    def _run(self, weights, x, y, start, end, h, c, gates, keep, keep_gates, dropout=None):
        self.masks.draw(dropout)
        states = with_memory(start, end, self.no_state)
        common = x, y, *states, self.state, h, c, gates, *weights, self.fixed
        _run_parts(self.kernel, common, len(self.parts), self.slices, keep, keep_gates)


class Backward:
    """The way back of one direction of one layer made ready for a schedule, like `Forward`."""

    def __init__(self, cell, direction, schedule, slices, input_size, H, size, dtype, state=0):
        B = schedule.order.size
        self.dtype, self.slices, self.state, self.no_state = dtype, slices, state, np.empty((0, B, H), dtype)
        self.da_shape = schedule.rows, len(cell.da_places) * H + (size if cell.is_projected else 0)
        widths = ("dh", size), ("dc", H), ("d_operand", H)
        self.masks = Masks(cell, schedule.owners, size, dtype)
        self.scratch = [memory.scratch(name, (B, padded(width, dtype)), dtype) for name, width in widths]
        self.scratch.append(self.masks.array)
        self.parts = []
        for part in schedule.parts:
            where = schedule.user_rows(direction), schedule.order, part.active, part.starts
            units = slice_units(H, lanes(dtype), slices)
            numbers = direction * size, H, size, part.first, part.last, part.row, units, slices
            self.parts.append((*where, *self.scratch, *numbers))
        self.fixed = BACKWARD_FIXED.words(self.parts)
        self.kernel = cell.backward
        self.gradients = RowGradients(cell, direction, schedule, input_size, H, size, dtype)
        has_extras = cell.is_projected or cell.peephole_gates
        self.extra_gradients = ExtraGradients(cell, schedule, H, size, dtype) if has_extras else None
        self.sample_gradients = SampleGradients(cell, direction, schedule, input_size, H, size, dtype)

    def whole(self, weights, trace, x, dy, d_end, d_start, dx, gradients, extras, dropout=None):
        """x (_,_,I)  dy (_,_,D*H) -> dx (_,_,I)  d_start  gradients: W_ih (G*H,I)  W_hh (G*H,H)  b_ih, b_hh (1,G*H)"""
        sums = Sums(gradients, extras)
        self(weights, trace, x, dy, d_end, d_start, dx, sums, True, dropout)
        sums.finish()

    def __call__(self, weights, trace, x, dy, d_end, d_start, dx, sums, begin, dropout=None):
        """x (_,_,I)  dy (_,_,D*H), its columns of this direction  d_end of the states
        -> dx (_,_,I), added to in the second direction  d_start of the states  sums, from zero with `begin`
        """
        da = self._through_time(weights, trace, dy, d_end, d_start, dropout)
        self.gradients(weights, trace, x, da, dx, sums.arrays, begin)
        if self.extra_gradients:
            self.extra_gradients(trace, da, sums.extras, begin)

    def per_sample(self, weights, trace, x, dy, d_end, d_start, dx, targets, dropout=None):
        """The same, but of each sequence its own sums: `targets` are pairs of gradients and `Extras`."""
        da = self._through_time(weights, trace, dy, d_end, d_start, dropout)
        self.sample_gradients(weights, trace, x, da, dx, targets)

    def _through_time(self, weights, trace, dy, d_end, d_start, dropout):
        self.masks.draw(dropout)
        da = memory.scratch("da", self.da_shape, self.dtype)
        states = with_memory(d_end, d_start, self.no_state)
        common = dy, *states, self.state, trace.h, trace.c, trace.gates, da, weights.W_hh, self.fixed
        _run_parts(self.kernel, common, len(self.parts), self.slices)
        return da


def with_memory(first, second, no_state):
    """Two states, (h, c) or (h), as kernels take them: h and c of the one, then of the other."""
    return (*first, *second) if len(first) == 2 else (first[0], no_state, second[0], no_state)


def _run_parts(kernel, common, parts, slices, *options):
    """Every part by a worker of its own; or one part, by workers that share each step."""
    if parts == slices == 1:
        kernel(*common, 0, NONE, 0, *options)
    else:
        turns = new_turns(slices)
        calls = [(*common, part, turns, worker, *options) for part in range(parts) for worker in range(slices)]
        team.run_kernel(kernel, calls)
