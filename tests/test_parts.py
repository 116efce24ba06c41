"""Dropout, Activation, LayerNorm and FinalState, each by itself."""

import copy
import pickle

import numpy as np
import pytest
from complaints import complaint
from differences import assert_close, differences, in_params

import fastgate as fg
from fastgate.activation import FUNCTIONS

rng = np.random.default_rng(0)
dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


# -------------------------------------------------------------------------------------------------------- Dropout


@dtypes
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_mean_and_scale(p, dtype):
    ones = np.ones((20, 50, 31), dtype)
    y, _ = fg.Dropout(p, seed=0).forward(ones, rng_key=0)
    assert y.dtype == dtype
    assert np.unique(y).tolist() == [0, ones.dtype.type(1 / (1 - p))]
    # Five standard deviations of the share of zeros: one seed in two million would fail; this one is fixed.
    for axis in ((0, 1, 2), (0, 1), (0, 2), (1, 2)):
        count = ones.size / np.prod([ones.shape[a] for a in range(3) if a not in axis])
        assert np.abs((y == 0).mean(axis=axis) - p).max() < 5 * np.sqrt(p * (1 - p) / count)


def test_dropout_is_a_function_of_seed_and_key():
    x = np.ones((8, 64))
    masks = [
        fg.Dropout(0.5, seed=seed).forward(x, rng_key=key)[0].tobytes() for seed in (0, 1) for key in (0, 1, 2**40)
    ]
    assert len(set(masks)) == 6
    assert fg.Dropout(0.5, seed=0).forward(x, rng_key=0)[0].tobytes() == masks[0]
    assert fg.Dropout(0.5, seed=0).forward(x.reshape(1, 8, 64), rng_key=0)[0].tobytes() == masks[0]


def test_dropout_differs_from_that_of_a_recurrent_layer_of_equal_seed_and_key():
    layer = fg.RNN(8, 8, 2, dropout=0.5, nonlinearity="relu", bias=False, seed=1)
    with layer.params.edit() as p:
        for name, array in p.items():
            array[...] = np.eye(8) if name.startswith("weight_ih") else 0
    x = np.ones((1, 20, 8))
    assert not np.array_equal(layer.forward(x, rng_key=3)[0], fg.Dropout(0.5, seed=1).forward(x, rng_key=3)[0])


def test_dropout_back_is_the_same_mask():
    layer, x = fg.Dropout(0.3, seed=5), rng.standard_normal((3, 4, 5))
    y, tape = layer.forward(x, rng_key=7)
    dy = rng.standard_normal(x.shape)
    assert np.array_equal(layer.backward(tape, dy).x, np.where(y != 0, dy * (1 / 0.7), 0))
    assert_close(layer.backward(tape, dy).x, differences(lambda: float((layer.forward(x, rng_key=7)[0] * dy).sum()), x))
    assert len(layer.backward(tape, dy).params) == 0


def test_dropout_is_the_identity_outside_of_training():
    x = rng.standard_normal((3, 4))
    for layer, options in ((fg.Dropout(0.5), {"training": False}), (fg.Dropout(0.0), {})):
        y, tape = layer.forward(x, **options)
        assert np.array_equal(y, x)
        assert np.array_equal(layer(x), x)
        dx = layer.backward(tape, x).x
        assert np.array_equal(dx, x)
        assert not np.shares_memory(dx, x)


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (3, 0), (1,)], ids=str)
def test_dropout_of_any_shape(shape):
    layer = fg.Dropout(0.5, seed=0)
    y, tape = layer.forward(np.ones(shape), rng_key=0)
    assert y.shape == layer.backward(tape, y).x.shape == shape


def test_dropped_entries_are_zero_whatever_they_were():
    y, _ = fg.Dropout(0.5, seed=0).forward(np.full(100, np.nan), rng_key=0)
    assert 20 < (y == 0).sum() < 80
    assert np.isnan(y).sum() == 100 - (y == 0).sum()


def test_dropout_complaints():
    with complaint(ValueError, "p", "from 0 to below 1"):
        fg.Dropout(1.0)
    with complaint(ValueError, "rng_key", "0.5"):
        fg.Dropout(0.5).forward([1.0])
    with complaint(TypeError, "rng_key", "an integer"):
        fg.Dropout(0.5).forward([1.0], rng_key=1.5)
    with complaint(TypeError, "x", "real numbers"):
        fg.Dropout(0.5)(["a"])
    layer = fg.Dropout(0.5)
    y, tape = layer.forward(np.ones(3), rng_key=0)
    with complaint(ValueError, "tape", "another layer"):
        fg.Dropout(0.5).backward(tape, y)
    with complaint(ValueError, "dy", "(3,)"):
        layer.backward(tape, np.ones(4))
    with complaint(TypeError, "tape", "forward"):
        layer.backward(None, y)


# ----------------------------------------------------------------------------------------------------- Activation

NAMES = list(FUNCTIONS)
functions = pytest.mark.parametrize("name", NAMES)


@functions
def test_activation_gradient(name):
    layer, x = fg.Activation(name), 2 * rng.standard_normal((3, 2, 4))
    dy = rng.standard_normal(x.shape)
    y, tape = layer.forward(x)
    assert np.array_equal(y, layer(x))
    assert_close(layer.backward(tape, dy).x, differences(lambda: float((layer(x) * dy).sum()), x))


@dtypes
@functions
def test_activation_as_torch(name, dtype, torch):
    functional = {"log_softmax": lambda x: torch.log_softmax(x, -1), "softmax": lambda x: torch.softmax(x, -1)}
    function = functional.get(name) or getattr(torch.nn.functional, name)
    large = [100.0, -100.0, 1000.0, -1000.0, 0.0, -0.0, 1e-30, -20.0, 20.0, 5.5, -5.5, 0.1]
    x = np.concatenate([rng.standard_normal((20, 4)), np.reshape(large, (3, 4))]).astype(dtype)
    dy = rng.standard_normal(x.shape).astype(dtype)
    theirs = torch.tensor(x, requires_grad=True)
    expected = function(theirs)
    expected.backward(torch.tensor(dy))
    layer = fg.Activation(name)
    y, tape = layer.forward(x)
    dx = layer.backward(tape, dy).x
    assert y.dtype == dx.dtype == dtype
    # A few roundings of numbers about 1; tanh and erf of the two libraries differ by more than one.
    tolerance = {"float32": 2e-6, "float64": 1e-14}[dtype]
    np.testing.assert_allclose(y, expected.detach().numpy(), tolerance, tolerance)
    np.testing.assert_allclose(dx, theirs.grad.numpy(), tolerance, 4 * tolerance)


@functions
@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0,)], ids=str)
def test_activation_of_nothing(name, shape):
    layer = fg.Activation(name)
    y, tape = layer.forward(np.ones(shape))
    assert y.shape == layer.backward(tape, y).x.shape == shape


@functions
def test_activation_hands_on_what_is_no_number(name):
    assert np.isnan(fg.Activation(name)([np.nan, 1.0])[0])


def test_activation_keeps_its_own_input():
    layer, x = fg.Activation("gelu"), rng.standard_normal(5)
    _, tape = layer.forward(x)
    expected = layer.backward(tape, np.ones(5)).x
    x[...] = 7
    assert np.array_equal(layer.backward(tape, np.ones(5)).x, expected)


def test_activation_complaints():
    with complaint(ValueError, "function", "'relu'", "'swish'"):
        fg.Activation("swish")
    with complaint(TypeError, "x", "real numbers"):
        fg.Activation("relu")([1j])
    with complaint(ValueError, "x", "()"):
        fg.Activation("softmax")(1.0)


# ------------------------------------------------------------------------------------------------------ LayerNorm


def random_norm(features, dtype="float64", eps=1e-5):
    layer = fg.LayerNorm(features, eps, dtype=dtype)
    layer.params.flat = rng.standard_normal(2 * features)
    return layer


@pytest.mark.parametrize("outer", [(), (3,), (2, 3)], ids=str)
def test_layer_norm_gradients(outer):
    layer = random_norm(5)
    x, dy = rng.standard_normal((*outer, 5)), rng.standard_normal((*outer, 5))
    y, tape = layer.forward(x)
    assert np.array_equal(y, layer(x))
    found = layer.backward(tape, dy)

    def loss():
        return float((layer(x) * dy).sum())

    assert_close(found.x, differences(loss, x))
    assert_close(found.params.flat, in_params(layer.params, loss))


@dtypes
def test_layer_norm_as_torch(dtype, torch):
    layer = random_norm(33, dtype, eps=1e-3)
    theirs = torch.nn.LayerNorm(33, eps=1e-3, dtype=getattr(torch, dtype))
    theirs.load_state_dict({name: torch.tensor(array) for name, array in layer.params.items()})
    x, dy = (rng.standard_normal((4, 7, 33)).astype(dtype) + 3 for _ in range(2))
    leaf = torch.tensor(x, requires_grad=True)
    expected = theirs(leaf)
    expected.backward(torch.tensor(dy))
    y, tape = layer.forward(x)
    found = layer.backward(tape, dy)
    # Sums of 33 numbers about 10 for each row, of 28 such for the parameters.
    tolerance = {"float32": 5e-5, "float64": 1e-13}[dtype]
    np.testing.assert_allclose(y, expected.detach().numpy(), tolerance, tolerance)
    np.testing.assert_allclose(found.x, leaf.grad.numpy(), tolerance, tolerance)
    np.testing.assert_allclose(found.params["weight"], theirs.weight.grad.numpy(), tolerance, tolerance)
    np.testing.assert_allclose(found.params["bias"], theirs.bias.grad.numpy(), tolerance, tolerance)
    assert y.dtype == found.x.dtype == found.params.flat.dtype == dtype


@dtypes
@pytest.mark.parametrize("features", [1, 7, 64, 129])
def test_layer_norm_gives_a_row_the_same_bits_in_any_batch(features, dtype):
    layer, x = random_norm(features, dtype), rng.standard_normal((33, features)).astype(dtype)
    dy = rng.standard_normal(x.shape)
    y, dx = layer(x), layer.backward(layer.forward(x)[1], dy).x
    for first in (0, 1, 17):
        part, tape = layer.forward(x[first : first + 5])
        assert np.array_equal(part, y[first : first + 5])
        assert np.array_equal(layer.backward(tape, dy[first : first + 5]).x, dx[first : first + 5])


def test_layer_norm_of_nothing_and_complaints():
    layer = fg.LayerNorm(3)
    y, tape = layer.forward(np.ones((0, 3)))
    assert y.shape == (0, 3)
    assert not layer.backward(tape, y).params.flat.any()
    with complaint(ValueError, "x", "(..., 3)", "(2, 4)"):
        layer(np.ones((2, 4)))
    with complaint(ValueError, "eps", "positive"):
        fg.LayerNorm(3, 0.0)
    with complaint(ValueError, "dy", "(0, 3)"):
        layer.backward(tape, np.ones((1, 3)))
    layer.params["bias"] = np.ones(3)
    with complaint(ValueError, "tape", "written since"):
        layer.backward(tape, y)


# ----------------------------------------------------------------------------------------------------- FinalState


@pytest.mark.parametrize("all_layers", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("make", [fg.LSTM, fg.GRU])
def test_final_state(make, bidirectional, all_layers):
    layer, part = make(3, 4, 2, bidirectional=bidirectional, seed=0), fg.FinalState(all_layers)
    D = 1 + bidirectional
    y, state = layer(rng.standard_normal((5, 6, 3)))
    h = state[0] if make is fg.LSTM else state
    out, tape = part.forward(state, directions=D)
    if all_layers:
        assert np.array_equal(out, h.transpose(1, 0, 2))
    else:
        assert np.array_equal(out[:, :4], y[:, -1, :4])
        assert np.array_equal(out[:, 4:], y[:, 0, 4:])  # a reverse direction ends at the first step
    dout = rng.standard_normal(out.shape)
    back = part.backward(tape, dout)
    dh = back[0] if make is fg.LSTM else back
    assert dh.shape == h.shape
    np.testing.assert_allclose((dh * h).sum(), (dout * out).sum(), 1e-5)
    assert np.array_equal(part.forward(dh, directions=D)[0], dout.astype(np.float32))  # nothing is mixed up
    assert np.count_nonzero(dh) == dout.size
    single, tape = part.forward(h[:, 0], directions=D)
    assert np.array_equal(single, out[0])
    assert np.array_equal(part.backward(tape, dout[0]), dh[:, 0])


# --------------------------------------------------------------------------------------------------------- common


@pytest.mark.parametrize(
    "text",
    [
        "Dropout(0.25)",
        "Activation('gelu')",
        "LayerNorm(3)",
        "LayerNorm(3, eps=0.01, dtype='float64')",
        "FinalState()",
        "FinalState(all_layers=True)",
    ],
)
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda part: pickle.loads(pickle.dumps(part))])
def test_printed_form_configuration_and_copies(text, duplicate):
    part = eval(f"fg.{text}")
    assert repr(part) == text
    for twin in (duplicate(part), fg.from_config(part.config())):
        assert repr(twin) == text
        assert twin.config() == part.config()
    with pytest.raises(AttributeError, match="is fixed"):
        setattr(part, next(iter(part.config().keys() - {"class"})), 1)


def test_dense_is_linear():
    assert fg.Dense is fg.Linear
