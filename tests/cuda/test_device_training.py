"""Parameters on the device: written, saved, clipped and optimised as on the CPU."""

import copy
import pickle

import numpy as np
import pytest

import fastgate as fg
import fastgate.cuda
from fastgate.cuda import DeviceArray

pytestmark = pytest.mark.usefixtures("device")

OPTIMIZERS = {
    "sgd": lambda: fg.SGD(0.1),
    "nesterov": lambda: fg.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": lambda: fg.Adam(0.01, weight_decay=0.1),
    "adamw": lambda: fg.AdamW(0.01),
    "rmsprop": lambda: fg.RMSprop(0.01, momentum=0.5),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_same_bits_as_on_the_cpu(name, dtype):
    layer, rng = fg.RNN(2, 3, seed=0, dtype=dtype), np.random.default_rng(0)
    twin, first, second = layer.to("cuda"), OPTIMIZERS[name](), OPTIMIZERS[name]()
    for step in range(3):
        vector = rng.standard_normal(layer.params.flat.size).astype(dtype)
        if step == 2:  # goes on from what a file would hold
            state = second.state()
            assert all(isinstance(value, (int, np.ndarray)) for value in state.values())
            second = OPTIMIZERS[name]()
            second.restore(state)
        gradients = [fg.NamedArrays(own, layer.params._shapes) for own in (vector, fastgate.cuda.array(vector))]
        first.step([layer.params], gradients[:1])
        second.step([twin.params], gradients[1:])
        np.testing.assert_array_equal(np.asarray(twin.params.flat), layer.params.flat)


def test_parameters_are_read_only():
    layer = fg.LSTM(2, 3, seed=0, device="cuda")
    before, flat = np.asarray(layer.params.flat), layer.params.flat

    def added(array):
        array += 1

    for write in (
        lambda: added(flat),
        lambda: added(layer.params["weight_ih_l0"]),
        lambda: flat.__setitem__(slice(0, 2), 0),
        lambda: layer.params["weight_hh_l0"][0].__setitem__(..., 0),
        lambda: flat.reshape(-1, 1).__setitem__(..., 0),
        lambda: copy.deepcopy(layer).params.flat.__setitem__(..., 0),
    ):
        with pytest.raises(ValueError, match="read-only"):
            write()
    np.testing.assert_array_equal(np.asarray(layer.params.flat), before)
    layer.params.flat = flat + 1
    assert layer.params.version == 2
    flat.copy()[...] = 0


def test_clipping():
    vector = np.random.default_rng(0).standard_normal(50)
    pair = [fg.NamedArrays(own, {"w": (50,)}) for own in (vector, fastgate.cuda.array(vector))]
    norms = [fg.clip_gradient_norm([own], 2.0) for own in pair]
    assert norms[1] == pytest.approx(norms[0], rel=1e-14)
    np.testing.assert_allclose(np.asarray(pair[1].flat), pair[0].flat, rtol=1e-14)
    for own in pair:
        own["w"] = vector
        fg.clip_gradient_value([own], 0.5)
    np.testing.assert_array_equal(np.asarray(pair[1].flat), pair[0].flat)


def test_parameters_are_written_from_both_sides(tmp_path):
    layer = fg.GRU(2, 3, seed=0, device="cuda")
    params = layer.params
    params["bias_ih_l0"] = np.ones(9)
    params["bias_hh_l0"] = params["bias_ih_l0"] * 2
    with params.edit() as arrays:
        arrays["weight_hh_l0"] *= 0
    params.flat = params.flat * 2
    assert [np.asarray(params[name]).max() for name in ("bias_ih_l0", "bias_hh_l0", "weight_hh_l0")] == [2, 4, 0]
    assert isinstance(params["weight_ih_l0"], DeviceArray)
    _, _, tape = layer.forward(np.zeros((1, 1, 2)))
    params.flat = params.flat.copy_to_host()
    with pytest.raises(ValueError, match="written since"):
        layer.backward(tape, np.zeros((1, 1, 3)))

    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), layer.to("cpu"), layer.replace(dropout=0.0)):
        np.testing.assert_array_equal(np.asarray(twin.params.flat), np.asarray(params.flat))
    fg.save(tmp_path / "layer.safetensors", layer)
    loaded = fg.load(tmp_path / "layer.safetensors")
    assert loaded.device == "cpu"  # wherever it was saved
    np.testing.assert_array_equal(loaded.params.flat, np.asarray(params.flat))


def test_a_model_with_a_layer_on_the_device_is_fitted():
    x = np.random.default_rng(0).standard_normal((4, 3, 2))
    losses = []
    for device in ("cpu", "cuda"):
        layers = (
            fg.GRU(2, 3, seed=0, dtype="float64", device=device),
            fg.FinalState(),
            fg.Linear(3, 1, seed=1, dtype="float64"),
        )
        model = fg.Sequential(*layers)
        history = model.fit(
            x,
            x.sum((1, 2))[:, None],
            loss="mse",
            optimizer=fg.Adam(0.01),
            epochs=2,
            batch_size=2,
            seed=0,
            clip_norm=1.0,
        )
        losses.append(history["loss"])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-12)
