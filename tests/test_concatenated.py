"""Layers from weights over [h, x], against the printed equations in plain NumPy, and exact to the last bit."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from complaints import complaint

import fastgate as fg

B, T, I, H = 2, 4, 3, 5
LSTM_GATES = ("forget", "input", "candidate", "output")  # as they are printed, not as they are kept
GRU_GATES = ("update", "reset", "candidate")
NEAR = {"rtol": 1e-12, "atol": 1e-14}


def sigmoid(a):
    return 1.0 / (1.0 + np.exp(-a))


def draw(names, bias=True, seed=0):
    """name -> (W (H,H+I), b (H)), b zero without `bias`"""
    rng = np.random.default_rng(seed)
    return {name: (rng.uniform(-1, 1, (H, H + I)), rng.uniform(-1, 1, H) * bias) for name in names}


def as_given(weights, bias=True):
    return weights if bias else {name: W for name, (W, _) in weights.items()}


def joined(order, h, x):
    return np.concatenate([h, x] if order == "hx" else [x, h])


def check(layer, step, start):
    """`step` (x, *state) -> state, over sequences, each on its own"""
    x = np.random.default_rng(1).standard_normal((B, T, I))
    y, _ = layer(x, start if len(start) == 2 else start[0])
    for n in range(B):
        state = [part[0, n] for part in start]
        for t in range(T):
            state = step(x[n, t], *state)
            np.testing.assert_allclose(y[n, t], state[0], **NEAR)


def states(count):
    return tuple(np.random.default_rng(2).uniform(-0.9, 0.9, (count, 1, B, H)))


@pytest.mark.parametrize("order", ["hx", "xh"])
@pytest.mark.parametrize("bias", [True, False])
def test_lstm(order, bias):
    weights = draw(LSTM_GATES, bias)

    def step(x, h, c):
        a = {name: W @ joined(order, h, x) + b for name, (W, b) in weights.items()}
        c = sigmoid(a["forget"]) * c + sigmoid(a["input"]) * np.tanh(a["candidate"])
        return sigmoid(a["output"]) * np.tanh(c), c

    layer = fg.LSTM.from_concatenated(as_given(weights, bias), order=order)
    assert layer.bias == ("single" if bias else False)
    check(layer, step, states(2))


@pytest.mark.parametrize(
    ("order", "bias", "z_keeps", "reset_carry"),
    [*product(["hx"], [True], [True, False], [True, False]), ("xh", False, False, False)],
)
def test_gru(order, bias, z_keeps, reset_carry):
    weights = draw(GRU_GATES, bias)

    def step(x, h):
        (W_z, b_z), (W_r, b_r), (W_n, b_n) = weights.values()
        z, r = (sigmoid(W @ joined(order, h, x) + b) for W, b in ((W_z, b_z), (W_r, b_r)))
        n = np.tanh(W_n @ joined(order, r * h, x) + b_n)
        if reset_carry:  # as it is printed, and the same with z for 1 - z
            return ((1 - z) * n + z * r * h if z_keeps else (1 - z) * r * h + z * n,)
        return ((1 - z) * n + z * h if z_keeps else (1 - z) * h + z * n,)

    layer = fg.GRU.from_concatenated(as_given(weights, bias), z_keeps=z_keeps, order=order, reset_carry=reset_carry)
    assert not layer.reset_after
    check(layer, step, states(1))


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_gru_with_a_bias_inside_the_product(reset_after, bias):
    weights, inner = draw(GRU_GATES, bias), np.random.default_rng(3).uniform(-1, 1, H)

    def step(x, h):
        (W_z, b_z), (W_r, b_r), (W_n, b_n) = weights.values()
        z, r = (sigmoid(W @ joined("hx", h, x) + b) for W, b in ((W_z, b_z), (W_r, b_r)))
        U, W = W_n[:, :H], W_n[:, H:]
        product = r * (U @ h + inner) if reset_after else U @ (r * h + inner)
        return ((1 - z) * np.tanh(W @ x + product + b_n) + z * h,)

    given = as_given(weights, bias)
    layer = fg.GRU.from_concatenated(given, z_keeps=True, inner_bias=inner[:, None], reset_after=reset_after)
    check(layer, step, states(1))


# ------------------------------------------------------------------------------------------------------------ exactness


def same(found, expected):
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gates_in_one_matrix_are_the_numbers_given(dtype):
    """In any order of gates and columns, and a bias as a column."""
    rng = np.random.default_rng(4)
    W, b = (rng.standard_normal(shape).astype(dtype) for shape in ((4 * H, I + H), (4 * H, 1)))
    layer = fg.LSTM.from_concatenated({"input candidate forget output": (W, b)}, order="xh")
    rows = np.arange(4 * H).reshape(4, H)[[0, 2, 1, 3]].ravel()  # i g f o -> i f g o
    same(layer.params["weight_ih_l0"], W[rows, :I])
    same(layer.params["weight_hh_l0"], W[rows, I:])
    same(layer.params["bias_l0"], b[rows, 0])


def test_gates_in_two_matrices():
    """Those of the reset and update gates in one, that of the candidate, which has no bias, in another."""
    rng = np.random.default_rng(5)
    W, b, W_n = rng.standard_normal((2 * H, H + I)), rng.standard_normal(2 * H), rng.standard_normal((H, H + I))
    for reset_after in (False, True):
        layer = fg.GRU.from_concatenated(
            {"update reset": (W, b), "candidate": (W_n, None)}, z_keeps=False, reset_after=reset_after
        )
        same(layer.params["weight_ih_l0"], np.concatenate([W[H:, H:], -W[:H, H:], W_n[:, H:]]))
        same(layer.params["weight_hh_l0"], np.concatenate([W[H:, :H], -W[:H, :H], W_n[:, :H]]))
        same(layer.params["bias_l0"], np.concatenate([b[H:], -b[:H], np.zeros(H)]))
        assert ("bias_hn_l0" in layer.params) == reset_after
        if reset_after:
            same(layer.params["bias_hn_l0"], np.zeros(H))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_folded_bias_is_rounded_after_the_sum(dtype):
    """A sum whose terms cancel, against fractions."""
    rng = np.random.default_rng(6)
    weights = {name: (W.astype(dtype), b.astype(dtype)) for name, (W, b) in draw(GRU_GATES).items()}
    W, b = weights["candidate"]
    inner = rng.uniform(-1, 1, H).astype(dtype)
    b[...] = -(W[:, :H] @ inner)
    layer = fg.GRU.from_concatenated(weights, z_keeps=True, inner_bias=inner)
    exact = [
        Fraction(float(own)) + sum(Fraction(float(u)) * Fraction(float(v)) for u, v in zip(row[:H], inner, strict=True))
        for row, own in zip(W, b, strict=True)
    ]
    found = layer.params["bias_l0"][2 * H :]
    same(found, np.array([float(value) for value in exact]).astype(dtype))
    assert not np.array_equal(found, W[:, :H] @ inner + b)  # the test could fail


def test_dtype_is_that_of_the_weights_unless_told():
    narrow = {name: (W.astype(np.float32), b.astype(np.float16)) for name, (W, b) in draw(GRU_GATES).items()}
    options = {"z_keeps": True}
    assert fg.GRU.from_concatenated(narrow, **options).dtype == np.float32
    assert fg.GRU.from_concatenated(narrow, **options, inner_bias=np.ones(H)).dtype == np.float64
    assert fg.GRU.from_concatenated(narrow, **options, dtype="float64").dtype == np.float64
    wide = draw(GRU_GATES) | {"update": draw(["update"])["update"][0].tolist()}
    assert fg.GRU.from_concatenated(wide, **options).dtype == np.float64
    layer = fg.GRU.from_concatenated(wide, **options, dtype="float32", batch_first=False)
    same(layer.params["weight_ih_l0"][:H], wide["reset"][0][:, H:].astype(np.float32))
    assert not layer.batch_first


def test_arrays_given_stay_the_callers():
    weights = draw(GRU_GATES)
    layer = fg.GRU.from_concatenated(weights, z_keeps=False)
    before = layer.params.flat.copy()
    for W, b in weights.values():
        W[...], b[...] = 0, 0
    same(layer.params.flat, before)


# --------------------------------------------------------------------------------------------------------------- errors


def test_gates_that_do_not_fit_together():
    W, b = np.zeros((H, H + I)), np.zeros(H)
    one, three = {"forget": W}, {"input": W, "candidate": W, "output": W}
    make = fg.LSTM.from_concatenated
    for gates, got in (
        ({}, "none"),
        (one, "forget"),
        (three | {"reset": W}, "reset"),
        ({"forget forget": W}, "forget,"),
    ):
        with complaint(ValueError, "gates", "each of input, forget, candidate, output once", got):
            make(gates)
    with complaint(ValueError, "gates", "each of", "output, "):
        make(one | three | {"": W})
    with complaint(TypeError, "gates", "a mapping", "tuple"):
        make((W, b))
    with complaint(TypeError, "gates['forget']", "real numbers"):
        make(three | {"forget": W * 1j})
    for wrong in (W.T, W[0], W[:, :H], W[:0]):
        with complaint(ValueError, "gates['forget']", "(H, H + I)", "column [h, x]", f"got {wrong.shape}"):
            make({"forget": wrong} | three)
        with complaint(ValueError, "gates['forget']", f"({H}, {H + I})", f"got {wrong.shape}"):
            make(three | {"forget": wrong})
    with complaint(ValueError, "gates['input forget candidate output']", "(4 * H, H + I)", "got (18, 8)"):
        make({"input forget candidate output": np.zeros((18, 8))})
    for bias in (b[1:], b[None], 0.0):
        with complaint(ValueError, "bias of gates['forget']", f"({H},)", f"got {np.shape(bias)}"):
            make(three | {"forget": (W, bias)})
    with complaint(ValueError, "gates['forget']", "infinite in float32"):
        make(three | {"forget": W + 1e300}, dtype="float32")


def test_options_that_are_wrong():
    W = np.zeros((3 * H, H + I))
    gates = {"reset update candidate": W}
    for name, value in (
        ("order", "hhx"),
        ("z_keeps", 1),
        ("reset_after", "no"),
        ("reset_carry", None),
        ("dtype", "int8"),
    ):
        with complaint(ValueError, name, f"got {value!r}"):
            fg.GRU.from_concatenated(gates, **{"z_keeps": True, name: value})
    with pytest.raises(TypeError, match="z_keeps"):
        fg.GRU.from_concatenated(gates)
    with complaint(ValueError, "reset_carry", "reset_after=False"):
        fg.GRU.from_concatenated(gates, z_keeps=True, reset_after=True, reset_carry=True)
    with complaint(ValueError, "inner_bias", f"({H},)", "got (4,)"):
        fg.GRU.from_concatenated(gates, z_keeps=True, inner_bias=np.zeros(4))
    with complaint(ValueError, "inner_bias", "finite"):
        fg.GRU.from_concatenated({"reset update candidate": W + 1}, z_keeps=True, inner_bias=np.full(H, np.inf))
