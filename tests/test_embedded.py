"""`fastgate.jit`: cells inside users' compiled loops have the layer's bits, its gradients, and touch nothing else."""

import pickle
from copy import deepcopy

import numpy as np
import pytest
from cases import draw, join, make, split
from guarded import guarded
from numba import njit
from numba.core.errors import TypingError

import fastgate as fg
import fastgate.jit as fj
from fastgate.kernels.cpu import embedded

# Every kind, whole vectors and not, one block and several, one row, few and more than a tile has, and more weights than
# the cache of a CPU holds.
LAYERS = {
    "lstm": ({"num_layers": 2}, 3, 5, 6),
    "gru": ({"dtype": "float32"}, 1, 70, 1),
    "gru_reset_before": ({"num_layers": 2}, 2, 9, 2),
    "gru_reset_carry": ({"dtype": "float32", "bias": False}, 3, 4, 2),
    "rnn_tanh": ({"bias": "single"}, 9, 3, 1),
    "rnn_relu": ({"dtype": "float32"}, 2, 120, 5),
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


def test_some_of_these_are_large():
    small = {kind: embedded.plan_of(case(kind)[0].jit().spec).is_small for kind in LAYERS}
    assert [kind for kind in LAYERS if not small[kind]] == ["gru", "rnn_relu"]


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


# -------------------------------------------------------------------------------------------------------- arguments


def small(**options):
    layer = make("rnn_tanh", 9, 3, **{"bias": "single"} | options)
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


@pytest.mark.parametrize("copy", [deepcopy, lambda state: pickle.loads(pickle.dumps(state))], ids=["copy", "pickle"])
def test_copies_of_a_state_are_states(copy):
    layer = make("lstm", 2, 3, num_layers=2)
    state = fj.new_state(layer.jit(), 2)
    state.h[...], state.c[...] = 0.5, 0.25
    again = copy(state)
    state.scratch[...] = 0
    np.testing.assert_array_equal(again.h, np.full((2, 2, 3), 0.5))
    again.c[...] = 0.75
    assert (again.scratch == 0.75).sum() == again.c.size


def test_wrong_types_are_errors_when_a_caller_is_compiled():
    _, cell, x = small()
    y = np.empty((2, 3))
    for message, arguments in [
        ("x: expected an array of float64 with 2 axes, or 1", (cell, np.float32(x), fj.new_state(cell, 2), y)),
        ("cell: expected what layer.jit", (tuple(cell), x, fj.new_state(cell, 2), y)),
        ("that of a recurrent layer, got that of a Linear", (fg.Linear(9, 3).jit(), x, fj.new_state(cell, 2), y)),
        ("state: expected what new_state", (cell, x, fj.new_state(small(dtype="float32")[1], 2), y)),
        ("tape: expected what new_tape", (cell, x, fj.new_state(cell, 2), y, fj.new_state(cell, 2))),
        ("t: expected an integer, got float64", (cell, x, fj.new_state(cell, 2), y, fj.new_tape(cell, 1, 2), 0.0)),
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
