"""LSTM: one time step of all rows and a slice of the units, forward and backward.

Names shared by all cells: `unit` is the first of the `units` of this slice. `a` (A,M)[at:] holds the slice's
pre-activations, one group of gates behind the other (`layout.py`). `gates` (P,4H)[row:] is the tape: i, f, g, o of all
units, no padding. `before` and `after` are the first rows of the states (S,Hp) before and after the step, `memory_*`
the same for c, which inference overwrites in place. `first` is the first row of dh and dc, the gradients carried back
from step to step: dh ends up without what comes through W_hh, which the driver adds.
"""

from fastgate.kernels.cpu.matmul import accumulate
from fastgate.kernels.cpu.quantize import depth_of
from fastgate.kernels.cpu.simd import lanes_of, load, store, zero_of
from fastgate.kernels.cpu.tail import load_some, store_some
from fastgate.kernels.equations import lstm_cell, lstm_cell_vjp
from fastgate.kernels.jit import jit


@jit(inline=True)
def step_forward(
    a, at, h, before, after, c, memory_before, memory_after, W_hh, unit, units, rows, gates, row, keep
):  # fmt: skip
    """a (A,M)[at] holding W_ih x + b  h (S,Hp)[before]  c[memory_before]  W_hh panels -> h[after]  c[memory_after]

    With `keep` also gates (P,4H)[row].
    """
    H = depth_of(W_hh)
    accumulate(a, at, 0, h, before, 0, W_hh, 0, W_hh.shape[0], 0, H, rows)
    for n in range(rows):
        for u in range(0, units, lanes_of(h)):
            count, own = units - u, unit + u
            a_i = load_some(a, at + n, u, count)
            a_f = load_some(a, at + n, units + u, count)
            a_g = load_some(a, at + n, 2 * units + u, count)
            a_o = load_some(a, at + n, 3 * units + u, count)
            c_prev = load(c, memory_before + n, own)
            h_next, c_next, i, f, g, o = lstm_cell(a_i, a_f, a_g, a_o, c_prev)
            store(h, after + n, own, h_next)
            store(c, memory_after + n, own, c_next)
            if keep:
                store_some(gates, row + n, own, i, count)
                store_some(gates, row + n, H + own, f, count)
                store_some(gates, row + n, 2 * H + own, g, count)
                store_some(gates, row + n, 3 * H + own, o, count)


@jit(inline=True)
def step_backward(
    dy, dy_column, index, dh, dc, d_reset, first, gates, row, h, before, after, c, da, W_hh, unit, units, rows
):  # fmt: skip
    """dy (R,L)[index[row:], dy_column:]  dh, dc (B,Hp)[first]  gates (P,4H)[row]  c (S,Hp)
    -> da (P,4H)[row] of i, f, g, o  dc  dh, zero
    """
    H = da.shape[1] // 4
    for n in range(rows):
        for u in range(0, units, lanes_of(dh)):
            count, own = units - u, unit + u
            i = load_some(gates, row + n, own, count)
            f = load_some(gates, row + n, H + own, count)
            g = load_some(gates, row + n, 2 * H + own, count)
            o = load_some(gates, row + n, 3 * H + own, count)
            dh_next = load(dh, first + n, own) + load_some(dy, index[row + n], dy_column + own, count)
            da_i, da_f, da_g, da_o, dc_prev = lstm_cell_vjp(
                dh_next, load(dc, first + n, own), i, f, g, o, load(c, before + n, own), load(c, after + n, own)
            )
            store_some(da, row + n, own, da_i, count)
            store_some(da, row + n, H + own, da_f, count)
            store_some(da, row + n, 2 * H + own, da_g, count)
            store_some(da, row + n, 3 * H + own, da_o, count)
            store(dc, first + n, own, dc_prev)
            store(dh, first + n, own, zero_of(dh))
