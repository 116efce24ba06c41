"""A simulator with a network in it: its gradients, through the whole loop, by both modes of `fastgate.jit`."""

import numpy as np
import pytest
from cases import make
from differences import assert_close, differences, in_params
from numba import njit

import fastgate as fg
import fastgate.jit as fj

STEPS, B, H = 5, 3, 3


@njit
def simulate(cell, head, start, tape, positions, inputs, outputs, forces):
    """Springs, pushed by what the network makes of position and speed; inputs (T,B,2), and so on -> the loss."""
    steps, rows = positions.shape
    state, p, v, loss = fj.new_state(cell, rows), start.copy(), np.zeros(rows), 0.0
    for t in range(steps):
        inputs[t, :, 0], inputs[t, :, 1] = p, v
        fj.step(cell, inputs[t], state, outputs[t], tape, t)
        fj.linear(head, outputs[t], forces[t])
        p, v = p + 0.1 * v, v + 0.1 * (forces[t, :, 0] - p)
        positions[t] = p
        loss += 0.5 * np.sum(p * p)
    return loss


@njit
def simulate_backward(cell, head, tape, positions, outputs, d_cell, d_head):
    """Through the whole loop, from its end: gradients of the loss in the parameters and in the start."""
    (steps, rows), units = positions.shape, outputs.shape[2]
    dstate, d_inputs = fj.new_state(cell, rows), np.zeros((rows, 2))
    d_outputs, d_forces = np.zeros((rows, units)), np.zeros((rows, 1))
    dp, dv = np.zeros(rows), np.zeros(rows)
    for t in range(steps - 1, -1, -1):
        dp = dp + positions[t]
        d_forces[:, 0] = 0.1 * dv
        fj.linear_backward(head, outputs[t], d_forces, d_outputs, d_head)
        fj.step_backward(cell, tape, t, d_outputs, dstate, d_inputs, d_cell)
        dp, dv = dp - 0.1 * dv + d_inputs[:, 0], dv + 0.1 * dp + d_inputs[:, 1]
    return dp


@njit
def simulate_forward_mode(cell, head, slopes, start, start_t, steps, direction):
    """The derivative of the loss in one direction of the start and of the cell's parameters; slopes: head, no bias."""
    rows = start.size
    state, tangent, derivative = fj.new_state(cell, rows), fj.new_state(cell, rows), 0.0
    p, v, p_t, v_t = start.copy(), np.zeros(rows), start_t.copy(), np.zeros(rows)
    x, x_t, force, force_t = np.zeros((rows, 2)), np.zeros((rows, 2)), np.zeros((rows, 1)), np.zeros((rows, 1))
    y, y_t = np.zeros(state.h[0].shape), np.zeros(state.h[0].shape)
    for _ in range(steps):
        x[:, 0], x[:, 1], x_t[:, 0], x_t[:, 1] = p, v, p_t, v_t
        fj.jvp_step(cell, x, state, y, x_t, tangent, y_t, direction)
        fj.linear(head, y, force)
        fj.linear(slopes, y_t, force_t)
        p, v = p + 0.1 * v, v + 0.1 * (force[:, 0] - p)
        p_t, v_t = p_t + 0.1 * v_t, v_t + 0.1 * (force_t[:, 0] - p_t)
        derivative += np.sum(p * p_t)
    return derivative


@pytest.mark.parametrize("kind", ["lstm", "gru", "gru_reset_before", "gru_reset_carry", "rnn_tanh"])
def test_gradients_through_a_whole_simulation(kind):
    """Of both modes, against central differences: in the parameters of a stack and of its head, and in the start."""
    layer, linear = make(kind, 2, H, num_layers=2), fg.Linear(H, 1, dtype="float64", seed=1)
    cell, head, rng = layer.jit(), linear.jit(), np.random.default_rng(0)
    tape, positions, outputs = fj.new_tape(cell, STEPS, B), np.empty((STEPS, B)), np.empty((STEPS, B, H))
    arrays = positions, np.empty((STEPS, B, 2)), outputs, np.empty((STEPS, B, 1))
    start, start_t = rng.standard_normal((2, B))

    def loss():
        return simulate(layer.jit(), linear.jit(), start, tape, *arrays)

    expected = [in_params(layer.params, loss), in_params(linear.params, loss), differences(loss, start)]
    loss()
    d_cell, d_head = fj.new_gradient(cell), fj.new_gradient(head)
    d_start = simulate_backward(cell, head, tape, positions, outputs, d_cell, d_head)
    for found, value in zip((d_cell, d_head, d_start), expected, strict=True):
        assert_close(found, value)

    turned = make(kind, 2, H, num_layers=2)
    turned.params.flat = rng.standard_normal(d_cell.size)
    slopes = fg.Linear(H, 1, dtype="float64")
    slopes.params.update({"weight": linear.params["weight"], "bias": [0.0]})
    derivative = simulate_forward_mode(cell, head, slopes.jit(), start, start_t, STEPS, turned.jit())
    assert_close(derivative, turned.params.flat @ expected[0] + start_t @ expected[2])
