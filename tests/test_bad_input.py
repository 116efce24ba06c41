"""Wrong arguments of a call: the message names the argument, what was expected and what came; nothing is lost."""

import numpy as np
import pytest
from complaints import UNREAL, complaint, not_real_numbers

import fastgate as fg

B, T, I, H = 2, 5, 3, 4
LSTM = fg.LSTM(I, H, num_layers=2, seed=1)
GRU = fg.GRU(I, H, seed=2)
BOTH_WAYS = fg.GRU(I, H, bidirectional=True, seed=3)
rng = np.random.default_rng(0)
X = rng.standard_normal((B, T, I)).astype(np.float32)
PAIR = tuple(rng.standard_normal((2, B, H)).astype(np.float32) for _ in range(2))
DY = rng.standard_normal((B, T, H)).astype(np.float32)


def everything():
    """The bytes of all that the layers compute."""
    y, state, tape = LSTM.forward(X, PAIR, lengths=[T, 2])
    gradients = LSTM.backward(tape, DY, PAIR)
    arrays = [y, *state, gradients.x, *gradients.state, gradients.params.flat]
    arrays += [GRU(X)[0], GRU.step(X[:, 0])[0], BOTH_WAYS(X)[0], LSTM.params.flat, GRU.params.flat]
    return [array.tobytes() for array in arrays]


@pytest.fixture(scope="module")
def before():
    return everything()


@pytest.fixture(autouse=True)
def _nothing_is_lost(before):
    yield
    assert everything() == before


# ------------------------------------------------------------------------------------------------------------- x


@pytest.mark.parametrize("shape", [(), (I,), (B, T, I + 1), (B, T, I, 1), (T, I - 1), (B, I, T), (0,)], ids=str)
def test_shape_of_x(shape):
    for call in (LSTM, LSTM.forward):
        with complaint(ValueError, "x", f"(batch, time, {I}) or (time, {I})", f"got {shape}"):
            call(np.zeros(shape))


def test_shape_of_x_with_time_first():
    with complaint(ValueError, "x", f"(time, batch, {I})", f"got {(T, B, 7)}"):
        fg.LSTM(I, H, batch_first=False)(np.zeros((T, B, 7)))


@pytest.mark.parametrize("name", UNREAL)
def test_type_of_x(name):
    value, said = not_real_numbers((B, T, I))[name]
    for call in (LSTM, LSTM.forward, BOTH_WAYS):
        with complaint(TypeError, "x", "expected an array", said):
            call(value)


@pytest.mark.parametrize(
    "value", [None, "text", [[1, 2, 3], [4, 5]], object()], ids=["None", "text", "ragged", "object"]
)
def test_no_array_for_x(value):
    with complaint(TypeError, "x", "expected an array of"):
        GRU(value)
    with complaint(TypeError, "x", "expected an array of"):
        GRU.step(value)


# -------------------------------------------------------------------------------------------------------- states


@pytest.mark.parametrize(
    "shape", [(2, B, H + 1), (2, B + 1, H), (1, B, H), (4, B, H), (B, 2, H + 1), (2, H), ()], ids=str
)
@pytest.mark.parametrize("which", [0, 1], ids=["h", "c"])
def test_shape_of_states(shape, which):
    pair = list(PAIR)
    pair[which] = np.zeros(shape)
    argument = f"[{which}] ({'hc'[which]})"
    with complaint(ValueError, "state" + argument, str((2, B, H)), f"got {shape}"):
        LSTM(X, tuple(pair))
    with complaint(ValueError, "state" + argument, str((2, B, H)), f"got {shape}"):
        LSTM.step(X[:, 0], tuple(pair))
    with complaint(ValueError, "dstate" + argument, str((2, B, H)), f"got {shape}"):
        LSTM.backward(LSTM.forward(X)[2], dstate=pair)


def test_shape_of_states_follows_layers_directions_and_batch():
    with complaint(ValueError, "state", f"{(2, B, H)}", f"got {(1, B, H)}"):
        BOTH_WAYS(X, np.zeros((1, B, H)))
    with complaint(ValueError, "state", f"{(1, H)}", f"got {(1, 1, H)}"):
        GRU(X[0], np.zeros((1, 1, H)))
    with complaint(ValueError, "state", f"{(1, B, H)}", f"got {(1, H)}"):
        GRU(X, np.zeros((1, H)))
    with complaint(ValueError, "state", f"{(1, B, H)}", f"got {(B, 1, H)}"):
        GRU(X, np.zeros((B, 1, H)))


@pytest.mark.parametrize(
    "value",
    [PAIR[0], np.stack(PAIR), PAIR[:1], (*PAIR, PAIR[0]), "hc", {"h": 1, "c": 2}],
    ids=lambda v: type(v).__name__,
)
def test_lstm_wants_a_pair(value):
    with complaint(TypeError, "state", "a pair (h, c)", type(value).__name__):
        LSTM(X, value)
    with complaint(TypeError, "state", "a pair (h, c)"):
        LSTM.step(X[:, 0], value)
    with complaint(TypeError, "dstate", "a pair (h, c)"):
        LSTM.backward(LSTM.forward(X)[2], dstate=value)


def test_gru_wants_no_pair():
    h = np.zeros((1, B, H), np.float32)
    for value in ((h, h), (h,), ()):
        with complaint(TypeError, "state", "one array h", "tuple"):
            GRU(X, value)
        with complaint(TypeError, "state", "one array h", "tuple"):
            GRU.step(X[:, 0], value)
        with complaint(TypeError, "dstate", "one array h", "tuple"):
            GRU.backward(GRU.forward(X)[2], dstate=value)


@pytest.mark.parametrize("name", UNREAL)
def test_type_of_states(name):
    value, said = not_real_numbers((1, B, H))[name]
    with complaint(TypeError, "state", "expected an array", said):
        GRU(X, value)
    with complaint(TypeError, "state", "expected an array", said):
        GRU.step(X[:, 0], value)
    with complaint(TypeError, "dstate", "expected an array", said):
        GRU.backward(GRU.forward(X)[2], dstate=value)
    with complaint(TypeError, "state[1] (c)", "expected an array"):
        LSTM(X, (None, value))


# ------------------------------------------------------------------------------------------------------- lengths


@pytest.mark.parametrize(
    ("lengths", "kind", "said"),
    [
        ([T + 1, 0], ValueError, f"values from 0 to {T}, got 0 to {T + 1}"),
        ([-1, T], ValueError, f"values from 0 to {T}, got -1 to {T}"),
        ([T + 1, T + 1], ValueError, f"values from 0 to {T}, got {T + 1}"),
        (np.array([2**63, 1], np.uint64), ValueError, f"values from 0 to {T}"),
        ([1, 2, 3], ValueError, "(batch,) = (2,), got (3,)"),
        ([], TypeError, "integers"),
        ([[1], [2]], ValueError, "(batch,) = (2,), got (2, 1)"),
        (3, ValueError, "(batch,) = (2,), got ()"),
        ([1.0, 2.0], TypeError, "integers, got dtype float64"),
        ([True, False], TypeError, "integers, got a mask"),
        (["1", "2"], TypeError, "integers, got dtype <U1"),
        ([None, 1], TypeError, "integers, got dtype object"),
        ([1, 10**30], TypeError, "integers, got dtype object"),
        ([1j, 2], TypeError, "integers, got dtype complex128"),
        (np.array([1, 2], "m8[s]"), TypeError, "integers, got dtype timedelta64[s]"),
        (np.ma.masked_array([1, 2], [False, True]), TypeError, "integers"),
        ([[1], [1, 2]], TypeError, "integers"),
    ],
    ids=str,
)
def test_lengths(lengths, kind, said):
    for call in (LSTM, LSTM.forward):
        with complaint(kind, "lengths", said):
            call(X, lengths=lengths)


def test_lengths_beside_an_unbatched_input():
    with complaint(ValueError, "x", "3 dimensions beside lengths", f"got {(T, I)}"):
        LSTM(X[0], lengths=[T])


# --------------------------------------------------------------------------------------------- tapes and backward


def test_dy():
    tape = LSTM.forward(X)[2]
    for shape in [(B, T, I), (T, B, H), (B, H), (B, T - 1, H), ()]:
        with complaint(ValueError, "dy", f"that of y, {(B, T, H)}", f"got {shape}"):
            LSTM.backward(tape, np.zeros(shape))
    for value, said in (not_real_numbers((B, T, H))[name] for name in UNREAL):
        with complaint(TypeError, "dy", "expected an array", said):
            LSTM.backward(tape, value)


def test_neither_dy_nor_dstate():
    with complaint(ValueError, "backward", "dy, dstate or both", "neither"):
        LSTM.backward(LSTM.forward(X)[2])


def test_tape_of_another_layer():
    twin = fg.LSTM(I, H, num_layers=2, seed=1)
    for other in (twin, GRU):
        with complaint(ValueError, "tape", "another layer", "LSTM(3, 4, num_layers=2)"):
            LSTM.backward(other.forward(X)[2], DY)


@pytest.mark.parametrize(
    "tape", [None, "tape", X, fg.Linear(I, H, seed=0).forward(X)[1]], ids=lambda v: type(v).__name__
)
def test_no_tape(tape):
    with complaint(TypeError, "tape", "the tape that forward returned", type(tape).__name__):
        LSTM.backward(tape, DY)


def test_tape_after_a_write():
    layer = fg.LSTM(I, H, seed=5)
    tape = layer.forward(X)[2]
    layer.params["bias_ih_l0"] = layer.params["bias_ih_l0"]
    with complaint(ValueError, "tape", "written since", "run forward again"):
        layer.backward(tape, DY)
    layer.backward(layer.forward(X)[2], DY)


@pytest.mark.parametrize("value", [1, None, "yes", 0.0])
def test_training_is_a_boolean(value):
    with complaint(ValueError, "training", "True or False", f"got {value!r}"):
        LSTM.forward(X, training=value)


@pytest.mark.parametrize("value", [None, -1, 1.5, True, "1"])
def test_rng_key_in_training_with_dropout(value):
    layer = fg.LSTM(I, H, num_layers=2, dropout=0.5, seed=0)
    with pytest.raises((TypeError, ValueError), match=r"^rng_key: expected an integer.*got (?s:.)"):
        layer.forward(X, rng_key=value)
    layer.forward(X, training=False)


# ---------------------------------------------------------------------------------------------------------- step


def test_step_of_a_bidirectional_layer():
    with complaint(ValueError, "step", "bidirectional", "whole sequence"):
        BOTH_WAYS.step(X[:, 0])


@pytest.mark.parametrize("shape", [(B, I + 1), (I + 1,), (B, 1, I), (), (0,)], ids=str)
def test_shape_of_x_of_a_step(shape):
    with complaint(ValueError, "x", f"(batch, {I}) or ({I},)", f"got {shape}"):
        LSTM.step(np.zeros(shape))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_unbatched_step_wants_an_unbatched_state(dtype):
    with complaint(ValueError, "state", f"{(1, H)}", f"got {(1, 1, H)}"):
        GRU.step(X[0, 0], np.zeros((1, 1, H), dtype))


def test_step_of_an_empty_batch_still_reads_its_state():
    with complaint(TypeError, "state", "a pair (h, c)", "str"):
        LSTM.step(X[:0, 0], "text")
