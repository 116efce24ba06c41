"""Wrong options of a layer, a loss or an optimizer: the message names the option and what came."""

import numpy as np
import pytest
from complaints import UNREAL, complaint, not_real_numbers

import fastgate as fg

RECURRENT = [fg.LSTM, fg.GRU, fg.RNN]
names = pytest.mark.parametrize("make", RECURRENT, ids=lambda make: make.__name__)


@names
@pytest.mark.parametrize("argument", ["input_size", "hidden_size", "num_layers"])
@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (0, ValueError, "an integer of at least 1"),
        (-3, ValueError, "an integer of at least 1"),
        (1.5, TypeError, "an integer"),
        (2.0, TypeError, "an integer"),
        ("3", TypeError, "an integer"),
        (True, TypeError, "an integer"),
        (np.True_, TypeError, "an integer"),
        (None, TypeError, "an integer"),
        ([3], TypeError, "an integer"),
    ],
    ids=str,
)
def test_sizes(make, argument, value, kind, expected):
    sizes = {"input_size": 3, "hidden_size": 4, "num_layers": 1} | {argument: value}
    with complaint(kind, argument, f"expected {expected}", f"got {value!r}"):
        make(**sizes)


@pytest.mark.parametrize("value", [np.int64(4), np.uint8(4), np.array(4)], ids=lambda v: type(v).__name__)
def test_sizes_of_numpy_are_integers(value):
    layer = fg.LSTM(value, value, value)
    assert repr(layer) == "LSTM(4, 4, num_layers=4)"
    assert type(layer.hidden_size) is int


@names
@pytest.mark.parametrize(
    ("argument", "value", "expected"),
    [
        ("bias", "both", "True or False or 'single'"),
        ("bias", 1, "True or False or 'single'"),
        ("bias", None, "True or False or 'single'"),
        ("batch_first", 1, "True or False"),
        ("batch_first", "no", "True or False"),
        ("bidirectional", 2, "True or False"),
        ("bidirectional", None, "True or False"),
        ("device", "gpu", "'cpu'"),
        ("device", None, "'cpu'"),
        ("init", "he", "'pytorch' or 'keras'"),
        ("init", None, "'pytorch' or 'keras'"),
        ("dtype", "float16", "'float32' or 'float64'"),
        ("dtype", "int32", "'float32' or 'float64'"),
        ("dtype", None, "'float32' or 'float64'"),
        ("dtype", "complex64", "'float32' or 'float64'"),
        ("dtype", np.longdouble, "'float32' or 'float64'"),
        ("dtype", "no such type", "'float32' or 'float64'"),
        ("dtype", 32, "'float32' or 'float64'"),
        ("dtype", ",", "'float32' or 'float64'"),
    ],
)
def test_choices(make, argument, value, expected):
    with complaint(ValueError, argument, f"expected {expected}", f"got {value!r}"):
        make(3, 4, **{argument: value})


def test_choices_of_one_cell():
    with complaint(ValueError, "nonlinearity", "one of sigmoid, tanh, relu, ", "got 'gelu'"):
        fg.RNN(3, 4, nonlinearity="gelu")
    with complaint(ValueError, "nonlinearity", "one of sigmoid, tanh, relu, ", "got None"):
        fg.RNN(3, 4, nonlinearity=None)
    for value in (1, "after", None):
        with complaint(ValueError, "reset_after", "True or False", f"got {value!r}"):
            fg.GRU(3, 4, reset_after=value)
        with complaint(ValueError, "reset_carry", "True or False", f"got {value!r}"):
            fg.GRU(3, 4, reset_carry=value)
    with complaint(ValueError, "reset_carry", "reset_after=False", "got True"):
        fg.GRU(3, 4, reset_carry=True)


@pytest.mark.parametrize("dtype", [np.float64, float, "d", "<f8", ">f8", np.dtype("float64")], ids=str)
def test_any_name_of_a_dtype(dtype):
    layer = fg.RNN(3, 4, dtype=dtype)
    assert layer.dtype == np.float64
    assert layer.dtype.isnative


def test_unknown_options():
    with pytest.raises(TypeError, match="nonlinearity"):
        fg.LSTM(3, 4, nonlinearity="tanh")
    with pytest.raises(TypeError, match="positional"):
        fg.LSTM(3, 4, 1, True)


@names
@pytest.mark.parametrize("value", [-0.1, 1.0, 1, 2.5, float("nan"), float("inf")])
def test_range_of_dropout(make, value):
    with complaint(ValueError, "dropout", "a probability from 0 to below 1"):
        make(3, 4, 2, dropout=value)


@pytest.mark.parametrize("value", ["0.5", True, None, [0.5], 0.5j], ids=str)
def test_type_of_dropout(value):
    with complaint(TypeError, "dropout", "expected a number", f"got {value!r}"):
        fg.LSTM(3, 4, 2, dropout=value)


@pytest.mark.parametrize("make", [*RECURRENT, fg.Linear, fg.Embedding], ids=lambda make: make.__name__)
def test_seed(make):
    with complaint(ValueError, "seed", "an integer of at least 0", "got -1"):
        make(3, 4, seed=-1)
    for value in (1.5, "1", True, [1]):
        with complaint(TypeError, "seed", "an integer", f"got {value!r}"):
            make(3, 4, seed=value)
    make(3, 4, seed=2**64 - 1)


# ------------------------------------------------------------------------------------------- Linear and Embedding


def test_options_of_linear_and_embedding():
    for make, (first, second) in (
        (fg.Linear, ("in_features", "out_features")),
        (fg.Embedding, ("num_embeddings", "embedding_dim")),
    ):
        for value, kind in ((0, ValueError), (1.5, TypeError), (True, TypeError)):
            with complaint(kind, first, "an integer", f"got {value!r}"):
                make(value, 4)
            with complaint(kind, second, "an integer", f"got {value!r}"):
                make(4, value)
        with complaint(ValueError, "dtype", "'float32' or 'float64'", "got 'float16'"):
            make(4, 4, dtype="float16")
    with complaint(ValueError, "bias", "True or False", "got 'single'"):
        fg.Linear(3, 4, bias="single")
    with complaint(ValueError, "init", "'pytorch' or 'keras'", "got 'ones'"):
        fg.Linear(3, 4, init="ones")


def test_linear():
    layer, other = fg.Linear(3, 4, seed=0), fg.Linear(3, 4, seed=0)
    x = np.ones((2, 3), np.float32)
    before = layer(x)
    for shape in [(2, 4), (), (3, 1)]:
        with complaint(ValueError, "x", "(..., 3)", f"got {shape}"):
            layer(np.zeros(shape))
    for value, said in (not_real_numbers((2, 2, 3))[name] for name in UNREAL):
        with complaint(TypeError, "x", "expected an array", said):
            layer.forward(value)
    with complaint(ValueError, "x", "infinite in float32"):
        layer(np.full((2, 3), 1e300))
    y, tape = layer.forward(x)
    with complaint(ValueError, "dy", "(..., 4)", f"got {(2, 3)}"):
        layer.backward(tape, np.zeros((2, 3)))
    with complaint(ValueError, "dy", f"that of y, {(2, 4)}", f"got {(1, 2, 4)}"):
        layer.backward(tape, np.zeros((1, 2, 4)))
    with complaint(TypeError, "dy", "expected an array"):
        layer.backward(tape, None)
    with complaint(ValueError, "tape", "another layer", "Linear(3, 4)"):
        layer.backward(other.forward(x)[1], y)
    with complaint(TypeError, "tape", "the tape that forward returned", "got Tape"):
        layer.backward(fg.RNN(3, 4).forward(x)[2], y)
    assert np.array_equal(layer(x), before)
    layer.params["bias"] = np.zeros(4)
    with complaint(ValueError, "tape", "written since"):
        layer.backward(tape, y)


def test_embedding():
    layer, other = fg.Embedding(5, 2, seed=0), fg.Embedding(5, 2, seed=0)
    before = layer([0, 4])
    for ids, said in (([0, 5], "0 to 5"), ([-1, 2], "-1 to 2"), (np.uint64(2**63), str(2**63))):
        with complaint(ValueError, "x", "values from 0 to 4", said):
            layer(ids)
    for ids in ([1.0], [True], [None], np.array([1], "m8[s]"), [10**30], None):
        with complaint(TypeError, "x", "integers", "dtype"):
            layer.forward(ids)
    with complaint(TypeError, "x", "without a mask"):
        layer(np.ma.masked_array([1, 2], [True, False]))
    with complaint(TypeError, "x", "integers"):
        layer([[1], [1, 2]])
    y, tape = layer.forward([0, 4])
    with complaint(ValueError, "dy", f"that of y, {(2, 2)}", f"got {(4,)}"):
        layer.backward(tape, np.zeros(4))
    with complaint(ValueError, "tape", "another layer", "Embedding(5, 2)"):
        layer.backward(other.forward([0, 4])[1], y)
    assert np.array_equal(layer([0, 4]), before)
    layer.params["weight"] = np.zeros((5, 2))
    with complaint(ValueError, "tape", "written since"):
        layer.backward(tape, y)


# ------------------------------------------------------------------------------------------ losses and optimizers


def test_mse():
    with complaint(ValueError, "target", "that of y, (2, 3)", "got (3, 2)"):
        fg.mse(np.zeros((2, 3)), np.zeros((3, 2)))
    with complaint(ValueError, "target", "that of y, (2, 3)", "got ()"):
        fg.mse(np.zeros((2, 3)), 0.0)
    with complaint(ValueError, "y", "at least one entry", "got (0, 3)"):
        fg.mse(np.zeros((0, 3)), np.zeros((0, 3)))
    for value, said in (not_real_numbers((1, 2, 3))[name] for name in UNREAL):
        with complaint(TypeError, "y", "expected an array", said):
            fg.mse(value, np.zeros((1, 2, 3)))
        with complaint(TypeError, "target", "expected an array", said):
            fg.mse(np.zeros((1, 2, 3)), value)


def test_targets_of_cross_entropy():
    logits = np.zeros((2, 3))
    with complaint(ValueError, "target", "classes from 0 to 2", "0 to 3"):
        fg.cross_entropy(logits, [0, 3])
    with complaint(ValueError, "target", "classes from 0 to 2", "got -1 to 1"):
        fg.cross_entropy(logits, [-1, 1])
    with complaint(TypeError, "target", "integers", "got dtype"):
        fg.cross_entropy(logits, [0.0, 1.0])
    for shape in [(3,), (2, 3), ()]:
        with complaint(ValueError, "target", "(2,)", f"got {shape}"):
            fg.cross_entropy(logits, np.zeros(shape, int))
    with complaint(ValueError, "target", "at least one entry"):
        fg.cross_entropy(np.zeros((0, 3)), np.zeros(0, int))
    with complaint(TypeError, "target", "mask"):
        fg.cross_entropy(logits, np.ma.masked_array([0, 1], [True, False]))


def test_logits_of_cross_entropy():
    for value, said in (not_real_numbers((1, 2, 3))[name] for name in UNREAL):
        with complaint(TypeError, "logits", "expected an array", said):
            fg.cross_entropy(value, np.zeros((1, 2), int))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *[(name, value) for name in ("lr", "eps") for value in (0, -1.0, float("nan"), float("inf"), "1", None)],
        *[("betas", value) for value in ((1.0, 0.9), (-0.1, 0.9), (0.9,), (0.9, 0.9, 0.9), 0.9, ("a", "b"), None)],
    ],
)
def test_options_of_adam(option, value):
    with pytest.raises((TypeError, ValueError), match=f"^{option}: expected "):
        fg.Adam(**{option: value})


def test_step_of_adam_checks_before_it_writes():
    layer = fg.Linear(3, 4, seed=0)
    y, tape = layer.forward(np.ones((1, 3)))
    gradients, optimizer = layer.backward(tape, y).params, fg.Adam()
    before = layer.params.flat
    with complaint(ValueError, "gradients", "one for each of params"):
        optimizer.step([layer.params], [])
    with complaint(ValueError, "gradients", "one for each of params"):
        optimizer.step([layer.params, fg.Linear(2, 2).params], [gradients, gradients])
    assert layer.params.flat is before
    assert optimizer.steps == 0
    optimizer.step([layer.params], [gradients])
    with complaint(ValueError, "params", "the same layers as at the first step"):
        optimizer.step([layer.params, layer.params], [gradients, gradients])
    assert optimizer.steps == 1


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), "1", None])
def test_largest_norm(value):
    with pytest.raises((TypeError, ValueError), match=r"^max_norm: expected "):
        fg.clip_gradient_norm([], value)
