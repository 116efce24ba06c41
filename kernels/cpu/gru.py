"""GRU, `reset_after=True`: the reset gate acts after the recurrent product (cuDNN, PyTorch, Keras).

Gates lie in the order n, r, z, q with q = U_n h + b_hn, so that the input fills the first three and the recurrence the
last three. Names of rows are those of `lstm.py`; there is no c.
"""

from fastgate.kernels.cpu.matmul import accumulate
from fastgate.kernels.cpu.rows import clear_padding
from fastgate.kernels.cpu.simd import lanes_of, load, store
from fastgate.kernels.equations import gru_cell, gru_cell_vjp
from fastgate.kernels.jit import jit


@jit(inline=True)
def step_forward(gates, at, h, before, after, c, memory_before, memory_after, W_hh, rows, keep):
    """gates (P,4Hp) holding W_ih x + b in n, r, z and b_hn in q  h (S,Hp)[before]  W_hh panels r, z, n -> h[after]

    With `keep`, gates end up holding n, r, z, q.
    """
    Hp = h.shape[1]
    accumulate(gates, at, Hp, h, before, 0, W_hh, 0, W_hh.shape[0], 0, W_hh.shape[1], rows)
    for m in range(rows):
        for u in range(0, Hp, lanes_of(h)):
            a_n = load(gates, at + m, u)
            a_r = load(gates, at + m, Hp + u)
            a_z = load(gates, at + m, 2 * Hp + u)
            q = load(gates, at + m, 3 * Hp + u)
            h_next, n, r, z = gru_cell(a_n, a_r, a_z, q, load(h, before + m, u))
            store(h, after + m, u, h_next)
            if keep:
                store(gates, at + m, u, n)
                store(gates, at + m, Hp + u, r)
                store(gates, at + m, 2 * Hp + u, z)


@jit(inline=True)
def step_backward(dh, dc, first, gates, at, h, before, after, c, da, W_hh, rows, units):
    """dh (S,Hp)[after]  gates holding n, r, z, q  h (S,Hp)  W_hh panels -> da (P,4Hp)[at]  dh[before] +="""
    Hp = dh.shape[1]
    for m in range(rows):
        for u in range(0, Hp, lanes_of(dh)):
            n = load(gates, at + m, u)
            r = load(gates, at + m, Hp + u)
            z = load(gates, at + m, 2 * Hp + u)
            q = load(gates, at + m, 3 * Hp + u)
            da_n, da_r, da_z, dq, dh_prev = gru_cell_vjp(load(dh, after + m, u), n, r, z, q, load(h, before + m, u))
            store(da, at + m, u, da_n)
            store(da, at + m, Hp + u, da_r)
            store(da, at + m, 2 * Hp + u, da_z)
            store(da, at + m, 3 * Hp + u, dq)
            store(dh, before + m, u, load(dh, before + m, u) + dh_prev)
    clear_padding(da, at, rows, units, Hp)
    accumulate(dh, before, 0, da, at, Hp, W_hh, 0, W_hh.shape[0], 0, W_hh.shape[1], rows)
