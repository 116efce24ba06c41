"""The reverse of every cell against complex-step derivatives of its forward step, in plain Python.

The derivative of f in direction v is Im f(x + i s v) / s; with s = 1e-30 it has no truncation and no cancellation, so
that it is exact to rounding, and every entry is compared to 1e-12.
"""

import inspect

import numpy as np
import pytest

from fastgate.kernels import activations, equations

STEP = 1e-30
CASES = 20

# What each vjp takes besides the gradients of the outputs, as a function of the inputs and outputs of the forward step,
# which outputs have a gradient (the gates are only there to be kept), and the inputs whose gradient it gives: all but
# peepholes, whose gradients are those of the pre-activations times c.
PAIRS = {
    "lstm_cell": ("h c", "i f g o c_prev c", "a_i a_f a_g a_o c_prev"),
    "peephole_cell": ("h c", "i f g o c_prev c p_i p_f p_o", "a_i a_f a_g a_o c_prev"),
    "coupled_cell": ("h c", "i g o c_prev c", "a_i a_g a_o c_prev"),
    "coupled_peephole_cell": ("h c", "i g o c_prev c p_i p_o", "a_i a_g a_o c_prev"),
    "gru_reset": ("z h_reset", "r z h_prev", "a_r a_z h_prev"),
    "gru_update": ("h", "n z h_carried", "a_n z h_carried"),
    "gru_cell": ("h", "n r z q h_prev", "a_n a_r a_z q h_prev"),
    "rnn_tanh_cell": ("h", "h", "a"),
    "rnn_relu_cell": ("h", "h", "a"),
}
OUTPUTS = {
    "lstm_cell": "h c i f g o",
    "peephole_cell": "h c i f g o",
    "coupled_cell": "h c i g o",
    "coupled_peephole_cell": "h c i g o",
    "gru_reset": "r z h_reset",
    "gru_update": "h n",
    "gru_cell": "h n r z",
    "rnn_tanh_cell": "h",
    "rnn_relu_cell": "h",
}


def outputs_of(name, inputs):
    results = getattr(equations, name)(**inputs)
    return dict(zip(OUTPUTS[name].split(), results if isinstance(results, tuple) else (results,), strict=True))


def draw(name, rng):
    """Inputs of the forward step, none near the kink of relu."""
    arguments = inspect.signature(getattr(equations, name)).parameters
    values = rng.uniform(0.1, 2.5, len(arguments)) * rng.choice([-1.0, 1.0], len(arguments))
    return dict(zip(arguments, values.tolist(), strict=True))


def derivative(name, inputs, differentiated, wrt):
    """Of the sum of outputs weighted by `differentiated` (a gradient for each) in the input `wrt`."""
    moved = outputs_of(name, inputs | {wrt: inputs[wrt] + 1j * STEP})
    return sum(gradient * np.imag(moved[output]) for output, gradient in differentiated.items()) / STEP


@pytest.mark.parametrize("name", PAIRS)
def test_reverse_is_the_derivative_in_every_input(name):
    """`z` leaves gru_reset unweighted by h_reset and has a gradient of its own, from gru_update."""
    with_gradient, kept, wrt = (words.split() for words in PAIRS[name])
    assert wrt == [word for word in inspect.signature(getattr(equations, name)).parameters if not word.startswith("p_")]
    rng = np.random.default_rng(0)
    for _ in range(CASES):
        inputs = draw(name, rng)
        gradients = dict(zip(with_gradient, rng.uniform(-2, 2, len(with_gradient)).tolist(), strict=True))
        known = inputs | outputs_of(name, inputs)
        found = getattr(equations, f"{name}_vjp")(*gradients.values(), *(known[word] for word in kept))
        found = found if isinstance(found, tuple) else (found,)
        expected = [derivative(name, inputs, gradients, word) for word in wrt]
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", PAIRS)
def test_reverse_takes_what_its_forward_step_leaves(name):
    """Positional arguments are right only while the names of both sides stay in the same order."""
    with_gradient, kept, _ = PAIRS[name]
    arguments = list(inspect.signature(getattr(equations, f"{name}_vjp")).parameters)
    assert arguments == [f"d{word}" for word in with_gradient.split()] + kept.split()


def test_every_equation_has_its_reverse_and_is_tested_here():
    functions = {
        name: value
        for name, value in vars(equations).items()
        if inspect.isfunction(value) and value.__module__ == equations.__name__ and not name.startswith("make_")
    }
    forward = {name for name in functions if not name.endswith("_vjp")}
    assert set(functions) == forward | {f"{name}_vjp" for name in forward}
    assert forward == set(PAIRS)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_lstm_cell_is_the_published_one():
    a_i, a_f, a_g, a_o, c_prev = np.random.default_rng(1).uniform(-2, 2, 5)
    c = sigmoid(a_f) * c_prev + sigmoid(a_i) * np.tanh(a_g)
    h = sigmoid(a_o) * np.tanh(c)
    expected = (h, c, sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o))
    np.testing.assert_allclose(equations.lstm_cell(a_i, a_f, a_g, a_o, c_prev), expected, rtol=1e-14)


def test_gru_cells_are_the_published_ones():
    """`z` keeps the old state; the reset gate acts on q, or on h_prev, and perhaps on what `z` keeps of it."""
    a_n, a_r, a_z, q, h_prev = np.random.default_rng(2).uniform(-2, 2, 5)
    r, z = sigmoid(a_r), sigmoid(a_z)
    n = np.tanh(a_n + r * q)
    np.testing.assert_allclose(
        equations.gru_cell(a_n, a_r, a_z, q, h_prev), ((1 - z) * n + z * h_prev, n, r, z), rtol=1e-14
    )
    np.testing.assert_allclose(equations.gru_reset(a_r, a_z, h_prev), (r, z, r * h_prev), rtol=1e-14)
    n = np.tanh(a_n)
    for carried in (h_prev, r * h_prev):
        np.testing.assert_allclose(equations.gru_update(a_n, z, carried), ((1 - z) * n + z * carried, n), rtol=1e-14)


def test_rnn_cells_are_the_published_ones():
    assert equations.rnn_tanh_cell(0.7) == np.tanh(0.7)
    assert [equations.rnn_relu_cell(a) for a in (-0.7, 0.0, 0.7)] == [0.0, 0.0, 0.7]


@pytest.mark.parametrize(
    ("function", "slope", "points"),
    [
        (activations.tanh, activations.tanh_slope, (-3.0, -0.2, 0.0, 0.9)),
        (activations.sigmoid, activations.sigmoid_slope, (-3.0, -0.2, 0.0, 0.9)),
        (activations.relu, activations.relu_slope, (-3.0, -0.2, 0.9)),
    ],
    ids=["tanh", "sigmoid", "relu"],
)
def test_slope_is_the_derivative_in_terms_of_the_output(function, slope, points):
    for x in points:
        derivative = np.imag(function(x + 1j * STEP)) / STEP
        np.testing.assert_allclose(slope(function(x)), derivative, rtol=1e-12)
