"""In which order the steps of a sequence run: the input's product over many steps at once, then step after step.

Inside, rows are dense and time-major, P of them in the order of `schedule.py`, `active[s]` belonging to step s from
row `starts[s]` on; `index` says where each lies in the user's x and y. Kept states have B rows more: [0, B) hold the
state before the first step, row B + p the state after row p. States that are not kept go to and fro between [0, B) and
[B, 2B). The ranks of one call begin at rank `first` and row `row`.

A worker either has ranks of its own, or shares each step with others, all of them on the same ranks (`turns.py`). Then
packed weights hold S slices of units, one behind the other, and so does the scratch memory.
"""

from functools import cache

from numba.core import types
from numba.np.numpy_support import from_dtype

from fastgate.kernels.cpu.matmul import accumulate, project
from fastgate.kernels.cpu.quantize import depth_of
from fastgate.kernels.cpu.rows import gather, scatter
from fastgate.kernels.cpu.simd import lanes_of, load, store
from fastgate.kernels.cpu.states import enter_state, leave_state
from fastgate.kernels.cpu.turns import end_turn, next_turn
from fastgate.kernels.jit import jit, sealed


@jit(inline=True)
def part_of(panels, piece, slices):
    """panels (slices*N,K,lanes) -> (N,K,lanes)"""
    count = panels.shape[0] // slices
    return panels[piece * count : (piece + 1) * count]


@jit(inline=True)
def begin_gates(a, at, x, row, W_ih, bias, rows):
    """x (P,I)[row:]  W_ih panels  bias (1,M) -> a (A,M)[at:] holding W_ih x + b, and b where there is no W_ih"""
    project(a, at, x, row, W_ih, bias, rows)
    width = lanes_of(a)
    for n in range(rows):
        for u in range(W_ih.shape[0] * width, a.shape[1], width):
            store(a, at + n, u, load(bias, 0, u))


def make_forward(step_forward, variant):
    @jit(variant=variant)
    def forward(
        x, y, y_column, H, index, order, lengths, h_start, c_start, h_end, c_end,
        h, c, gates, keep, keep_gates, x_rows, a, bias, W_ih, W_hh,
        active, starts, begins, first, last, row, slice_units, turns, worker,
    ):  # fmt: skip
        """x (R,I)[index]  h_start, c_start (B,H)  bias (S,M)  W_ih, W_hh panels
        -> y (R,L)[index, y_column:], unless it has no rows  h_end, c_end (B,H)  gates (P,G*H)  h, c

        keep: h, c (B+P,Hp) keep every state, else h (2B,Hp), c (B,Hp).
        begins (T): the step from which on the input's product is computed together with that of this step
        scratch x_rows (S*A,I)  a (S*A,M)
        """
        B, steps, slices = order.size, active.size, bias.shape[0]
        room = a.shape[0] // slices
        turn, piece = -1, 0
        while True:
            turn, piece = (turn + 1, 0) if slices == 1 else next_turn(turns, worker, slices, steps + 1)
            if turn > steps:
                break
            step = turn - 1
            unit = piece * slice_units
            units = min(slice_units, H - unit)
            if turn == 0:
                enter_state(h_start, order, first, last, unit, units, h)
                enter_state(c_start, order, first, last, unit, units, c)
            else:
                scratch, begin = piece * room, begins[step]
                if begin == step:
                    stop = step + 1
                    while stop < steps and begins[stop] == begin:
                        stop += 1
                    rows = starts[stop] - starts[step]
                    gather(x, index, row + starts[step], rows, x_rows, scratch)
                    own_bias = bias[piece : piece + 1]
                    begin_gates(a, scratch, x_rows, scratch, part_of(W_ih, piece, slices), own_bias, rows)
                own = row + starts[step]
                if keep:
                    before = first if step == 0 else B + own - active[step - 1]
                    after = B + own
                    memory_before, memory_after = before, after
                else:
                    before, after = first + step % 2 * B, first + (step + 1) % 2 * B
                    memory_before, memory_after = first, first
                step_forward(
                    a, scratch + starts[step] - starts[begin], h, before, after, c, memory_before, memory_after,
                    part_of(W_hh, piece, slices), unit, units, active[step], gates, own, keep_gates,
                )  # fmt: skip
                if y.shape[0] > 0:
                    scatter(h, after, unit, index, own, active[step], units, y, y_column + unit)
            if turn == steps:
                for rank in range(first, last):
                    done = lengths[rank]
                    if keep:
                        at = B + row + starts[done - 1] + rank - first if done > 0 else rank
                        leave_state(h, at, rank, order, unit, units, h_end)
                        leave_state(c, at, rank, order, unit, units, c_end)
                    else:
                        leave_state(h, rank + done % 2 * B, rank, order, unit, units, h_end)
                        leave_state(c, rank, rank, order, unit, units, c_end)
            if slices > 1:
                end_turn(turns)

    return forward


def make_backward(step_backward, first_place, places, variant):
    """`places` of da from `first_place` on are the gradient of the recurrent product."""

    @jit(variant=variant)
    def backward(
        dy, dy_column, index, order, dh_end, dc_end, dh_start, dc_start,
        dh, dc, d_reset, gates, h, c, da, W_hh,
        active, starts, first, last, row, slice_units, slices, turns, worker,
    ):  # fmt: skip
        """dy (R,L)[index, dy_column:]  dh_end, dc_end (B,H)  gates, h, c as kept  W_hh panels
        -> dh_start, dc_start (B,H)  da (P,places*H)

        scratch dh, dc, d_reset (B,Hp)
        """
        B, H, steps = order.size, dh_end.shape[1], active.size
        panels = slice_units // lanes_of(dh)
        turn, piece = -1, 0
        while True:
            turn, piece = (turn + 1, 0) if slices == 1 else next_turn(turns, worker, slices, steps + 1)
            if turn > steps:
                break
            step = steps - 1 - turn
            unit, panel = piece * slice_units, piece * panels
            units = min(slice_units, H - unit)
            if turn == 0:
                enter_state(dh_end, order, first, last, unit, units, dh)
                enter_state(dc_end, order, first, last, unit, units, dc)
            else:  # what the step after this one sends back through W_hh
                accumulate(
                    dh, first, unit, da, row + starts[step + 1], first_place * H,
                    W_hh, panel, min(panels, W_hh.shape[0] - panel), 0, places * H, active[step + 1],
                )  # fmt: skip
            if step >= 0:
                own = row + starts[step]
                after = B + own
                before = first if step == 0 else after - active[step - 1]
                step_backward(
                    dy, dy_column, index, dh, dc, d_reset, first, gates, own, h, before, after, c, da, W_hh,
                    unit, units, active[step],
                )  # fmt: skip
            else:
                for rank in range(first, last):
                    leave_state(dh, rank, rank, order, unit, units, dh_start)
                    leave_state(dc, rank, rank, order, unit, units, dc_start)
            if slices > 1:
                end_turn(turns)

    return backward


def make_step(step_forward, variant):
    def step(x, h_start, c_start, layer, bias, W_ih, W_hh, states, a, h_end, c_end):
        """x (B,I)  h_start, c_start (L,B,H)[layer] -> h_end, c_end (L,B,H)[layer]  scratch states (3B,Hp)  a (B,M)

        A cell without c has c_start and c_end of shape (L,0,H). States lie in one array: h before, h after, c.
        Unlike all other kernels this one looks at shapes, which costs nothing here and a microsecond in Python: if they
        do not fit to each other, nothing is done and False returned.
        """
        B, H = a.shape[0], h_end.shape[2]
        if x.shape != (B, depth_of(W_ih)) or h_start.shape != h_end.shape or c_start.shape != c_end.shape:
            return False
        _pad(h_start, layer, states, 0)
        _pad(c_start, layer, states, 2 * B)
        begin_gates(a, 0, x, 0, W_ih, bias, B)
        step_forward(a, 0, states, 0, B, states, 2 * B, 2 * B, W_hh, 0, H, B, a, 0, False)
        for n in range(B):
            for u in range(H):
                h_end[layer, n, u] = states[B + n, u]
        for n in range(c_end.shape[1]):
            for u in range(H):
                c_end[layer, n, u] = states[2 * B + n, u]
        return True

    @cache
    def step_for(dtype, weight):
        """The kernel for a dtype and that of packed weights: a dispatcher that no call can make compile any more."""
        matrix, cube = (types.Array(from_dtype(dtype), ndim, "C") for ndim in (2, 3))
        panels = types.Array(from_dtype(weight), 3, "C")
        signature = (matrix, cube, cube, types.intp, matrix, panels, panels, matrix, matrix, cube, cube)
        return sealed(step, signature, variant=variant)

    return step_for


@jit
def _pad(state, layer, states, at):
    """state (L,B,H)[layer] -> states (3B,Hp)[at:], padded with zeros"""
    for n in range(state.shape[1]):
        for u in range(state.shape[2]):
            states[at + n, u] = state[layer, n, u]
        for u in range(state.shape[2], states.shape[1]):
            states[at + n, u] = 0.0
