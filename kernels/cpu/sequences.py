"""In which order the steps of a sequence run: the input's product over many steps at once, then step after step.

Arrays are time-major and dense: P rows of input in the order of `schedule.py`, of which `active[s]` belong to step s.
States have B rows more: rows [0, B) hold the state before the first step, row B + p the state after input row p. One
worker owns the rows from `row` on (of x, gates, da) and from `first` on (of the initial states, of dc).
"""

from fastgate.kernels.cpu.matmul import project
from fastgate.kernels.cpu.rows import copy_rows
from fastgate.kernels.cpu.simd import lanes_of, load, store
from fastgate.kernels.jit import jit


@jit
def begin_gates(gates, at, x, row, W_ih, bias, rows):
    """x (P,I)[row:]  W_ih panels  bias (1,M) -> gates (P,M)[at:] holding W_ih x + b, and b where there is no W_ih"""
    project(gates, at, x, row, W_ih, bias, rows)
    width = lanes_of(gates)
    for n in range(rows):
        for u in range(W_ih.shape[0] * width, gates.shape[1], width):
            store(gates, at + n, u, load(bias, 0, u))


def make_forward(step_forward, variant):
    @jit(variant=variant)
    def forward(x, h, c, gates, bias, W_ih, W_hh, active, first, row, chunk, keep):
        """x (P,I)  h (B+P,Hp)[first:]  bias (1,M)  W_ih, W_hh panels  active (T) -> h[B+row:]  c  scratch gates

        With `keep`, gates (P,M) and c (B+P,Hp) hold every step; without, gates is reused after `chunk` rows (or one
        step, if that has more) and c (B,Hp) is overwritten.
        """
        B = h.shape[0] - x.shape[0]
        before = first
        step = 0
        while step < active.size:
            stop, rows = step + 1, active[step]
            while stop < active.size and rows + active[stop] <= chunk:
                rows += active[stop]
                stop += 1
            at = row if keep else 0
            begin_gates(gates, at, x, row, W_ih, bias, rows)
            for s in range(step, stop):
                after = B + row
                memory_before = before if keep else first
                memory_after = after if keep else first
                step_forward(gates, at, h, before, after, c, memory_before, memory_after, W_hh, active[s], keep)
                before = after
                row += active[s]
                at += active[s]
            step = stop

    return forward


def make_backward(step_backward, variant):
    @jit(variant=variant)
    def backward(dh, dc, gates, h, c, da, W_hh, active, first, row):
        """dh (B+P,Hp) holding dy  dc (B,Hp)  gates, h, c as kept  W_hh panels -> da (P,M)  dh[first:]  dc[first:]"""
        B = dh.shape[0] - da.shape[0]
        row += active.sum()
        for s in range(active.size - 1, -1, -1):
            row -= active[s]
            after = B + row
            before = after - active[s - 1] if s > 0 else first
            step_backward(dh, dc, first, gates, row, h, before, after, c, da, W_hh, active[s])

    return backward


def make_step(step_forward, variant):
    @jit(variant=variant)
    def step(x, h_start, c_start, layer, bias, W_ih, W_hh, scratch, h_end, c_end):
        """x (B,I)  h_start, c_start (L,B,H)[layer]  scratch (3B+B*G,Hp) -> h_end, c_end (L,B,H)[layer]

        A cell without c has c_start and c_end of shape (L,0,H).
        """
        B, H = x.shape[0], h_start.shape[2]
        h, c = scratch[: 2 * B], scratch[2 * B : 3 * B]
        gates = scratch[3 * B :].reshape((B, bias.shape[1]))
        copy_rows(h_start[layer], 0, h, 0, H, B)
        copy_rows(c_start[layer], 0, c, 0, H, c_start.shape[1])
        begin_gates(gates, 0, x, 0, W_ih, bias, B)
        step_forward(gates, 0, h, 0, B, c, 0, 0, W_hh, B, False)
        copy_rows(h, B, h_end[layer], 0, H, B)
        copy_rows(c, 0, c_end[layer], 0, H, c_end.shape[1])

    return step
