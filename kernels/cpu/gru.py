"""GRU, `reset_after=True`: the reset gate acts after the recurrent product (cuDNN, PyTorch, Keras).

Pre-activations lie in three groups: n; r and z; q = U_n h + b_hn. So the input fills the first two and the recurrence
the last two. The tape keeps n, r, z, q. Other names are those of `lstm.py`; there is no c.
"""

from fastgate.kernels.cpu.matmul import accumulate
from fastgate.kernels.cpu.recurrent_dropout import multiply_masked
from fastgate.kernels.cpu.simd import lanes_of, load, store
from fastgate.kernels.cpu.tail import load_some, store_some
from fastgate.kernels.jit import jit


def make_steps(cell, cell_vjp, variant, *, masked=False):
    @jit(variant=variant, inline=True)
    def step_forward(
        a, at, h, before, after, c, memory_before, memory_after, W_hh, unit, units, size, rows, gates, row, keep,
        masks, first,
    ):  # fmt: skip
        """a (A,M)[at] holding W_ih x + b, and b_hn in q  h (S,Hp)[before]  W_hh panels r, z; n -> h[after]

        With `keep` also gates (P,4H)[row].
        """
        H, width = size, lanes_of(h)
        at_r = -(-units // width) * width
        next_gate = at_r if masked else units
        at_q = at_r - (-2 * next_gate // width) * width
        if masked:
            multiply_masked(a, at, at_r, h, before, 0, masks, first, W_hh, 0, 3, H, H, rows, gates, row, 4 * H)
        else:
            accumulate(a, at, at_r, h, before, 0, W_hh, 0, W_hh.shape[0], 0, size, rows)
        for m in range(rows):
            for u in range(0, units, width):
                count, own = units - u, unit + u
                a_n = load_some(a, at + m, u, count)
                a_r = load_some(a, at + m, at_r + u, count)
                a_z = load_some(a, at + m, at_r + next_gate + u, count)
                q = load_some(a, at + m, at_q + u, count)
                h_next, n, r, z = cell(a_n, a_r, a_z, q, load(h, before + m, own))
                store(h, after + m, own, h_next)
                if keep:
                    store_some(gates, row + m, own, n, count)
                    store_some(gates, row + m, H + own, r, count)
                    store_some(gates, row + m, 2 * H + own, z, count)
                    store_some(gates, row + m, 3 * H + own, q, count)

    @jit(variant=variant, inline=True)
    def step_backward(
        dy, dy_column, index, dh, dc, d_reset, first, gates, row, h, before, after, c, da, W_hh, unit, units, rows,
        masks,
    ):  # fmt: skip
        """dy (R,L)[index[row:], dy_column:]  dh (B,Hp)[first]  gates (P,4H)[row]  h (S,Hp)[before]
        -> da (P,4H)[row] of n, r, z, q  dh
        """
        H = da.shape[1] // 4
        for m in range(rows):
            for u in range(0, units, lanes_of(dh)):
                count, own = units - u, unit + u
                n = load_some(gates, row + m, own, count)
                r = load_some(gates, row + m, H + own, count)
                z = load_some(gates, row + m, 2 * H + own, count)
                q = load_some(gates, row + m, 3 * H + own, count)
                dh_next = load(dh, first + m, own) + load_some(dy, index[row + m], dy_column + own, count)
                da_n, da_r, da_z, dq, dh_prev = cell_vjp(dh_next, n, r, z, q, load(h, before + m, own))
                store_some(da, row + m, own, da_n, count)
                store_some(da, row + m, H + own, da_r, count)
                store_some(da, row + m, 2 * H + own, da_z, count)
                store_some(da, row + m, 3 * H + own, dq, count)
                store(dh, first + m, own, dh_prev)

    return step_forward, step_backward
