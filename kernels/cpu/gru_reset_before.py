"""GRU, `reset_after=False`: the reset gate acts on the state before the recurrent product (Cho et al. 2014).

A step has two phases: gates r and z from h, then the candidate n from r * h. Gates lie in the order n, r, z, h_reset
with h_reset = r * h, which the second product reads. Names of rows are those of `lstm.py`; there is no c.
"""

from fastgate.kernels.cpu.matmul import accumulate
from fastgate.kernels.cpu.rows import clear_padding
from fastgate.kernels.cpu.simd import lanes_of, load, store, zero_of
from fastgate.kernels.equations import gru_reset, gru_reset_vjp, gru_update, gru_update_vjp
from fastgate.kernels.jit import jit


@jit(inline=True)
def step_forward(gates, at, h, before, after, c, memory_before, memory_after, W_hh, rows, keep):
    """gates (P,4Hp) holding W_ih x + b in n, r, z  h (S,Hp)[before]  W_hh panels r, z, n -> h[after]

    Gates end up holding r, z, h_reset, and with `keep` n.
    """
    Hp = h.shape[1]
    blocks = W_hh.shape[0] // 3
    accumulate(gates, at, Hp, h, before, 0, W_hh, 0, 2 * blocks, 0, W_hh.shape[1], rows)
    for m in range(rows):
        for u in range(0, Hp, lanes_of(h)):
            a_r = load(gates, at + m, Hp + u)
            a_z = load(gates, at + m, 2 * Hp + u)
            r, z, h_reset = gru_reset(a_r, a_z, load(h, before + m, u))
            store(gates, at + m, Hp + u, r)
            store(gates, at + m, 2 * Hp + u, z)
            store(gates, at + m, 3 * Hp + u, h_reset)

    accumulate(gates, at, 0, gates, at, 3 * Hp, W_hh, 2 * blocks, blocks, 0, W_hh.shape[1], rows)
    for m in range(rows):
        for u in range(0, Hp, lanes_of(h)):
            h_next, n = gru_update(
                load(gates, at + m, u), load(gates, at + m, 2 * Hp + u), load(h, before + m, u)
            )  # fmt: skip
            store(h, after + m, u, h_next)
            if keep:
                store(gates, at + m, u, n)


@jit(inline=True)
def step_backward(dh, dc, first, gates, at, h, before, after, c, da, W_hh, rows, units):
    """dh (S,Hp)[after]  gates holding n, r, z, h_reset  h (S,Hp)  W_hh panels -> da (P,4Hp)[at]  dh[before] +=

    The fourth place of da is scratch: first zero, then the gradient of h_reset.
    """
    Hp = dh.shape[1]
    blocks = W_hh.shape[0]
    for m in range(rows):
        for u in range(0, Hp, lanes_of(dh)):
            n = load(gates, at + m, u)
            z = load(gates, at + m, 2 * Hp + u)
            da_n, dz, dh_prev = gru_update_vjp(load(dh, after + m, u), n, z, load(h, before + m, u))
            store(da, at + m, u, da_n)
            store(da, at + m, 2 * Hp + u, dz)
            store(da, at + m, 3 * Hp + u, zero_of(da))
            store(dh, before + m, u, load(dh, before + m, u) + dh_prev)

    clear_padding(da, at, rows, units, Hp)
    accumulate(da, at, 3 * Hp, da, at, 0, W_hh, 0, blocks, 2 * Hp, Hp, rows)
    for m in range(rows):
        for u in range(0, Hp, lanes_of(dh)):
            r = load(gates, at + m, Hp + u)
            z = load(gates, at + m, 2 * Hp + u)
            dz = load(da, at + m, 2 * Hp + u)
            dh_reset = load(da, at + m, 3 * Hp + u)
            da_r, da_z, dh_prev = gru_reset_vjp(dz, dh_reset, r, z, load(h, before + m, u))
            store(da, at + m, Hp + u, da_r)
            store(da, at + m, 2 * Hp + u, da_z)
            store(dh, before + m, u, load(dh, before + m, u) + dh_prev)
    clear_padding(da, at, rows, units, Hp)
    accumulate(dh, before, 0, da, at, Hp, W_hh, 0, blocks, 0, 2 * Hp, rows)
