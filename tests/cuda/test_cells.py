"""The CUDA cells, as plain Python: backward is the gradient of forward, gate by gate."""

import numpy as np
import pytest

from fastgate.kernels.cuda.cells import MAKERS, cell

STEP = 1e-6


def run(cell, x, W_u, own, h_prev, c_prev):
    """One unit whose product is W_u * (what the phase multiplies) -> h, c, saved"""
    u, saved = np.full(cell.gates, np.nan), np.full(4, np.nan)
    operand = h_prev
    for phase, gates in enumerate(cell.phases):
        if phase:
            operand = cell.reset(x, u, h_prev, saved)
        u[list(gates)] = W_u[list(gates)] * operand
    return *cell.forward(x, u, own, h_prev, c_prev, saved), saved


@pytest.mark.parametrize("name", MAKERS)
def test_backward_is_the_gradient_of_forward(name):
    made = cell(name, "float64")
    rng = np.random.default_rng(3)
    x, W_u = rng.standard_normal(made.gates), rng.standard_normal(made.gates)
    own = rng.standard_normal(made.own)
    h_prev, c_prev, dh, dc = rng.standard_normal(4)
    if name == "rnn_relu":
        x += 2  # on the side where it is not flat
    h, c, saved = run(made, x, W_u, own, h_prev, c_prev)
    if not made.memory:
        dc = 0.0

    da = np.full(made.gradients, np.nan)
    dh_prev, dc_prev = made.backward(saved, own, h_prev, c_prev, h, c, dh, dc, da)
    if made.reset:
        dh_prev += made.reset_backward(saved, h_prev, da[2] * W_u[2], da)
        dh_prev += da[:2] @ W_u[:2]
    else:
        dh_prev += da[list(made.recurrent)] @ W_u

    def loss(x, h_prev, c_prev):
        h, c, _ = run(made, x, W_u, own, h_prev, c_prev)
        return dh * h + dc * c

    def slope(f):
        return (f(STEP) - f(-STEP)) / (2 * STEP)

    for gate in range(made.gates):
        unit = np.eye(made.gates)[gate]
        found = slope(lambda e, unit=unit: loss(x + e * unit, h_prev, c_prev))
        np.testing.assert_allclose(da[gate], found, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(dh_prev, slope(lambda e: loss(x, h_prev + e, c_prev)), rtol=1e-7, atol=1e-9)
    if made.memory:
        np.testing.assert_allclose(dc_prev, slope(lambda e: loss(x, h_prev, c_prev + e)), rtol=1e-7, atol=1e-9)
