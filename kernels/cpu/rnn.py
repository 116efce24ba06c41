"""Plain RNN, tanh or relu: one place of pre-activations, which become h. Names of rows are those of `lstm.py`."""

from fastgate.kernels import equations
from fastgate.kernels.cpu.matmul import accumulate
from fastgate.kernels.cpu.rows import clear_padding
from fastgate.kernels.cpu.simd import lanes_of, load, store
from fastgate.kernels.jit import jit


def make_steps(cell, cell_vjp, variant):
    @jit(variant=variant, inline=True)
    def step_forward(gates, at, h, before, after, c, memory_before, memory_after, W_hh, rows, keep):
        """gates (P,Hp) holding W_ih x + b  h (S,Hp)[before]  W_hh panels -> h[after]"""
        accumulate(gates, at, 0, h, before, 0, W_hh, 0, W_hh.shape[0], 0, W_hh.shape[1], rows)
        for n in range(rows):
            for u in range(0, h.shape[1], lanes_of(h)):
                store(h, after + n, u, cell(load(gates, at + n, u)))

    @jit(variant=variant, inline=True)
    def step_backward(dh, dc, first, gates, at, h, before, after, c, da, W_hh, rows, units):
        """dh (S,Hp)[after]  h (S,Hp)[after]  W_hh panels -> da (P,Hp)[at]  dh[before] +="""
        for n in range(rows):
            for u in range(0, dh.shape[1], lanes_of(dh)):
                store(da, at + n, u, cell_vjp(load(dh, after + n, u), load(h, after + n, u)))
        clear_padding(da, at, rows, units, dh.shape[1])
        accumulate(dh, before, 0, da, at, 0, W_hh, 0, W_hh.shape[0], 0, W_hh.shape[1], rows)

    return step_forward, step_backward


tanh_step_forward, tanh_step_backward = make_steps(equations.rnn_tanh_cell, equations.rnn_tanh_cell_vjp, "tanh")
relu_step_forward, relu_step_backward = make_steps(equations.rnn_relu_cell, equations.rnn_relu_cell_vjp, "relu")
