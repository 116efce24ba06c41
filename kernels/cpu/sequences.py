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

from fastgate.kernels.cpu.fixed import INDEX, MATRIX, NUMBER, Fixed
from fastgate.kernels.cpu.matmul import accumulate, project
from fastgate.kernels.cpu.quantize import depth_of
from fastgate.kernels.cpu.recurrent_dropout import add_masked
from fastgate.kernels.cpu.rows import gather, scatter
from fastgate.kernels.cpu.simd import lanes_of, load, store
from fastgate.kernels.cpu.states import enter_state, leave_state
from fastgate.kernels.cpu.turns import end_turn, next_turn
from fastgate.kernels.jit import jit, sealed

# What a part of a schedule always takes along, in the order of the kernels' first lines.
FORWARD_FIXED = Fixed(*[INDEX] * 6, *[MATRIX] * 3, *[NUMBER] * 7)
BACKWARD_FIXED = Fixed(*[INDEX] * 4, *[MATRIX] * 4, *[NUMBER] * 8)
read_forward, read_backward = FORWARD_FIXED.reader, BACKWARD_FIXED.reader


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
        x, y, h_start, c_start, h_end, c_end, state, h, c, gates, bias, W_ih, W_hh,
        fixed, part, turns, worker, keep, keep_gates,
    ):  # fmt: skip
        """x (_,_,I)[index]  h_start, c_start (N,B,H)[state]  bias (S,M)  W_ih, W_hh panels
        -> y (_,_,L)[index, y_column:], unless it has no rows  h_end, c_end (N,B,H)[state]  gates (P,G*H)  h, c

        keep: h, c (B+P,Hp) keep every state, else h (2B,Hp), c (B,Hp).
        fixed (parts,n)[part]: of these begins (T) is the step from which on the input's product is
        computed together with that of this step, x_rows (S*A,I), a (S*A,M) are scratch, and masks
        (B,K*Sp) a masked cell's
        """
        (
            index, order, lengths, active, starts, begins, x_rows, a, masks, y_column, H, size, first, last, row,
            slice_units,
        ) = read_forward(fixed, part, x)  # fmt: skip
        x_all = x.reshape((x.shape[0] * x.shape[1], x.shape[2]))
        y_all = y.reshape((y.shape[0] * y.shape[1], y.shape[2]))
        B, steps, slices = order.size, active.size, bias.shape[0]
        room = a.shape[0] // slices
        turn, piece = -1, 0
        while True:
            turn, piece = (turn + 1, 0) if slices == 1 else next_turn(turns, worker, slices, steps + 1)
            if turn > steps:
                break
            step = turn - 1
            unit = piece * slice_units
            units, h_units = min(slice_units, H - unit), min(slice_units, size - unit)
            if turn == 0:
                enter_state(h_start, state, order, first, last, unit, h_units, h)
                enter_state(c_start, state, order, first, last, unit, units, c)
            else:
                scratch, begin = piece * room, begins[step]
                if begin == step:
                    stop = step + 1
                    while stop < steps and begins[stop] == begin:
                        stop += 1
                    rows = starts[stop] - starts[step]
                    gather(x_all, index, row + starts[step], rows, x_rows, scratch)
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
                    part_of(W_hh, piece, slices), unit, units, size, active[step], gates, own, keep_gates,
                    masks, first,
                )  # fmt: skip
                if y_all.shape[0] > 0:
                    scatter(h, after, unit, index, own, active[step], h_units, y_all, y_column + unit)
            if turn == steps:
                for rank in range(first, last):
                    done = lengths[rank]
                    if keep:
                        at = B + row + starts[done - 1] + rank - first if done > 0 else rank
                        leave_state(h, at, rank, order, unit, h_units, h_end, state)
                        leave_state(c, at, rank, order, unit, units, c_end, state)
                    else:
                        leave_state(h, rank + done % 2 * B, rank, order, unit, h_units, h_end, state)
                        leave_state(c, rank, rank, order, unit, units, c_end, state)
            if slices > 1:
                end_turn(turns)

    return forward


def make_backward(step_backward, first_place, places, variant, masked):
    """`places` of da from `first_place` on are the gradient of the recurrent product."""

    @jit(variant=variant)
    def backward(
        dy, dh_end, dc_end, dh_start, dc_start, state, h, c, gates, da, W_hh, fixed, part, turns, worker
    ):  # fmt: skip
        """dy (_,_,L)[index, dy_column:]  dh_end, dc_end (N,B,H)[state]  h, c, gates as kept  W_hh panels
        -> dh_start, dc_start (N,B,H)[state]  da (P,places*H)

        fixed (parts,n)[part]: of these dh, dc, d_operand (B,Hp) are scratch, and masks (B,K*Sp) a masked cell's
        """
        (
            index, order, active, starts, dh, dc, d_operand, masks, dy_column, H, size, first, last, row, slice_units,
            slices,
        ) = read_backward(fixed, part, dy)  # fmt: skip
        dy_all = dy.reshape((dy.shape[0] * dy.shape[1], dy.shape[2]))
        B, steps = order.size, active.size
        panels = slice_units // lanes_of(dh)
        turn, piece = -1, 0
        while True:
            turn, piece = (turn + 1, 0) if slices == 1 else next_turn(turns, worker, slices, steps + 1)
            if turn > steps:
                break
            step = steps - 1 - turn
            unit, panel = piece * slice_units, piece * panels
            units, h_units = min(slice_units, H - unit), min(slice_units, size - unit)
            if turn == 0:
                enter_state(dh_end, state, order, first, last, unit, h_units, dh)
                enter_state(dc_end, state, order, first, last, unit, units, dc)
            elif masked:
                add_masked(
                    dh, first, masks, da, row + starts[step + 1], first_place * H, W_hh, places, H, size,
                    active[step + 1], d_operand,
                )  # fmt: skip
            else:  # what the step after this one sends back through W_hh
                accumulate(
                    dh, first, unit, da, row + starts[step + 1], first_place * H,
                    W_hh, panel, -(-h_units // lanes_of(dh)), 0, places * H, active[step + 1],
                )  # fmt: skip
            if step >= 0:
                own = row + starts[step]
                after = B + own
                before = first if step == 0 else after - active[step - 1]
                step_backward(
                    dy_all, dy_column, index, dh, dc, d_operand, first, gates, own, h, before, after, c, da, W_hh,
                    unit, units, active[step], masks,
                )  # fmt: skip
            else:
                for rank in range(first, last):
                    leave_state(dh, rank, rank, order, unit, h_units, dh_start, state)
                    leave_state(dc, rank, rank, order, unit, units, dc_start, state)
            if slices > 1:
                end_turn(turns)

    return backward


def make_step(step_forward, variant):
    @cache
    def step_for(dtype, weight):
        """The kernel for a dtype and that of packed weights, a dispatcher that no call can make compile any more, and
        how it takes what is fixed."""
        matrix, cube = (types.Array(from_dtype(dtype), ndim, "C") for ndim in (2, 3))
        panels, words = (3, from_dtype(weight)), types.Array(types.int64, 2, "C")
        fixed_arguments = Fixed(MATRIX, panels, panels, MATRIX, MATRIX)
        read = fixed_arguments.reader

        def step(x, h_start, c_start, fixed, y, h_end, c_end):
            """x (B,I)  h_start, c_start (L,B,H) -> y (B,H)  h_end, c_end (L,B,H); with a projection y and h are smaller

            fixed (L,n), of each layer: bias, W_ih, W_hh, scratch states (3B,Hp), a (B,M). A cell without c has c_start
            and c_end of shape (L,0,H). States lie in one array: h before, h after, c.
            Unlike all other kernels this one looks at shapes, which costs nothing here and a microsecond in Python: if
            they do not fit to each other, nothing is done and False returned.
            """
            B, size = y.shape
            H = c_start.shape[2]
            bias, W_ih, W_hh, states, a = read(fixed, 0, x)
            if x.shape != (B, depth_of(W_ih)) or h_start.shape != h_end.shape or c_start.shape != c_end.shape:
                return False
            for layer in range(fixed.shape[0]):
                bias, W_ih, W_hh, states, a = read(fixed, layer, x)
                _pad(h_start, layer, states, 0)
                _pad(c_start, layer, states, 2 * B)
                begin_gates(a, 0, x, 0, W_ih, bias, B)
                step_forward(a, 0, states, 0, B, states, 2 * B, 2 * B, W_hh, 0, H, size, B, a, 0, False, a, 0)
                _unpad(states, B, h_end, layer)
                _unpad(states, 2 * B, c_end, layer)
                x = h_end[layer]
            for n in range(B):
                for u in range(size):
                    y[n, u] = x[n, u]
            return True

        signature = (matrix, cube, cube, words, matrix, cube, cube)
        return sealed(step, signature, variant=f"{variant}_{weight}"), fixed_arguments

    return step_for


@jit
def _pad(state, layer, states, at):
    """state (L,B,H)[layer] -> states (3B,Hp)[at:], padded with zeros"""
    for n in range(state.shape[1]):
        for u in range(state.shape[2]):
            states[at + n, u] = state[layer, n, u]
        for u in range(state.shape[2], states.shape[1]):
            states[at + n, u] = 0.0


@jit
def _unpad(states, at, state, layer):
    """states (3B,Hp)[at:] -> state (L,B,H)[layer]"""
    for n in range(state.shape[1]):
        for u in range(state.shape[2]):
            state[layer, n, u] = states[at + n, u]
