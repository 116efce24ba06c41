"""LSTM: one time step of all rows and units, forward and backward.

Gates lie in PyTorch's order i, f, g, o, each padded to Hp. `before` and `after` are the first rows of the states
before and after the step, `at` that of its gates; `memory_*` are the same for c, which inference overwrites in place.
`first` is the first row of dc, `units` is H.
"""

from fastgate.kernels.cpu.matmul import accumulate
from fastgate.kernels.cpu.rows import clear_padding
from fastgate.kernels.cpu.simd import lanes_of, load, store
from fastgate.kernels.equations import lstm_cell, lstm_cell_vjp
from fastgate.kernels.jit import jit


@jit(inline=True)
def step_forward(gates, at, h, before, after, c, memory_before, memory_after, W_hh, rows, keep):
    """gates (P,4Hp) holding W_ih x + b  h (S,Hp)[before]  c[memory_before]  W_hh panels -> h[after]  c[memory_after]

    With `keep`, gates end up holding i, f, g, o.
    """
    Hp = h.shape[1]
    accumulate(gates, at, 0, h, before, 0, W_hh, 0, W_hh.shape[0], 0, W_hh.shape[1], rows)
    for n in range(rows):
        for u in range(0, Hp, lanes_of(h)):
            a_i = load(gates, at + n, u)
            a_f = load(gates, at + n, Hp + u)
            a_g = load(gates, at + n, 2 * Hp + u)
            a_o = load(gates, at + n, 3 * Hp + u)
            c_prev = load(c, memory_before + n, u)
            h_next, c_next, i, f, g, o = lstm_cell(a_i, a_f, a_g, a_o, c_prev)
            store(h, after + n, u, h_next)
            store(c, memory_after + n, u, c_next)
            if keep:
                store(gates, at + n, u, i)
                store(gates, at + n, Hp + u, f)
                store(gates, at + n, 2 * Hp + u, g)
                store(gates, at + n, 3 * Hp + u, o)


@jit(inline=True)
def step_backward(dh, dc, first, gates, at, h, before, after, c, da, W_hh, rows, units):
    """dh (S,Hp)[after]  dc (B,Hp)[first]  gates holding i, f, g, o  W_hh panels -> da (P,4Hp)[at]  dc  dh[before] +="""
    Hp = dh.shape[1]
    for n in range(rows):
        for u in range(0, Hp, lanes_of(dh)):
            i = load(gates, at + n, u)
            f = load(gates, at + n, Hp + u)
            g = load(gates, at + n, 2 * Hp + u)
            o = load(gates, at + n, 3 * Hp + u)
            da_i, da_f, da_g, da_o, dc_prev = lstm_cell_vjp(
                load(dh, after + n, u), load(dc, first + n, u), i, f, g, o,
                load(c, before + n, u), load(c, after + n, u),
            )  # fmt: skip
            store(da, at + n, u, da_i)
            store(da, at + n, Hp + u, da_f)
            store(da, at + n, 2 * Hp + u, da_g)
            store(da, at + n, 3 * Hp + u, da_o)
            store(dc, first + n, u, dc_prev)
    clear_padding(da, at, rows, units, Hp)
    accumulate(dh, before, 0, da, at, 0, W_hh, 0, W_hh.shape[0], 0, W_hh.shape[1], rows)
