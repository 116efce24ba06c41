"""What kernels need to know of a cell: how many numbers of each kind a unit has, and its equations over them.

The numbers of one unit lie in small arrays, registers in compiled code, with gates in PyTorch's order:

    x     (G,)  what the input and the biases give to its pre-activations
    u     (G,)  what the recurrent product gives to them
    own   (P,)  weights of this unit alone
    saved (S,)  what backward needs besides h and c
    da    (R,)  gradients of pre-activations: those of x, then those of u that are others

The equations are those of every device, `fastgate.kernels.equations`.
"""

from functools import cache, partial
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
    forward: Any  # x, u, own, h_prev, c_prev, saved -> h, c
    backward: Any  # saved, own, h_prev, c_prev, h, c, dh, dc, da -> dh_prev but for the product's part, dc_prev
    # In a cell of two phases, gates 0 and 1 first make of h_prev what the product with gate 2 is of.
    reset: Any = None  # x, u, h_prev, saved -> h_reset
    reset_backward: Any = None  # saved, h_prev, dh_reset, da -> a further part of dh_prev
    own: int = 0  # P
    peepholes: tuple[int, ...] = ()  # whose gates see c, the last of them the new one: what `own` is, backward too
    is_masked: bool = False  # what each gate's product is of is multiplied by a mask, see `recurrent_dropout.py`
    is_projected: bool = False  # h is a product of what others call h, the last of what is saved

    @property
    def phases(self):
        """The gates of u that each product gives."""
        return ((0, 1), (2,)) if self.reset else (tuple(range(self.gates)),)


def make_lstm(real, cell=equations.lstm_cell, cell_vjp=equations.lstm_cell_vjp, *, peepholes=False):
    """Gates i, f, g, o, which are saved too. The equations are those with peepholes, or not."""
    zero, seeing = real(0), (0, 1, 3) if peepholes else ()

    @equation
    def forward(x, u, own, h_prev, c_prev, saved):
        a_i, a_f, a_g, a_o = x[0] + u[0], x[1] + u[1], x[2] + u[2], x[3] + u[3]
        if peepholes:
            h, c, i, f, g, o = cell(a_i, a_f, a_g, a_o, c_prev, own[0], own[1], own[2])
        else:
            h, c, i, f, g, o = cell(a_i, a_f, a_g, a_o, c_prev)
        saved[0], saved[1], saved[2], saved[3] = i, f, g, o
        return h, c

    @equation
    def backward(saved, own, h_prev, c_prev, h, c, dh, dc, da):
        i, f, g, o = saved[0], saved[1], saved[2], saved[3]
        if peepholes:
            da_i, da_f, da_g, da_o, dc_prev = cell_vjp(dh, dc, i, f, g, o, c_prev, c, own[0], own[1], own[2])
        else:
            da_i, da_f, da_g, da_o, dc_prev = cell_vjp(dh, dc, i, f, g, o, c_prev, c)
        da[0], da[1], da[2], da[3] = da_i, da_f, da_g, da_o
        return zero, dc_prev

    return Cell(4, 4, 4, (0, 1, 2, 3), True, forward, backward, own=len(seeing), peepholes=seeing)


def make_coupled_lstm(real, cell=equations.coupled_cell, cell_vjp=equations.coupled_cell_vjp, *, peepholes=False):
    """The same without a gate f, as f = 1 - i."""
    zero, seeing = real(0), (0, 2) if peepholes else ()

    @equation
    def forward(x, u, own, h_prev, c_prev, saved):
        a_i, a_g, a_o = x[0] + u[0], x[1] + u[1], x[2] + u[2]
        if peepholes:
            h, c, i, g, o = cell(a_i, a_g, a_o, c_prev, own[0], own[1])
        else:
            h, c, i, g, o = cell(a_i, a_g, a_o, c_prev)
        saved[0], saved[1], saved[2] = i, g, o
        return h, c

    @equation
    def backward(saved, own, h_prev, c_prev, h, c, dh, dc, da):
        i, g, o = saved[0], saved[1], saved[2]
        if peepholes:
            da_i, da_g, da_o, dc_prev = cell_vjp(dh, dc, i, g, o, c_prev, c, own[0], own[1])
        else:
            da_i, da_g, da_o, dc_prev = cell_vjp(dh, dc, i, g, o, c_prev, c)
        da[0], da[1], da[2] = da_i, da_g, da_o
        return zero, dc_prev

    return Cell(3, 3, 3, (0, 1, 2), True, forward, backward, own=len(seeing), peepholes=seeing)


def projected(made):
    """That cell with a projection: what it calls h is saved behind all else."""
    advance, place = made.forward, made.saved

    @equation
    def forward(x, u, own, h_prev, c_prev, saved):
        shown, c = advance(x, u, own, h_prev, c_prev, saved)
        saved[place] = shown
        return shown, c

    return made._replace(saved=place + 1, forward=forward, is_projected=True)


def make_gru(real, cell=equations.gru_cell, cell_vjp=equations.gru_cell_vjp):
    """Gates r, z, n of cuDNN's and PyTorch's GRU; own is b_hn. Saved are r, z, n, q; da has those of r, z, n and q."""

    @equation
    def forward(x, u, own, h_prev, c_prev, saved):
        q = u[2] + own[0]
        h, n, r, z = cell(x[2], x[0] + u[0], x[1] + u[1], q, h_prev)
        saved[0], saved[1], saved[2], saved[3] = r, z, n, q
        return h, c_prev

    @equation
    def backward(saved, own, h_prev, c_prev, h, c, dh, dc, da):
        r, z, n, q = saved[0], saved[1], saved[2], saved[3]
        da[2], da[0], da[1], da[3], dh_prev = cell_vjp(dh, n, r, z, q, h_prev)
        return dh_prev, dc

    return Cell(3, 4, 4, (0, 1, 3), False, forward, backward, own=1)


def make_gru_reset_before(
    real,
    reset_step=equations.gru_reset,
    reset_vjp=equations.gru_reset_vjp,
    update=equations.gru_update,
    update_vjp=equations.gru_update_vjp,
    *,
    carries_reset=False,
):
    """The paper's GRU, or that which carries over r * h_prev in place of h_prev, too. Saved are r, z, n. Between the
    halves of backward, da[1] holds the gradient of z itself, and da[0] that of r * h_prev as far as it is carried over.
    """
    zero = real(0)

    @equation
    def reset(x, u, h_prev, saved):
        r, z, h_reset = reset_step(x[0] + u[0], x[1] + u[1], h_prev)
        saved[0], saved[1] = r, z
        return h_reset

    @equation
    def carried(saved, h_prev):
        return saved[0] * h_prev if carries_reset else h_prev

    @equation
    def forward(x, u, own, h_prev, c_prev, saved):
        h, n = update(x[2] + u[2], saved[1], carried(saved, h_prev))
        saved[2] = n
        return h, c_prev

    @equation
    def backward(saved, own, h_prev, c_prev, h, c, dh, dc, da):
        da[2], da[1], d_carried = update_vjp(dh, saved[2], saved[1], carried(saved, h_prev))
        if carries_reset:
            da[0] = d_carried
        return zero if carries_reset else d_carried, dc

    @equation
    def reset_backward(saved, h_prev, dh_reset, da):
        dh = dh_reset + da[0] if carries_reset else dh_reset
        da[0], da[1], dh_prev = reset_vjp(da[1], dh, saved[0], saved[1], h_prev)
        return dh_prev

    return Cell(3, 3, 3, (0, 1, 2), False, forward, backward, reset, reset_backward)


def make_rnn(real, cell, cell_vjp):
    """Nothing is saved: the slope is seen in h."""
    zero = real(0)

    @equation
    def forward(x, u, own, h_prev, c_prev, saved):
        h = cell(x[0] + u[0])
        return h, c_prev

    @equation
    def backward(saved, own, h_prev, c_prev, h, c, dh, dc, da):
        da[0] = cell_vjp(dh, h)
        return zero, dc

    return Cell(1, 0, 1, (0,), False, forward, backward)


MAKERS = {
    "lstm": make_lstm,
    "lstm_peepholes": partial(
        make_lstm, cell=equations.peephole_cell, cell_vjp=equations.peephole_cell_vjp, peepholes=True
    ),
    "lstm_coupled": make_coupled_lstm,
    "lstm_coupled_peepholes": partial(
        make_coupled_lstm,
        cell=equations.coupled_peephole_cell,
        cell_vjp=equations.coupled_peephole_cell_vjp,
        peepholes=True,
    ),
    "gru": make_gru,
    "gru_reset_before": make_gru_reset_before,
    "gru_reset_carry": partial(make_gru_reset_before, carries_reset=True),
    "rnn_tanh": partial(make_rnn, cell=equations.rnn_tanh_cell, cell_vjp=equations.rnn_tanh_cell_vjp),
    "rnn_relu": partial(make_rnn, cell=equations.rnn_relu_cell, cell_vjp=equations.rnn_relu_cell_vjp),
}


@cache
def cell(name, dtype):
    """The `Cell` of this name, one of `MAKERS`, for "float32" or "float64"."""
    return MAKERS[name](np.dtype(dtype).type)
