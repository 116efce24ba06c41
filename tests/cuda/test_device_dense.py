"""Layers without a state, losses and metrics on the device give what they give on the CPU."""

import numpy as np
import pytest

import fastgate as fg
import fastgate.cuda
from fastgate.cuda import DeviceArray, array
from fastgate.kernels.cuda import reductions

pytestmark = pytest.mark.usefixtures("device")

FLOAT64 = {"dtype": "float64", "seed": 1}
DENSE = {
    "linear": lambda **own: fg.Linear(4, 5, **FLOAT64, **own),
    "linear without bias": lambda **own: fg.Linear(4, 1, bias=False, **FLOAT64, **own),
    "layer norm": lambda **own: fg.LayerNorm(4, dtype="float64", **own),
}
PLAIN = {
    **{name: fg.Activation(name) for name in fastgate.activation.FUNCTIONS},
    **{f"merge {mode}": fg.MergeDirections(mode) for mode in ("sum", "mul", "ave")},
    "dropout": fg.Dropout(0.4, seed=3),
    "dropout same": fg.Dropout(0.4, seed=3, same_every_step=True),
    "dropout same, time first": fg.Dropout(0.4, seed=3, same_every_step=True, batch_first=False),
    "reverse": fg.Reverse(),
    "reverse, time first": fg.Reverse(batch_first=False),
    "masking": fg.Masking(0.25),
    "repeat past": fg.RepeatPast(),
}
SHAPES = [(3, 2, 4), (1, 4), (0, 3, 4)]


def numbers(shape, seed=0):
    found = np.random.default_rng(seed).standard_normal(shape)
    found.reshape(-1, 4)[1:2] = 0.25  # what `Masking` masks
    return found


def same(own, expected):
    assert own.shape == expected.shape
    np.testing.assert_allclose(np.asarray(own), expected, rtol=0, atol=1e-13 * max(1, abs(expected).max(initial=0)))


def both_ways(layer, twin, x, there=True, **options):
    y, tape = layer.forward(x, **options)
    own, own_tape = twin.forward(array(x) if there else x, **options)
    assert isinstance(own, DeviceArray if there else np.ndarray)
    same(own, y)
    dy = np.random.default_rng(9).standard_normal(y.shape)
    expected, found = layer.backward(tape, dy), twin.backward(own_tape, array(dy) if there else dy)
    assert isinstance(found.x, DeviceArray if there else np.ndarray)
    same(found.x, expected.x)
    return expected, found


@pytest.mark.parametrize("shape", [*SHAPES, (4,)], ids=str)
@pytest.mark.parametrize("name", DENSE)
def test_layers_with_parameters(name, shape):
    layer, x = DENSE[name](), numbers(shape)
    layer.params.flat = np.random.default_rng(5).standard_normal(layer.params.flat.size)
    twin = layer.to("cuda")
    assert twin.to("cpu").device == "cpu"
    for there in (True, False):
        expected, found = both_ways(layer, twin, x, there)
        same(found.params.flat, expected.params.flat)
        same(twin(array(x) if there else x), layer(x))
    assert "device='cuda'" in repr(twin)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", PLAIN)
def test_layers_without_parameters_compute_where_their_input_is(name, shape):
    layer, x = PLAIN[name], numbers(shape)
    options = {"rng_key": 7} if isinstance(layer, fg.Dropout) else {}
    if isinstance(layer, fg.RepeatPast):
        options["mask"] = np.random.default_rng(0).random(shape[:-1]) < 0.5
    both_ways(layer, layer, x, **options)


@pytest.mark.parametrize("layer", [fg.MergeDirections("mul"), fg.Dropout(0.4, seed=3, same_every_step=True)], ids=repr)
def test_no_features(layer):
    x = np.zeros((2, 4, 0))
    options = {"rng_key": 7} if isinstance(layer, fg.Dropout) else {}
    y, tape = layer.forward(array(x), **options)
    assert y.shape == layer.backward(tape, y).x.shape == x.shape


@pytest.mark.parametrize("options", [{}, {"padding_idx": 2}])
def test_embedding(options):
    layer = fg.Embedding(5, 3, **FLOAT64, **options)
    twin, x = layer.to("cuda"), np.array([[4, 2, 2, 0], [2, 4, 4, 4]])
    y, tape = layer.forward(x)
    dy = np.random.default_rng(0).standard_normal(y.shape)
    for given in (x, array(x)):
        own, own_tape = twin.forward(given)
        same(own, y)
        same(twin(given), y)
        gradients = twin.backward(own_tape, array(dy))
        assert isinstance(gradients.params.flat, DeviceArray)
        same(gradients.params.flat, layer.backward(tape, dy).params.flat)
    with pytest.raises(ValueError, match="values from 0 to 4"):
        twin(array(x + 1))


@pytest.mark.parametrize("all_layers", [False, True])
def test_final_state(all_layers):
    layer = fg.FinalState(all_layers)
    state = tuple(np.random.default_rng(0).standard_normal((2, 4, 2, 3)))
    for given in (state, state[0], state[0][:, 0]):
        y, tape = layer.forward(given, directions=2)
        there = tuple(map(array, given)) if isinstance(given, tuple) else array(given)
        own, own_tape = layer.forward(there, directions=2)
        assert isinstance(own, DeviceArray)
        same(own, y)
        expected, found = layer.backward(tape, y), layer.backward(own_tape, own)
        pairs = zip(found, expected, strict=True) if isinstance(given, tuple) else [(found, expected)]
        for part, other in pairs:
            same(part, other)


LOSSES = {
    "mse": (fg.mse, (3, 4, 2), (3, 4, 2)),
    "mae": (fg.mae, (3, 4, 1), (3, 4)),
    "huber": (fg.huber, (3, 4, 2), (3, 2)),
    "binary": (fg.binary_cross_entropy, (3, 4, 2), (3, 4, 2)),
    "classes": (fg.cross_entropy, (3, 4, 5), (3, 4)),
    "one class": (fg.cross_entropy, (3, 4, 5), (3,)),
}
COUNTED = {
    "all": {},
    "lengths": {"lengths": [2, 4, 0]},
    "weights": {"weights": np.array([0.5, 0.0, 2.0])},
    "mask": {"mask": np.arange(12).reshape(3, 4) % 3 > 0, "weights": np.arange(12.0).reshape(3, 4)},
}


@pytest.mark.parametrize("counted", COUNTED)
@pytest.mark.parametrize("name", LOSSES)
def test_losses(name, counted):
    loss, shape, target_shape = LOSSES[name]
    rng, options = np.random.default_rng(0), COUNTED[counted]
    y, target = rng.standard_normal(shape), rng.random(target_shape)
    target = (target * 5).astype(int) if loss is fg.cross_entropy else target
    expected, dy = loss(y, target, **options)
    for given in (target, array(target)):
        found, own = loss(array(y), given, **options)
        assert isinstance(found, float)
        assert isinstance(own, DeviceArray)
        assert found == pytest.approx(expected, rel=1e-14)
        same(own, dy)


@pytest.mark.parametrize("name", fastgate.metrics.METRICS)
def test_metrics(name):
    rng, metric = np.random.default_rng(0), fastgate.metrics.METRICS[name]
    y, target = rng.standard_normal((3, 4, 5)), rng.random((3, 4, 5))
    target = target.argmax(-1) if name in ("accuracy", "perplexity", "bits_per_character") else target
    for options in COUNTED.values():
        assert metric(array(y), target, **options) == pytest.approx(metric(y, target, **options), rel=1e-13)


def test_reductions_of_several_parts():
    host = np.random.default_rng(0).uniform(1, 2, 2 * reductions.PARTS + 3)
    own = array(host)
    assert own.sum() == pytest.approx(host.sum(), rel=1e-14)
    assert own.sum_of_squares(2.0) == pytest.approx(np.square(host / 2).sum(), rel=1e-14)
    assert (own.max(), own.min(), (-own).min()) == (host.max(), host.min(), -host.max())
    host[5] = np.nan
    assert np.isnan([array(host).max(), array(host).min(), array(host).sum()]).all()
