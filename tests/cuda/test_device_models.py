"""Whole models on the device compute and learn what they do on the CPU."""

import numpy as np
import pytest

import fastgate as fg
from fastgate.cuda import DeviceArray, array
from fastgate.kernels.cuda import transfers

pytestmark = pytest.mark.usefixtures("device")

FLOAT64 = {"dtype": "float64", "seed": 1}


def same(own, expected):
    assert own.shape == expected.shape
    np.testing.assert_allclose(np.asarray(own), expected, rtol=0, atol=1e-13 * max(1, abs(expected).max(initial=0)))


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
    if "lengths" in options:
        x[0, 2:] = np.nan  # which nobody reads
        same(twin(x, **options), y)


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


def own_loss(y, target, weights=None):
    assert type(y) is np.ndarray
    return float(np.mean((y - target) ** 4)), 4 * (y - target) ** 3 / y.size


TIME_FIRST = {"batch_first": False, **FLOAT64}
TRAININGS = {
    "stateful": (FLOAT64, {"loss": "mae", "stateful": 2, "batch_size": 3, "clip_value": 0.1}),
    "lbfgs": (FLOAT64, {"loss": "huber", "optimizer": "lbfgs"}),
    "a function": (FLOAT64, {"loss": own_loss, "shuffle": False}),
    "time first": (TIME_FIRST, {"loss": "mse", "lengths": [2, 5, 0], "metrics": ["r2"]}),
}


@pytest.mark.parametrize("name", TRAININGS)
def test_trainings(name):
    layout, options = TRAININGS[name]
    axes = (1, 0, 2) if "batch_first" in layout else (0, 1, 2)
    x, y = np.random.default_rng(0).standard_normal((2, 3, 5, 2)).transpose(0, *(1 + axis for axis in axes))
    model = fg.Sequential(fg.Linear(2, 3, **FLOAT64), fg.Activation("relu"), fg.GRU(3, 2, **layout))
    losses = [
        own.fit(x, y, **{"optimizer": fg.RMSprop(), "batch_size": 2, "epochs": 2} | options)["loss"]
        for own in (model.to("cuda"), model)
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-11)


NUMBERS = fg.Sequential(
    fg.LayerNorm(3, dtype="float64"),
    fg.GRU(3, 4, num_layers=2, dropout=0.5, **FLOAT64),
    fg.Dropout(0.5, seed=1),
    fg.Linear(4, 2, **FLOAT64),
    fg.Activation("tanh"),
)
SYMBOLS = fg.Sequential(
    fg.Embedding(7, 2, **FLOAT64), fg.GRU(2, 3, **FLOAT64), fg.FinalState(), fg.Linear(3, 7, **FLOAT64)
)
COPIED = {  # model, x, y, loss, entries that go up in a step; what sorts 20 integers by row is 20 + rows + starts
    "numbers": (NUMBERS, np.ones((8, 5, 3)), np.ones((8, 5, 2)), "mse", [4 * 5 * 3, 4 * 5 * 2]),
    "symbols": (SYMBOLS, np.ones((8, 5), int), np.ones(8, int), "cross_entropy", [4 * 5, 4, 20 + 1 + 2]),
}


@pytest.mark.parametrize("name", COPIED)
def test_a_step_copies_the_batch_up_and_scalars_down(name, monkeypatch):
    model, x, y, loss, expected = COPIED[name]
    twin, options = model.to("cuda"), {"loss": loss, "optimizer": fg.Adam(), "clip_norm": 1.0, "batch_size": 4}
    twin.fit(x[:4], y[:4], **options)
    up, down = [], []
    for what, sizes in (("upload", up), ("download", down)):
        before = getattr(transfers, what)
        monkeypatch.setattr(
            transfers, what, lambda *pair, before=before, sizes=sizes: (sizes.append(pair[0].size), before(*pair))
        )
    twin.fit(x, y, **options)
    assert sorted(up) == sorted(2 * expected)
    assert set(down) == {1}


EXPORTS = {
    "torch": lambda model, folder: fg.to_torch(model, folder / "model.pt"),
    "keras": lambda model, folder: fg.to_keras(model, folder / "model.keras"),
    "onnx": lambda model, folder: fg.to_onnx(model, folder / "model.onnx"),
    "rtneural": lambda model, folder: fg.to_rtneural(model, folder / "model.json"),
    "c": lambda model, folder: fg.to_c(model, folder),
}


@pytest.mark.parametrize("name", EXPORTS)
def test_exports_go_through_the_cpu(name, tmp_path):
    needed = {"onnx": "onnx", "keras": "h5py"}
    if name in needed:
        pytest.importorskip(needed[name])
    model = fg.Sequential(fg.LSTM(2, 3, seed=0), fg.Linear(3, 1, seed=1))
    written = []
    for own in (model, model.to("cuda")):
        folder = tmp_path / own.device
        folder.mkdir()
        EXPORTS[name](own, folder)
        written.append({path.name: path.stat().st_size for path in folder.iterdir()})
    assert written[0] == written[1]


REFUSED = {
    "per_sample": lambda model, x: model.backward(model.forward(x)[1], np.ones((1, 2, 1)), per_sample=True),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_models_do_not_do_there_is_refused_by_name(name):
    model = fg.Sequential(fg.GRU(2, 3), fg.Linear(3, 1)).to("cuda")
    with pytest.raises(ValueError, match=f"^{name}.*expected .* on the CPU"):
        REFUSED[name](model, np.zeros((1, 2, 2)))


def test_ensembles():
    members = [
        fg.Sequential(fg.GRU(2, 3, seed=n, dtype="float64"), fg.Linear(3, 1, seed=n, dtype="float64")) for n in range(2)
    ]
    x = np.random.default_rng(0).standard_normal((2, 3, 2))
    twin, own = fg.Ensemble(members), fg.Ensemble([member.to("cuda") for member in members])
    same(own(x)[0], twin(x)[0])
    (y, _, tape), (own_y, _, own_tape) = twin.forward(x), own.forward(array(x))
    same(np.asarray(own_y), y)
    found, expected = own.backward(own_tape, own_y), twin.backward(tape, y)
    same(np.asarray(found.params.flat), expected.params.flat)
    same(np.asarray(found.x), expected.x)


def test_a_snapshot_of_a_linear_layer_is_for_the_cpu():
    layer = fg.Linear(2, 3, seed=0)
    own, expected = layer.to("cuda").jit(), layer.jit()
    assert type(own) is type(expected)
    np.testing.assert_array_equal(own.packed, expected.packed)


def test_steps_and_streams():
    model = fg.Sequential(fg.Linear(2, 3, **FLOAT64), fg.GRU(3, 2, **FLOAT64), fg.Linear(2, 1, **FLOAT64))
    twin, x = model.to("cuda"), np.random.default_rng(0).standard_normal((1, 3, 2))
    state = None
    for t, expected in enumerate(model(x)[0]):
        y, state = twin.step(x[:, t], state)
        same(y[0], expected)
