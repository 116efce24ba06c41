"""Copies, pickles and printed forms of layers, and how they start."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from complaints import complaint

import fastgate as fg

I, H, B, T = 3, 4, 2, 5
X = np.random.default_rng(0).standard_normal((B, T, I)).astype(np.float32)
OPTIONS = {"num_layers": 2, "seed": 7, "dropout": 0.5}
LAYERS = {
    "LSTM": lambda: fg.LSTM(I, H, bidirectional=True, **OPTIONS),
    "GRU": lambda: fg.GRU(I, H, batch_first=False, **OPTIONS),
    "GRU reset before": lambda: fg.GRU(I, H, reset_after=False, **OPTIONS),
    "RNN": lambda: fg.RNN(I, H, nonlinearity="relu", bias="single", **OPTIONS),
    "Linear": lambda: fg.Linear(I, H, seed=7),
    "Embedding": lambda: fg.Embedding(I, H, seed=7),
}
layers = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS.keys())


def unpickled(value):
    return pickle.loads(pickle.dumps(value))


def output(layer):
    """Of training where there is any, so that the dropout mask is part of it."""
    if isinstance(layer, fg.Embedding):
        return layer([0, 2, 1])
    return layer(X) if isinstance(layer, fg.Linear) else layer.forward(X, rng_key=3)[0]


@layers
@pytest.mark.parametrize("duplicate", [copy.deepcopy, unpickled], ids=["deepcopy", "pickle"])
def test_a_deep_copy_is_equal_and_independent(make, duplicate):
    layer = make()
    y = output(layer)
    twin = duplicate(layer)
    assert type(twin) is type(layer)
    assert repr(twin) == repr(layer)
    assert twin.seed == layer.seed
    assert twin.params.version == layer.params.version
    assert np.array_equal(output(twin), y)
    assert not np.shares_memory(twin.params.flat, layer.params.flat)
    assert not twin.params.flat.flags.writeable
    assert all(np.shares_memory(array, twin.params.flat) for array in twin.params.values())
    twin.params.flat = twin.params.flat * 2
    assert np.array_equal(output(layer), y)
    assert not np.array_equal(output(twin), y)


@layers
def test_a_shallow_copy_shares_its_parameters(make):
    layer = make()
    twin = copy.copy(layer)
    assert twin.params is layer.params
    layer.params.flat = layer.params.flat * 2
    assert np.array_equal(output(twin), output(layer))


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, unpickled], ids=["copy", "deepcopy", "pickle"])
def test_copies_of_params(duplicate):
    layer = fg.GRU(I, H, seed=0)
    params = duplicate(layer.params)
    before = layer.params.flat
    params["bias_ih_l0"] = np.ones(3 * H)
    assert layer.params.flat is before
    assert (params.version, layer.params.version) == (2, 1)
    assert not np.array_equal(params.flat, before)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, unpickled], ids=["deepcopy", "pickle"])
def test_copies_of_gradients(duplicate):
    layer = fg.GRU(I, H, seed=0)
    gradients = layer.backward(layer.forward(X)[2], np.ones((B, T, H)))
    twin = duplicate(gradients)
    assert np.array_equal(twin.x, gradients.x)
    assert np.array_equal(twin.state, gradients.state)
    for name, array in twin.params.items():
        assert np.array_equal(array, gradients.params[name])
        assert np.shares_memory(array, twin.params.flat)
        assert not np.shares_memory(array, gradients.params.flat)
    fg.clip_gradient_norm([twin.params], 1e-3)
    assert np.linalg.norm(twin.params["weight_hh_l0"]) <= 1e-3


def test_a_copied_tape_belongs_to_no_layer():
    layer = fg.GRU(I, H, seed=0)
    tape = layer.forward(X)[2]
    for twin in (copy.deepcopy(tape), unpickled(tape)):
        with complaint(ValueError, "tape", "another layer"):
            layer.backward(twin, np.ones((B, T, H)))


def test_a_tape_of_a_layer_is_one_of_its_shallow_copy():
    layer = fg.GRU(I, H, seed=0)
    y, _, tape = layer.forward(X)
    assert np.array_equal(copy.copy(layer).backward(tape, y).x, layer.backward(tape, y).x)


@pytest.mark.parametrize(
    ("layer", "option"),
    [(fg.GRU(I, H), "recurrent_dropout"), (fg.Embedding(3, 2), "mask_zero"), (fg.Dropout(), "same_every_step")],
    ids=["GRU", "Embedding", "Dropout"],
)
def test_pickles_of_another_release(layer, option):
    """Those of 0.3 lack what is an option since; but a subclass need not keep its own."""

    class Mine(type(layer)):
        def __init__(self, shape):
            super().__init__(*shape)

    copy.copy(Mine(() if type(layer) is fg.Dropout else (3, 2)))
    model = fg.Sequential(layer)
    del layer.__dict__[option]
    with complaint(ValueError, f"pickle of {type(layer).__name__}", f"without {option}", "fastgate.save and"):
        unpickled(model)


# --------------------------------------------------------------------------------------------------- printed form


@pytest.mark.parametrize(
    "text",
    [
        "LSTM(3, 4)",
        "LSTM(3, 4, num_layers=2, bias='single', batch_first=False, dropout=0.25, bidirectional=True, dtype='float64')",
        "LSTM(3, 4, init='keras')",
        "GRU(3, 4, bias=False, reset_after=False)",
        "GRU(3, 4, reset_after=False, reset_carry=True)",
        "GRU(3, 4, dtype='float64')",
        "RNN(3, 4, bidirectional=True, nonlinearity='relu')",
        "Linear(3, 4)",
        "Linear(3, 4, bias=False, dtype='float64')",
        "Linear(3, 4, init='keras')",
        "Embedding(3, 4)",
        "Embedding(3, 4, dtype='float64')",
        "Embedding(3, 4, init='keras')",
    ],
)
def test_printed_form_makes_the_same_layer(text):
    assert repr(eval(f"fg.{text}")) == text


# -------------------------------------------------------------------------------------------------------- beginning


@layers
def test_seeds(make):
    assert np.array_equal(make().params.flat, make().params.flat)


@pytest.mark.parametrize("make", [fg.LSTM, fg.GRU, fg.RNN, fg.Linear, fg.Embedding], ids=lambda make: make.__name__)
def test_other_seeds_and_none_differ(make):
    flats = [make(I, H, seed=seed).params.flat.tobytes() for seed in (0, 1, 2**63, None, None)]
    assert len(set(flats)) == 5
    unseeded = make(I, H)
    assert np.array_equal(make(I, H, seed=unseeded.seed).params.flat, unseeded.params.flat)


def test_seed_in_both_dtypes_and_both_layouts():
    single, double = (fg.GRU(I, H, seed=3, dtype=dtype).params.flat for dtype in ("float32", "float64"))
    assert np.array_equal(single, double.astype(np.float32))
    assert np.array_equal(single, fg.GRU(I, H, seed=3, batch_first=False).params.flat)


@pytest.mark.parametrize("make", [fg.LSTM, fg.GRU, fg.RNN], ids=lambda make: make.__name__)
def test_pytorch_bounds(make):
    bound = 1 / np.sqrt(16)
    for name, array in make(40, 16, 2, bidirectional=True, seed=0, dtype="float64").params.items():
        assert np.abs(array).max() <= bound, name
        # Of 16 or more uniform numbers the largest is below 0.6 with a probability of at most 3e-4; the seed is fixed.
        assert np.abs(array).max() >= 0.6 * bound, name
    assert np.abs(fg.Linear(16, 40, seed=0).params.flat).max() <= bound


@pytest.mark.parametrize(("make", "gates"), [(fg.LSTM, 4), (fg.GRU, 3), (fg.RNN, 1)], ids=["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("bias", [True, "single"])
def test_keras_start(make, gates, bias):
    n = 8
    layer = make(5, n, 2, bidirectional=True, bias=bias, init="keras", seed=0, dtype="float64")
    for name, array in layer.params.items():
        if name.startswith("weight_hh"):
            assert np.abs(array.T @ array - np.eye(n)).max() < 1e-14  # a few roundings of 1
        elif name.startswith("weight_ih"):
            bound = np.sqrt(6 / (array.shape[1] + gates * n))
            assert 0.8 * bound < np.abs(array).max() <= bound
    if make is fg.LSTM:
        for suffix in ("l0", "l0_reverse", "l1", "l1_reverse"):
            kinds = ("bias_ih", "bias_hh") if bias is True else ("bias",)
            total = sum(layer.params[f"{kind}_{suffix}"] for kind in kinds)
            assert total.tolist() == n * [0] + n * [1] + 2 * n * [0]
    else:
        assert not any(array.any() for name, array in layer.params.items() if name.startswith("bias"))


def test_keras_start_of_linear():
    layer = fg.Linear(5, 8, init="keras", seed=0)
    assert not layer.params["bias"].any()
    assert 0.8 * np.sqrt(6 / 13) < np.abs(layer.params["weight"]).max() <= np.float32(np.sqrt(6 / 13))


def test_start_of_embedding_is_standard_normal():
    weight = fg.Embedding(100, 100, seed=0).params["weight"]
    assert abs(weight.mean()) < 4 / 100  # four standard deviations of a mean of 10,000
    assert abs(weight.std() - 1) < 4 / np.sqrt(2 * 10_000)


@pytest.mark.parametrize("make", [fg.LSTM, fg.GRU, fg.RNN], ids=lambda make: make.__name__)
def test_dropout_of_one_layer_warns_where_it_was_made(make):
    with pytest.warns(UserWarning, match="num_layers=1") as caught:
        make(I, H, dropout=0.1)
    assert [warning.filename for warning in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(I, H, 2, dropout=0.1)
