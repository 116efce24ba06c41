"""`fastgate.jit`: cells inside users' compiled loops have the layer's bits, its gradients, and touch nothing else."""

import pickle

import numpy as np
import pytest
from cases import draw, join, make, split
from differences import assert_close, differences, in_params
from guarded import guarded
from numba import njit
from numba.core.errors import TypingError

import fastgate as fg
import fastgate.jit as fj

# Every kind, whole vectors and not, one block and several, one row, few and more than a tile has.
LAYERS = {
    "lstm": ({"num_layers": 2}, 3, 5, 6),
    "gru": ({"dtype": "float32"}, 1, 33, 1),
    "gru_reset_before": ({"num_layers": 2}, 2, 9, 2),
    "gru_reset_carry": ({"dtype": "float32", "bias": False}, 3, 4, 2),
    "rnn_tanh": ({"bias": "single"}, 9, 3, 1),
    "rnn_relu": ({"dtype": "float32"}, 2, 20, 5),
}
T = 4


@njit
def run(cell, x, state, y):
    for t in range(x.shape[0]):
        fj.step(cell, x[t], state, y[t])


@njit
def run_both_ways(cell, x, state, y, tape, dy, dstate, dx, gradient):
    fj.forward(cell, x, state, y, tape)
    fj.backward(cell, tape, dy, dstate, dx, gradient)


@njit
def run_with_tangents(cell, x, state, y, x_tangent, state_tangent, y_tangent, direction):
    for t in range(x.shape[0]):
        fj.jvp_step(cell, x[t], state, y[t], x_tangent[t], state_tangent, y_tangent[t], direction)


def case(kind, seed=1):
    """A layer, x (T,B,I), a start, and the same as a State."""
    options, I, H, B = LAYERS[kind]
    layer = make(kind, I, H, batch_first=False, **options)
    x, start = draw(np.random.default_rng(seed), layer, B, T)
    return layer, x, start, state_of(layer, start)


def state_of(layer, parts):
    state = fj.new_state(layer.jit(), parts[0].shape[1])
    for target, part in zip((state.h, state.c), parts, strict=False):
        target[...] = part
    return state


def parts_of(state, like):
    return [np.array(part) for part in (state.h, state.c)[: len(like)]]


@pytest.mark.parametrize("kind", LAYERS)
def test_steps_have_the_bits_of_the_layer(kind):
    layer, x, start, state = case(kind)
    expected, end = layer(x, join(start))
    y = guarded(np.full_like(expected, np.nan), "end")
    run(layer.jit(), guarded(x, "end"), state, y)
    np.testing.assert_array_equal(y, expected)
    for found, part in zip(parts_of(state, start), split(end), strict=True):
        np.testing.assert_array_equal(found, part)


@pytest.mark.parametrize("kind", LAYERS)
def test_gradients_are_those_of_the_layer(kind):
    """And those of forward mode, whose product with dy is that of the gradients with the tangents."""
    layer, x, start, state = case(kind)
    rng, cell, (steps, B, _) = np.random.default_rng(2), layer.jit(), x.shape
    dy = rng.standard_normal((steps, B, layer.hidden_size)).astype(layer.dtype)
    _, d_end = draw(rng, layer, B, T)
    y, dstate, dx, gradient = np.empty_like(dy), state_of(layer, d_end), np.empty_like(x), fj.new_gradient(cell)
    x, y, dy, dx, gradient = (guarded(array, "end") for array in (x, y, dy, dx, gradient))
    run_both_ways(cell, x, state, y, fj.new_tape(cell, T, B), dy, dstate, dx, gradient)

    expected, _, tape = layer.forward(x, join(start))
    np.testing.assert_array_equal(y, expected)
    grads = layer.backward(tape, dy, join(d_end))
    close = {"rtol": 1e-12, "atol": 1e-13} if layer.dtype == np.float64 else {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_allclose(dx, grads.x, **close)
    np.testing.assert_allclose(gradient, grads.params.flat, **close)
    for found, part in zip(parts_of(dstate, start), split(grads.state), strict=True):
        np.testing.assert_allclose(found, part, **close)

    x_tangent, start_tangent = draw(rng, layer, B, T)
    turned = rng.standard_normal(layer.params.flat.size).astype(layer.dtype)
    tangent, y_tangent, y_again = state_of(layer, start_tangent), np.empty_like(y), np.empty_like(y)
    run_with_tangents(
        cell, x, state_of(layer, start), y_again, x_tangent, tangent, y_tangent, with_params(layer, turned).jit()
    )
    np.testing.assert_array_equal(y_again, y)
    back = sum(np.vdot(a, b) for a, b in zip(split(grads.state), start_tangent, strict=True))
    back += np.vdot(grads.x, x_tangent) + np.vdot(grads.params.flat, turned)
    there = np.vdot(dy, y_tangent) + sum(np.vdot(a, b) for a, b in zip(d_end, parts_of(tangent, start), strict=True))
    np.testing.assert_allclose(there, back, rtol=1e-11 if layer.dtype == np.float64 else 1e-3)


def with_params(layer, flat):
    twin = pickle.loads(pickle.dumps(layer))
    twin.params.flat = flat
    return twin


# ------------------------------------------------------------------------------------- a simulator with a network in it


@njit
def simulate(cell, head, start, tape, positions, inputs, outputs, forces):
    """A spring, pushed by what the network makes of position and speed; steps x 2 inputs, and so on -> the loss."""
    state, p, v, loss = fj.new_state(cell, 1), start, 0.0, 0.0
    for t in range(positions.size):
        inputs[t, 0], inputs[t, 1] = p, v
        fj.step(cell, inputs[t], state, outputs[t], tape, t)
        fj.linear(head, outputs[t], forces[t])
        p, v = p + 0.1 * v, v + 0.1 * (forces[t, 0] - p)
        positions[t] = p
        loss += 0.5 * p * p
    return loss


@njit
def simulate_backward(cell, head, tape, positions, outputs, d_cell, d_head):
    """Through the whole loop, from its end: gradients of the loss in the parameters and in the start."""
    H = outputs.shape[1]
    dstate, d_inputs, d_outputs, d_force = fj.new_state(cell, 1), np.zeros(2), np.zeros(H), np.zeros(1)
    dp, dv = 0.0, 0.0
    for t in range(positions.size - 1, -1, -1):
        dp += positions[t]
        d_force[0] = 0.1 * dv
        fj.linear_backward(head, outputs[t], d_force, d_outputs, d_head)
        fj.step_backward(cell, tape, t, d_outputs, dstate, d_inputs, d_cell)
        dp, dv = dp - 0.1 * dv + d_inputs[0], dv + 0.1 * dp + d_inputs[1]
    return dp


@njit
def simulate_forward_mode(cell, head, start, steps, direction):
    """The derivative of the loss in one direction of the cell's parameters."""
    state, tangent, p, v, p_t, v_t = fj.new_state(cell, 1), fj.new_state(cell, 1), start, 0.0, 0.0, 0.0
    H, derivative = state.h.shape[2], 0.0
    x, x_t, y, y_t, force, force_t = np.zeros(2), np.zeros(2), np.zeros(H), np.zeros(H), np.zeros(1), np.zeros(1)
    zero, zeros = np.zeros(1), np.zeros(H)
    fj.linear(head, zeros, zero)  # the bias, which a tangent does not see
    for _ in range(steps):
        x[0], x[1], x_t[0], x_t[1] = p, v, p_t, v_t
        fj.jvp_step(cell, x, state, y, x_t, tangent, y_t, direction)
        fj.linear(head, y, force)
        fj.linear(head, y_t, force_t)
        p, v, p_t, v_t = (
            p + 0.1 * v,
            v + 0.1 * (force[0] - p),
            p_t + 0.1 * v_t,
            v_t + 0.1 * (force_t[0] - zero[0] - p_t),
        )
        derivative += p * p_t
    return derivative


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_gradients_through_a_whole_simulation(kind):
    steps, H = 6, 4
    layer, linear = make(kind, 2, H), fg.Linear(H, 1, dtype="float64", seed=1)
    cell, head = layer.jit(), linear.jit()
    tape, positions = fj.new_tape(cell, steps, 1), np.empty(steps)
    arrays = positions, np.empty((steps, 2)), np.empty((steps, H)), np.empty((steps, 1))
    start = np.array([0.7])

    def loss():
        return simulate(layer.jit(), linear.jit(), start[0], tape, *arrays)

    expected = [in_params(layer.params, loss), in_params(linear.params, loss), differences(loss, start)]
    loss()
    d_cell, d_head = fj.new_gradient(cell), fj.new_gradient(head)
    d_start = simulate_backward(cell, head, tape, positions, arrays[2], d_cell, d_head)
    for found, value in zip((d_cell, d_head, [d_start]), expected, strict=True):
        assert_close(found, value)

    turned = np.random.default_rng(0).standard_normal(layer.params.flat.size)
    derivative = simulate_forward_mode(cell, head, start[0], steps, with_params(layer, turned).jit())
    assert_close(derivative, turned @ expected[0])


# -------------------------------------------------------------------------------------------------------- arguments


def small(**options):
    layer = make("rnn_tanh", 9, 3, bias="single", **options)
    return layer, layer.jit(), np.random.default_rng(0).standard_normal((2, 9))


def test_arrays_of_any_strides_and_without_the_axis_of_a_batch():
    layer, cell, x = small()
    expected, _ = layer.step(x)
    y = np.full((2, 6), np.nan)
    fj.step(cell, np.asfortranarray(x), fj.new_state(cell, 2), y[:, ::2])
    np.testing.assert_array_equal(y[:, ::2], expected)
    assert np.isnan(y[:, 1::2]).all()
    one = np.empty(3)
    fj.step(cell, x[1], fj.new_state(cell, 1), one)
    np.testing.assert_array_equal(one, expected[1])


def test_a_state_is_read_and_written_in_place():
    layer, cell, x = small()
    state, y = fj.new_state(cell, 2), np.empty((2, 3))
    state.h[...] = 0.5
    fj.step(cell, x, state, y)
    np.testing.assert_array_equal(y, layer.step(x, np.full((1, 2, 3), 0.5))[0])
    np.testing.assert_array_equal(state.h[0], y)
    assert state.c.shape == (1, 2, 0)


def test_a_cell_is_a_snapshot():
    layer, cell, x = small()
    expected, _ = layer.step(x)
    layer.params.flat = 0 * layer.params.flat
    y = np.empty((2, 3))
    fj.step(pickle.loads(pickle.dumps(cell)), x, fj.new_state(cell, 2), y)
    np.testing.assert_array_equal(y, expected)


def test_wrong_shapes_are_errors_and_write_nothing():
    _, cell, x = small()
    state, y = fj.new_state(cell, 2), np.full((2, 3), 7.0)
    for message, arguments in [
        (r"x: expected shape \(batch of the state, 9\)", (x[:, :8], state, y)),
        (r"x: expected shape", (x[:1], state, y)),
        (r"y: expected shape \(batch of the state, 3\)", (x, state, y[:, :2])),
        (r"state: expected one that new_state made", (x, fj.new_state(make("rnn_tanh", 9, 30).jit(), 2), y)),
        (r"tape, t: expected a tape", (x, state, y, fj.new_tape(cell, 3, 2), 3)),
        (r"tape, t: expected a tape", (x, state, y, fj.new_tape(cell, 3, 1), 0)),
    ]:
        with pytest.raises(ValueError, match=message):
            fj.step(cell, *arguments)
    with pytest.raises(ValueError, match=r"gradient: expected shape \(39,\)"):
        fj.step_backward(cell, fj.new_tape(cell, 3, 2), 0, y, state, x.copy(), np.zeros(38))
    assert (y == 7.0).all()
    assert not state.scratch.any()


def test_wrong_types_are_errors_when_a_caller_is_compiled():
    _, cell, x = small()
    y = np.empty((2, 3))
    for message, arguments in [
        ("x: expected an array of float64 with 2 axes, or 1", (cell, np.float32(x), fj.new_state(cell, 2), y)),
        ("cell: expected what layer.jit", (tuple(cell), x, fj.new_state(cell, 2), y)),
        ("that of a recurrent layer, got that of a Linear", (fg.Linear(9, 3).jit(), x, fj.new_state(cell, 2), y)),
    ]:
        with pytest.raises(TypingError, match=message):
            fj.step(*arguments)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (fg.LSTM(2, 3, bidirectional=True), "bidirectional=True: it needs the whole sequence"),
        (fg.LSTM(2, 3, proj_size=2), "proj_size=2"),
        (fg.LSTM(2, 3, peepholes=True), "peepholes=True"),
        (fg.LSTM(2, 3, coupled=True), "coupled=True"),
        (fg.GRU(2, 3, clip=1.0), "clip=1.0"),
        (fg.GRU(2, 3, activations=("hard_sigmoid", "tanh")), "activations="),
        (fg.RNN(2, 3, nonlinearity="elu"), "nonlinearity='elu'"),
    ],
    ids=str,
)
def test_what_has_no_cell_says_so(layer, reason):
    with pytest.raises(ValueError, match=reason):
        layer.jit()
