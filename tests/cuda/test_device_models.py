"""Layers without a state, losses and whole models on the device give what they give on the CPU."""

import numpy as np
import pytest

import fastgate as fg
import fastgate.cuda
from fastgate.cuda import DeviceArray, array
from fastgate.kernels.cuda import transfers

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


def everything():
    """A model with nearly every layer, on the CPU."""
    return fg.Sequential(
        fg.Embedding(7, 4, mask_zero=True, **FLOAT64),
        fg.Dropout(0.3, seed=2),
        fg.LSTM(4, 3, bidirectional=True, num_layers=2, dropout=0.2, **FLOAT64),
        fg.MergeDirections("sum"),
        fg.Sequential(fg.LayerNorm(3, dtype="float64"), fg.Activation("gelu")),
        fg.GRU(3, 2, **FLOAT64),
        fg.FinalState(),
        fg.Linear(2, 3, **FLOAT64),
    )


def test_a_model_with_everything_learns_the_same(tmp_path):
    rng, model = np.random.default_rng(0), everything()
    twin = model.to("cuda")
    assert (model.device, twin.device) == ("cpu", "cuda")
    assert twin.to("cuda") is twin
    x, y = rng.integers(0, 7, (6, 4)), rng.integers(0, 3, 6)
    lengths = [4, 2, 1, 3, 4, 0]
    options = {"loss": "cross_entropy", "epochs": 2, "batch_size": 3, "lengths": lengths, "clip_norm": 0.5}
    options |= {"metrics": ["accuracy"], "validation": (x[:3], y[:3]), "early_stopping": 5}
    histories = [
        own.fit(x, y, optimizer=fg.Adam(0.05), checkpoint=tmp_path / own.device, **options) for own in (model, twin)
    ]
    for column in histories[0]:
        if column != "seconds":
            np.testing.assert_allclose(histories[1][column], histories[0][column], rtol=1e-12)
    same(twin.params.flat, model.params.flat)
    same(twin.predict(x), model.predict(x))
    same(twin.to("cpu")(x), model(x))
    fg.save(tmp_path / "model.safetensors", twin)
    loaded = fg.load(tmp_path / "model.safetensors")
    assert loaded.device == "cpu"
    same(loaded(x), model(x))
    # a run on the CPU goes on from what was written on the GPU
    options["epochs"] = 3
    after = [
        own.fit(x, y, optimizer=fg.Adam(0.05), checkpoint=tmp_path / "cuda", resume=True, **options)["loss"]
        for own in (everything(), everything().to("cuda"))
    ]
    np.testing.assert_allclose(after[1], after[0], rtol=1e-12)


@pytest.mark.parametrize("options", [{}, {"lengths": [2, 4]}, {"mask": np.array([[1, 0, 1, 1], [0, 0, 1, 1]], bool)}])
def test_from_host_to_host(options):
    model = fg.Sequential(
        fg.Linear(3, 4, **FLOAT64), fg.Activation("tanh"), fg.GRU(4, 2, **FLOAT64), fg.Linear(2, 2, **FLOAT64)
    )
    twin, x = model.to("cuda"), np.random.default_rng(0).standard_normal((2, 4, 3))
    y, tape = model.forward(x, **options)
    expected = model.backward(tape, y)
    for there in (False, True):
        own, own_tape = twin.forward(array(x) if there else x, **options)
        found = twin.backward(own_tape, own)
        for part, other in ((own, y), (own_tape.state[0], tape.state[0]), (found.x, expected.x)):
            assert isinstance(part, DeviceArray) == there
            same(part, other)
        assert isinstance(found.params.flat, DeviceArray)
        same(found.params.flat, expected.params.flat)
    same(twin(x, **options), model(x, **options))


class Doubled:
    """A layer of a user's own, for NumPy alone."""

    def forward(self, x):
        return np.ascontiguousarray(x[:, ::1] * 2), None

    def backward(self, tape, dy):
        assert type(dy) is np.ndarray
        return fg.LayerGradients(dy * 2, {})


def test_layers_of_ones_own_compute_on_the_host():
    model = fg.Sequential(fg.Linear(2, 3, **FLOAT64), Doubled(), fg.Linear(3, 1, **FLOAT64))
    twin, x = model.to("cuda"), np.random.default_rng(0).standard_normal((4, 2))
    (y, tape), (own, own_tape) = model.forward(x), twin.forward(array(x))
    assert isinstance(own, DeviceArray)
    same(own, y)
    same(twin.backward(own_tape, own).params.flat, model.backward(tape, y).params.flat)


def test_encoder_and_decoder():
    encoder = fg.Sequential(fg.Embedding(5, 2, **FLOAT64), fg.LSTM(2, 3, **FLOAT64))
    decoder = fg.Sequential(fg.Embedding(4, 2, **FLOAT64), fg.LSTM(2, 3, **FLOAT64), fg.Linear(3, 4, **FLOAT64))
    model, rng = fg.EncoderDecoder(encoder, decoder), np.random.default_rng(0)
    twin = model.to("cuda")
    x, y = (rng.integers(0, 5, (4, 3)), rng.integers(0, 4, (4, 2))), rng.integers(0, 4, (4, 2))
    losses = [
        own.fit(x, y, loss="cross_entropy", optimizer=fg.SGD(0.1), epochs=2, batch_size=2)["loss"]
        for own in (model, twin)
    ]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-12)
    np.testing.assert_array_equal(twin.generate(x[0], 0, None, 3)[0], model.generate(x[0], 0, None, 3)[0])


def test_a_step_copies_the_batch_up_and_scalars_down(monkeypatch):
    model = fg.Sequential(
        fg.LayerNorm(3, dtype="float64"),
        fg.GRU(3, 4, num_layers=2, dropout=0.5, **FLOAT64),
        fg.Dropout(0.5, seed=1),
        fg.Linear(4, 2, **FLOAT64),
        fg.Activation("tanh"),
    ).to("cuda")
    x, y = np.random.default_rng(0).standard_normal((2, 8, 5, 3))
    options = {"loss": "mse", "optimizer": fg.Adam(), "clip_norm": 1.0, "shuffle": False}
    model.fit(x[:4], y[:4, :, :2], batch_size=4, **options)
    up, down = [], []
    for name, sizes in (("upload", up), ("download", down)):
        before = getattr(transfers, name)
        monkeypatch.setattr(
            transfers, name, lambda *pair, before=before, sizes=sizes: (sizes.append(pair[0].size), before(*pair))
        )
    model.fit(x, y[..., :2], batch_size=4, **options)
    assert sorted(up) == [4 * 5 * 2] * 2 + [4 * 5 * 3] * 2
    assert set(down) == {1}
