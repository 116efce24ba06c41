"""Forward-mode derivatives: the tangent of a run is the run of another cell, a linear one.

Its input, states and products with W_ih and W_hh are those of the cell, of tangents instead of values; where the cell
has its equations, it multiplies by their Jacobian, which the tape of the run determines (`jacobian.py`) and which it
reads where other cells keep their gates. What tangents of the weights add to the pre-activations is known of every row
beforehand, too: it stands behind the Jacobian, in the order of the cell's `da_places`, and behind that what they add to
a projection. So the driver is that of all cells.
"""

from typing import Any, NamedTuple

import numpy as np

from fastgate.kernels import memory
from fastgate.kernels.cpu import jacobian, team
from fastgate.kernels.cpu.layout import gate_columns
from fastgate.kernels.cpu.linear_steps import make_linear_step, make_linear_step_in_two
from fastgate.kernels.cpu.sequences import make_forward


class Tangent(NamedTuple):
    """What makes the tangents of a cell's runs."""

    cell: Any  # a `Cell` for `Forward` alone
    original: Any
    jacobian: Any  # a kernel of `jacobian.py`
    columns: int  # of J, of H units each

    def linearize(self, trace, schedule, H, size, peepholes):
        """The tape of a run  peepholes (K,H) or None -> J (P,_), valid until the thread asks for another one"""
        width = self.columns * H
        behind = len(self.original.da_places) * H + (size if self.original.is_projected else 0)
        shape = schedule.rows, width + behind
        J = memory.scratch("jacobian", shape, trace.h.dtype)
        J[:, width:] = 0
        if peepholes is None:
            peepholes = np.empty((0, H), J.dtype)
        common = trace.h, trace.c, trace.gates, peepholes, schedule.before
        team.run_kernel(self.jacobian, [(*common, part.row, part.row + part.rows, J) for part in schedule.parts])
        return J

    def add_weights(self, J, trace, schedule, x_rows, W_ih, W_hh, b_ih, b_hh, extras):
        """x_rows (P,I)  tangents of W_ih (G*H,I), W_hh (G*H,size), b_ih, b_hh (G*H) and `Extras` -> J += theirs"""
        cell, H = self.original, len(b_hh) // len(self.original.recurrent_gates)
        h_rows = trace.h[schedule.before, : W_hh.shape[1]]
        ends = H * np.arange(self.columns, self.columns + len(cell.da_places) + 1)
        *added, projected = np.split(J, ends, axis=1)[1:]  # views
        for place, a in zip(cell.da_places, added, strict=True):
            if place.input_gate >= 0:
                rows = gate_columns((place.input_gate,), H)
                a += x_rows @ W_ih[rows].T + b_ih[rows]
            if place.recurrent_gate >= 0:
                rows, at = gate_columns((place.recurrent_gate,), H), place.operand_place * H
                a += (h_rows if at < 0 else trace.gates[:, at : at + H]) @ W_hh[rows].T
                if place.has_bias:
                    a += b_hh[rows]
        for number, gate in enumerate(cell.peephole_gates):
            states = trace.c[schedule.order.size :] if gate == cell.peephole_gates[-1] else trace.c[schedule.before]
            added[gate] += extras.peepholes[number] * states[:, :H]
        if cell.is_projected:
            at = len(added) * H
            projected += trace.gates[:, at : at + H] @ extras.W_hr.T


def make_tangent(cell, kernel, variant, *, reset_carry=None):
    """Of a cell and its Jacobian; `reset_carry` is for one that resets before the product."""
    if reset_carry is not None:
        step, columns = make_linear_step_in_two(variant, reset_carry), jacobian.RESET_COLUMNS
    else:
        carries = cell.gates_kept > 0  # all but an RNN
        groups = max(len(cell.input_groups), cell.recurrent_group + len(cell.recurrent_groups))
        traits = cell.recurrent_group, carries, cell.has_memory, cell.is_projected
        step = make_linear_step(variant, cell.group_sizes, groups, *traits)
        columns = (1 + cell.has_memory) * (len(cell.da_places) + carries)
    own = cell._replace(forward=make_forward(step, f"tangent {variant}"), backward=None, step_for=None)
    return Tangent(own, cell, kernel, columns)
