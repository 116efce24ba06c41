"""In which order the steps of a sequence run: the input's product over many steps at once, then step after step.

Inside, rows are dense and time-major, P of them in the order of `schedule.py`, `active[s]` belonging to step s; `index`
says where each lies in the user's x and y. Kept states have B rows more: [0, B) hold the state before the first step,
row B + p the state after row p. States that are not kept go to and fro between [0, B) and [B, 2B). One worker owns the
rows from `row` on and, of the initial states and of dc, those from `first` on.
"""

from functools import cache

from numba.core import types
from numba.np.numpy_support import from_dtype

from fastgate.kernels.cpu.matmul import project
from fastgate.kernels.cpu.quantize import scale_rows_of
from fastgate.kernels.cpu.rows import gather, scatter
from fastgate.kernels.cpu.simd import lanes_of, load, store
from fastgate.kernels.jit import jit, sealed


@jit(inline=True)
def begin_gates(gates, at, x, row, W_ih, bias, rows):
    """x (P,I)[row:]  W_ih panels  bias (1,M) -> gates (P,M)[at:] holding W_ih x + b, and b where there is no W_ih"""
    project(gates, at, x, row, W_ih, bias, rows)
    width = lanes_of(gates)
    for n in range(rows):
        for u in range(W_ih.shape[0] * width, gates.shape[1], width):
            store(gates, at + n, u, load(bias, 0, u))


def make_forward(step_forward, variant):
    @jit(variant=variant)
    def forward(
        x, y, y_column, units, index, h, c, gates, x_rows, bias, W_ih, W_hh, active, first, row, chunk, keep, keep_gates
    ):
        """x (R,I)[index]  h[first:], c[first:] holding the start -> y (R,L)[index, y_column:]  h  c  gates

        keep: h, c (B+P,Hp) keep every state, else h (2B,Hp), c (B,Hp).  keep_gates: gates (P,M), else used again after
        `chunk` rows (or one step, if that has more).  scratch x_rows (as many rows,I)
        """
        B = h.shape[0] - index.size if keep else h.shape[0] // 2
        before, step = first, 0
        while step < active.size:
            stop, rows = step + 1, active[step]
            while stop < active.size and rows + active[stop] <= chunk:
                rows += active[stop]
                stop += 1
            gather(x, 0, index, row, rows, x.shape[1], x_rows, 0)
            at = row if keep_gates else 0
            begin_gates(gates, at, x_rows, 0, W_ih, bias, rows)
            for s in range(step, stop):
                after = B + row if keep else (first if before > first else B + first)
                memory_before, memory_after = (before, after) if keep else (first, first)
                step_forward(
                    gates, at, h, before, after, c, memory_before, memory_after, W_hh, active[s], keep_gates
                )  # fmt: skip
                scatter(h, after, 0, index, row, active[s], units, y, y_column)
                before = after
                row += active[s]
                at += active[s]
            step = stop

    return forward


def make_backward(step_backward, variant):
    @jit(variant=variant)
    def backward(dh, dc, gates, h, c, da, W_hh, active, first, row, units):
        """dh (B+P,Hp) holding dy  dc (B,Hp)  gates, h, c as kept  W_hh panels -> da (P,M)  dh[first:]  dc[first:]"""
        B = dh.shape[0] - da.shape[0]
        row += active.sum()
        for s in range(active.size - 1, -1, -1):
            row -= active[s]
            after = B + row
            before = after - active[s - 1] if s > 0 else first
            step_backward(dh, dc, first, gates, row, h, before, after, c, da, W_hh, active[s], units)

    return backward


def make_step(step_forward, variant):
    def step(x, h_start, c_start, layer, bias, W_ih, W_hh, states, gates, h_end, c_end):
        """x (B,I)  h_start, c_start (L,B,H)[layer] -> h_end, c_end (L,B,H)[layer]  scratch states (3B,Hp)  gates (B,M)

        A cell without c has c_start and c_end of shape (L,0,H). States lie in one array: h before, h after, c.
        Unlike all other kernels this one looks at shapes, which costs nothing here and a microsecond in Python: if they
        do not fit to each other, nothing is done and False returned.
        """
        B, H = gates.shape[0], h_end.shape[2]
        if (
            x.shape != (B, W_ih.shape[1] - scale_rows_of(W_ih))
            or h_start.shape != h_end.shape
            or c_start.shape != c_end.shape
        ):
            return False
        _pad(h_start, layer, states, 0)
        _pad(c_start, layer, states, 2 * B)
        begin_gates(gates, 0, x, 0, W_ih, bias, B)
        step_forward(gates, 0, states, 0, B, states, 2 * B, 2 * B, W_hh, B, False)
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
