"""LSTM: one time step of all rows and a slice of the units, forward and backward.

Names shared by all cells: `unit` is the first of the `units` of this slice, and `size` is the size of h, over which the
recurrent product sums. `a` (A,M)[at:] holds the slice's pre-activations, one group of gates behind the other
(`layout.py`). `gates` (P,4H)[row:] is the tape: i, f, g, o of all units, no padding. `before` and `after` are the first
rows of the states (S,Hp) before and after the step, `memory_*` the same for c, which inference overwrites in place.
`first` is the first row of dh and dc, the gradients carried back from step to step: dh ends up without what comes
through W_hh, which the driver adds.

A `coupled` cell has no gate f. Peepholes p are a group of `a` behind the gates, where the bias puts them; on the way
back they are rows of the panels, behind those of W_hh. A `projected` cell has h = W_hr m of fewer units than c, where m
is what others call h: a group of `a` as well, and kept by the tape behind the gates. A step then has two phases and is
never cut into slices of units; panels of W_hr follow those of W_hh, and `da` keeps dh of every step behind the gates.
A `masked` cell has masks, which no other reads, with `first` for their first row (`recurrent_dropout.py`).
"""

from fastgate.kernels.cpu.matmul import accumulate
from fastgate.kernels.cpu.recurrent_dropout import multiply_masked
from fastgate.kernels.cpu.simd import lanes_of, load, store, zero_of
from fastgate.kernels.cpu.tail import load_some, store_some
from fastgate.kernels.jit import jit


def make_steps(cell, cell_vjp, variant, *, coupled=False, peepholes=False, projected=False, masked=False):
    G, O, COUNT = (1, 2, 3) if coupled else (2, 3, 4)  # places of the gates g and o, and how many there are
    KEPT = COUNT + projected  # gates before the operands of a masked cell
    P_O = O - 1 if peepholes else -1  # place of the last peephole

    @jit(variant=variant, inline=True)
    def step_forward(
        a, at, h, before, after, c, memory_before, memory_after, W_hh, unit, units, size, rows, gates, row, keep,
        masks, first,
    ):  # fmt: skip
        """a (A,M)[at] holding W_ih x + b  h (S,Hp)[before]  c[memory_before]  W_hh panels
        -> h[after]  c[memory_after]

        With `keep` also gates (P,4H)[row].
        """
        width = lanes_of(h)
        H = units if projected else size
        # A masked cell has each gate in a group of its own.
        next_gate = -(-units // width) * width if masked else units
        at_p = -(-COUNT * next_gate // width) * width
        at_m = at_p - (-(P_O + 1) * units // width) * width
        panels = at_p // width if projected else W_hh.shape[0]
        if masked:
            multiply_masked(
                a, at, 0, h, before, 0, masks, first, W_hh, 0, COUNT, H, size, rows, gates, row, KEPT * H
            )  # fmt: skip
        else:
            accumulate(a, at, 0, h, before, 0, W_hh, 0, panels, 0, size, rows)
        for n in range(rows):
            for u in range(0, units, width):
                count, own = units - u, unit + u
                c_prev = load(c, memory_before + n, own)
                a_i = load_some(a, at + n, u, count)
                a_g = load_some(a, at + n, G * next_gate + u, count)
                a_o = load_some(a, at + n, O * next_gate + u, count)
                if peepholes:
                    p_i = load_some(a, at + n, at_p + u, count)
                    p_o = load_some(a, at + n, at_p + P_O * units + u, count)
                if coupled:
                    if peepholes:
                        h_next, c_next, i, g, o = cell(a_i, a_g, a_o, c_prev, p_i, p_o)
                    else:
                        h_next, c_next, i, g, o = cell(a_i, a_g, a_o, c_prev)
                else:
                    a_f = load_some(a, at + n, next_gate + u, count)
                    if peepholes:
                        p_f = load_some(a, at + n, at_p + units + u, count)
                        h_next, c_next, i, f, g, o = cell(a_i, a_f, a_g, a_o, c_prev, p_i, p_f, p_o)
                    else:
                        h_next, c_next, i, f, g, o = cell(a_i, a_f, a_g, a_o, c_prev)
                    if keep:
                        store_some(gates, row + n, H + own, f, count)
                store(c, memory_after + n, own, c_next)
                if keep:
                    store_some(gates, row + n, own, i, count)
                    store_some(gates, row + n, G * H + own, g, count)
                    store_some(gates, row + n, O * H + own, o, count)
                if projected:
                    store(a, at + n, at_m + u, h_next)
                    if keep:
                        store_some(gates, row + n, COUNT * H + u, h_next, count)
                else:
                    store(h, after + n, own, h_next)

        if projected:
            for n in range(rows):
                for u in range(0, size, width):
                    store(h, after + n, u, zero_of(h))
            accumulate(h, after, 0, a, at, at_m, W_hh, panels, W_hh.shape[0] - panels, 0, H, rows)

    @jit(variant=variant, inline=True)
    def step_backward(
        dy, dy_column, index, dh, dc, dm, first, gates, row, h, before, after, c, da, W_hh, unit, units, rows,
        masks,
    ):  # fmt: skip
        """dy (R,L)[index[row:], dy_column:]  dh, dc (B,Hp)[first]  gates (P,4H)[row]  c (S,Hp)  W_hh panels
        -> da (P,4H)[row] of i, f, g, o  dc  dh, zero

        scratch dm (B,Hp)[first]
        """
        width = lanes_of(dh)
        H = units if projected else da.shape[1] // COUNT
        size = da.shape[1] - COUNT * H if projected else H
        blocks = -(-size // width) if projected else 0  # panels of W_hh before those of W_hr
        depth = W_hh.shape[1]
        lines = W_hh.reshape((W_hh.shape[0] * depth, W_hh.shape[2]))
        at_p = size if projected else COUNT * H
        if projected:
            for n in range(rows):
                for u in range(0, size, width):
                    dh_next = load(dh, first + n, u) + load_some(dy, index[row + n], dy_column + u, size - u)
                    store_some(da, row + n, COUNT * H + u, dh_next, size - u)
                    store(dh, first + n, u, zero_of(dh))
                for u in range(0, H, width):
                    store(dm, first + n, u, zero_of(dh))
            accumulate(dm, first, 0, da, row, COUNT * H, W_hh, blocks, W_hh.shape[0] - blocks, 0, size, rows)

        for n in range(rows):
            for u in range(0, units, width):
                count, own = units - u, unit + u
                i = load_some(gates, row + n, own, count)
                g = load_some(gates, row + n, G * H + own, count)
                o = load_some(gates, row + n, O * H + own, count)
                c_prev, c_next, dc_next = load(c, before + n, own), load(c, after + n, own), load(dc, first + n, own)
                if projected:
                    dh_next = load(dm, first + n, own)
                else:
                    dh_next = load(dh, first + n, own) + load_some(dy, index[row + n], dy_column + own, count)
                    store(dh, first + n, own, zero_of(dh))
                if peepholes:
                    line = (blocks + own // width) * depth + at_p
                    p_i, p_o = load(lines, line, 0), load(lines, line + P_O, 0)
                if coupled:
                    if peepholes:
                        da_i, da_g, da_o, dc_prev = cell_vjp(dh_next, dc_next, i, g, o, c_prev, c_next, p_i, p_o)
                    else:
                        da_i, da_g, da_o, dc_prev = cell_vjp(dh_next, dc_next, i, g, o, c_prev, c_next)
                else:
                    f = load_some(gates, row + n, H + own, count)
                    if peepholes:
                        p_f = load(lines, line + 1, 0)
                        da_i, da_f, da_g, da_o, dc_prev = cell_vjp(
                            dh_next, dc_next, i, f, g, o, c_prev, c_next, p_i, p_f, p_o
                        )
                    else:
                        da_i, da_f, da_g, da_o, dc_prev = cell_vjp(dh_next, dc_next, i, f, g, o, c_prev, c_next)
                    store_some(da, row + n, H + own, da_f, count)
                store_some(da, row + n, own, da_i, count)
                store_some(da, row + n, G * H + own, da_g, count)
                store_some(da, row + n, O * H + own, da_o, count)
                store(dc, first + n, own, dc_prev)

    return step_forward, step_backward
