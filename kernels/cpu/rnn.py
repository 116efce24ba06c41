"""Plain RNN: one gate, whose value is h; the tape needs no gates. Names are those of `lstm.py`."""

from fastgate.kernels.cpu.matmul import accumulate
from fastgate.kernels.cpu.recurrent_dropout import multiply_masked
from fastgate.kernels.cpu.simd import lanes_of, load, store, zero_of
from fastgate.kernels.cpu.tail import load_some, store_some
from fastgate.kernels.jit import jit


def make_steps(cell, cell_vjp, variant, *, masked=False):
    @jit(variant=variant, inline=True)
    def step_forward(
        a, at, h, before, after, c, memory_before, memory_after, W_hh, unit, units, size, rows, gates, row, keep,
        masks, first,
    ):  # fmt: skip
        """a (A,M)[at] holding W_ih x + b  h (S,Hp)[before]  W_hh panels -> h[after]"""
        if masked:
            multiply_masked(a, at, 0, h, before, 0, masks, first, W_hh, 0, 1, size, size, rows, gates, row, 0)
        else:
            accumulate(a, at, 0, h, before, 0, W_hh, 0, W_hh.shape[0], 0, size, rows)
        for n in range(rows):
            for u in range(0, units, lanes_of(h)):
                store(h, after + n, unit + u, cell(load_some(a, at + n, u, units - u)))

    @jit(variant=variant, inline=True)
    def step_backward(
        dy, dy_column, index, dh, dc, d_reset, first, gates, row, h, before, after, c, da, W_hh, unit, units, rows,
        masks,
    ):  # fmt: skip
        """dy (R,L)[index[row:], dy_column:]  dh (B,Hp)[first]  h (S,Hp)[after] -> da (P,H)[row]  dh, zero"""
        for n in range(rows):
            for u in range(0, units, lanes_of(dh)):
                own, count = unit + u, units - u
                dh_next = load(dh, first + n, own) + load_some(dy, index[row + n], dy_column + own, count)
                store_some(da, row + n, own, cell_vjp(dh_next, load(h, after + n, own)), count)
                store(dh, first + n, own, zero_of(dh))

    return step_forward, step_backward
