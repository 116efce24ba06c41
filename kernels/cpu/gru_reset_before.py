"""GRU, `reset_after=False`: the reset gate acts on the state before the recurrent product (Cho et al. 2014).

A step has two phases: gates r and z from h, then the candidate n from r * h, which needs all units of r: this cell is
never cut into slices of units. Pre-activations lie in three groups: n; r and z; h_reset = r * h, which is no
pre-activation but the second product's operand. The tape keeps n, r, z, h_reset; da has n, r, z.

With `reset_carry` h_reset takes the place of h in the update too: h' = (1 - z) * n + z * h_reset.
"""

from fastgate.kernels.cpu.matmul import accumulate
from fastgate.kernels.cpu.recurrent_dropout import multiply_masked
from fastgate.kernels.cpu.simd import lanes_of, load, store, zero_of
from fastgate.kernels.cpu.tail import load_some, store_some
from fastgate.kernels.jit import jit


def make_steps(reset, reset_vjp, update, update_vjp, variant, *, reset_carry=False, masked=False):
    @jit(variant=variant, inline=True)
    def step_forward(
        a, at, h, before, after, c, memory_before, memory_after, W_hh, unit, units, size, rows, gates, row, keep,
        masks, first,
    ):  # fmt: skip
        """a (A,M)[at] holding W_ih x + b in n, r, z  h (S,Hp)[before]  W_hh panels r, z; n -> h[after]

        With `keep` also gates (P,4H)[row].
        """
        H, width = size, lanes_of(h)
        blocks = -(-H // width)
        at_r, reset_blocks = blocks * width, W_hh.shape[0] - blocks
        at_reset = at_r + reset_blocks * width
        next_gate = at_r if masked else H
        if masked:
            multiply_masked(a, at, at_r, h, before, 0, masks, first, W_hh, 0, 2, H, H, rows, gates, row, 4 * H)
        else:
            accumulate(a, at, at_r, h, before, 0, W_hh, 0, reset_blocks, 0, H, rows)
        for m in range(rows):
            for u in range(0, H, width):
                count = H - u
                a_r = load_some(a, at + m, at_r + u, count)
                a_z = load_some(a, at + m, at_r + next_gate + u, count)
                r, z, h_reset = reset(a_r, a_z, load(h, before + m, u))
                store_some(a, at + m, at_r + next_gate + u, z, count)
                store(a, at + m, at_reset + u, h_reset)
                if keep:
                    store_some(gates, row + m, H + u, r, count)
                    store_some(gates, row + m, 2 * H + u, z, count)
                    store_some(gates, row + m, 3 * H + u, h_reset, count)

        if masked:
            multiply_masked(a, at, 0, a, at, at_reset, masks, first, W_hh, 2, 1, H, H, rows, gates, row, 4 * H)
        else:
            accumulate(a, at, 0, a, at, at_reset, W_hh, reset_blocks, blocks, 0, H, rows)
        for m in range(rows):
            for u in range(0, H, width):
                count = H - u
                a_n = load_some(a, at + m, u, count)
                z = load_some(a, at + m, at_r + next_gate + u, count)
                carried = load(a, at + m, at_reset + u) if reset_carry else load(h, before + m, u)
                h_next, n = update(a_n, z, carried)
                store(h, after + m, u, h_next)
                if keep:
                    store_some(gates, row + m, u, n, count)

    @jit(variant=variant, inline=True)
    def step_backward(
        dy, dy_column, index, dh, dc, d_reset, first, gates, row, h, before, after, c, da, W_hh, unit, units, rows,
        masks,
    ):  # fmt: skip
        """dy (R,L)[index[row:], dy_column:]  dh (B,Hp)[first]  gates (P,4H)[row]  h (S,Hp)[before]  W_hh panels
        -> da (P,3H)[row] of n, r, z  dh

        scratch d_reset (B,Hp)[first], the gradient of h_reset
        """
        H = W_hh.shape[1] // 3
        for m in range(rows):
            for u in range(0, H, lanes_of(dh)):
                count = H - u
                n = load_some(gates, row + m, u, count)
                z = load_some(gates, row + m, 2 * H + u, count)
                dh_next = load(dh, first + m, u) + load_some(dy, index[row + m], dy_column + u, count)
                carried = load_some(gates, row + m, 3 * H + u, count) if reset_carry else load(h, before + m, u)
                da_n, dz, d_carried = update_vjp(dh_next, n, z, carried)
                store_some(da, row + m, u, da_n, count)
                store_some(da, row + m, 2 * H + u, dz, count)
                joins = reset_carry and not masked  # what is carried passes no mask: it joins d_reset behind that
                store(d_reset, first + m, u, d_carried if joins else zero_of(da))
                store(dh, first + m, u, zero_of(da) if joins else d_carried)

        accumulate(d_reset, first, 0, da, row, 0, W_hh, 0, W_hh.shape[0], 2 * H, H, rows)
        for m in range(rows):
            for u in range(0, H, lanes_of(dh)):
                count = H - u
                r = load_some(gates, row + m, H + u, count)
                z = load_some(gates, row + m, 2 * H + u, count)
                dz = load_some(da, row + m, 2 * H + u, count)
                dh_reset, d_carried = load(d_reset, first + m, u), load(dh, first + m, u)
                if masked:
                    dh_reset = dh_reset * load(masks, first + m, 2 * masks.shape[1] // 3 + u)
                    if reset_carry:
                        dh_reset, d_carried = dh_reset + d_carried, zero_of(da)
                da_r, da_z, dh_prev = reset_vjp(dz, dh_reset, r, z, load(h, before + m, u))
                store_some(da, row + m, H + u, da_r, count)
                store_some(da, row + m, 2 * H + u, da_z, count)
                store(dh, first + m, u, d_carried + dh_prev)

    return step_forward, step_backward
