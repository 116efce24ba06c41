"""What kernels need to know of a cell: how many numbers of each kind a unit has, and its equations over them.

The numbers of one unit lie in small arrays, registers in compiled code, with gates in PyTorch's order:

    x     (G,)  what the input and the biases give to its pre-activations
    u     (G,)  what the recurrent product gives to them
    saved (S,)  what backward needs besides h and c
    da    (R,)  gradients of pre-activations: those of x, then those of u that are others

The equations are those of every device, `fastgate.kernels.equations`.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from fastgate.kernels import equations
from fastgate.kernels.jit import equation


class Cell(NamedTuple):
    gates: int  # G
    saved: int  # S
    gradients: int  # R
    recurrent: tuple[int, ...]  # which of da are those of u, in the order of W's gates
    memory: bool  # whether there is a c
    forward: Any  # x, u, b_q, h_prev, c_prev, saved -> h, c
    backward: Any  # saved, h_prev, c_prev, h, c, dh, dc, da -> dh_prev but for the product's part, dc_prev
    # In a cell of two phases, gates 0 and 1 first make of h_prev what the product with gate 2 is of.
    reset: Any = None  # x, u, h_prev, saved -> h_reset
    reset_backward: Any = None  # saved, h_prev, dh_reset, da -> a further part of dh_prev

    @property
    def phases(self):
        """The gates of u that each product gives."""
        return ((0, 1), (2,)) if self.reset else (tuple(range(self.gates)),)


def make_lstm(real, cell=equations.lstm_cell, cell_vjp=equations.lstm_cell_vjp):
    """Gates i, f, g, o, which are saved too."""
    zero = real(0)

    @equation
    def forward(x, u, b_q, h_prev, c_prev, saved):
        h, c, i, f, g, o = cell(x[0] + u[0], x[1] + u[1], x[2] + u[2], x[3] + u[3], c_prev)
        saved[0], saved[1], saved[2], saved[3] = i, f, g, o
        return h, c

    @equation
    def backward(saved, h_prev, c_prev, h, c, dh, dc, da):
        i, f, g, o = saved[0], saved[1], saved[2], saved[3]
        da[0], da[1], da[2], da[3], dc_prev = cell_vjp(dh, dc, i, f, g, o, c_prev, c)
        return zero, dc_prev

    return Cell(4, 4, 4, (0, 1, 2, 3), True, forward, backward)


def make_gru(real, cell=equations.gru_cell, cell_vjp=equations.gru_cell_vjp):
    """Gates r, z, n of cuDNN's and PyTorch's GRU. Saved are r, z, n, q; da has those of r, z, n and q."""

    @equation
    def forward(x, u, b_q, h_prev, c_prev, saved):
        q = u[2] + b_q
        h, n, r, z = cell(x[2], x[0] + u[0], x[1] + u[1], q, h_prev)
        saved[0], saved[1], saved[2], saved[3] = r, z, n, q
        return h, c_prev

    @equation
    def backward(saved, h_prev, c_prev, h, c, dh, dc, da):
        r, z, n, q = saved[0], saved[1], saved[2], saved[3]
        da[2], da[0], da[1], da[3], dh_prev = cell_vjp(dh, n, r, z, q, h_prev)
        return dh_prev, dc

    return Cell(3, 4, 4, (0, 1, 3), False, forward, backward)


def make_gru_reset_before(
    real,
    reset_step=equations.gru_reset,
    reset_vjp=equations.gru_reset_vjp,
    update=equations.gru_update,
    update_vjp=equations.gru_update_vjp,
):
    """The paper's GRU. Saved are r, z, n. Between the two halves of backward, da[1] holds the gradient of z itself."""

    @equation
    def reset(x, u, h_prev, saved):
        r, z, h_reset = reset_step(x[0] + u[0], x[1] + u[1], h_prev)
        saved[0], saved[1] = r, z
        return h_reset

    @equation
    def forward(x, u, b_q, h_prev, c_prev, saved):
        h, n = update(x[2] + u[2], saved[1], h_prev)
        saved[2] = n
        return h, c_prev

    @equation
    def backward(saved, h_prev, c_prev, h, c, dh, dc, da):
        da[2], da[1], dh_prev = update_vjp(dh, saved[2], saved[1], h_prev)
        return dh_prev, dc

    @equation
    def reset_backward(saved, h_prev, dh_reset, da):
        da[0], da[1], dh_prev = reset_vjp(da[1], dh_reset, saved[0], saved[1], h_prev)
        return dh_prev

    return Cell(3, 3, 3, (0, 1, 2), False, forward, backward, reset, reset_backward)


def make_rnn(real, cell, cell_vjp):
    """Nothing is saved: the slope is seen in h."""
    zero = real(0)

    @equation
    def forward(x, u, b_q, h_prev, c_prev, saved):
        h = cell(x[0] + u[0])
        return h, c_prev

    @equation
    def backward(saved, h_prev, c_prev, h, c, dh, dc, da):
        da[0] = cell_vjp(dh, h)
        return zero, dc

    return Cell(1, 0, 1, (0,), False, forward, backward)


MAKERS = {
    "lstm": make_lstm,
    "gru": make_gru,
    "gru_reset_before": make_gru_reset_before,
    "rnn_tanh": lambda real: make_rnn(real, equations.rnn_tanh_cell, equations.rnn_tanh_cell_vjp),
    "rnn_relu": lambda real: make_rnn(real, equations.rnn_relu_cell, equations.rnn_relu_cell_vjp),
}


@cache
def cell(name, dtype):
    """The `Cell` of this name, one of `MAKERS`, for "float32" or "float64"."""
    return MAKERS[name](np.dtype(dtype).type)
