"""Models in files: every layer's parameters under the model's names, and nothing absurd made of a description."""

import json
import os

import numpy as np
import pytest
from complaints import complaint

import fastgate as fg

safetensors_numpy = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")

TOKENS = np.array([[1, 2, 3, 4], [5, 6, 7, 8]])


class Shift:
    """A layer of one's own: y = x + shift."""

    def __init__(self, features):
        self.features = features
        self.params = fg.Params({"shift": (features,)}, np.dtype("float32"))

    def config(self):
        return {"class": "Shift", "features": self.features}

    def forward(self, x):
        return x + self.params["shift"], None

    def backward(self, tape, dy):
        return fg.LayerGradients(dy, fg.NamedArrays(dy.sum(0), {"shift": (self.features,)}))


def classifier():
    head = fg.Sequential(fg.LayerNorm(8), fg.Linear(8, 6), fg.Activation("relu"), fg.Linear(6, 2, bias=False))
    body = fg.LSTM(5, 4, 2, bidirectional=True, dropout=0.25)
    return fg.Sequential(fg.Embedding(9, 5), fg.Dropout(0.5), body, fg.FinalState(), head)


def translator():
    encoder = fg.Sequential(fg.Embedding(9, 5), fg.GRU(5, 4, seed=0))
    return fg.EncoderDecoder(encoder, fg.Sequential(fg.Embedding(9, 5), fg.GRU(5, 4), fg.Linear(4, 9)))


MODELS = {"classifier": (classifier, TOKENS), "translator": (translator, (TOKENS, TOKENS[:, :2]))}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize(("make", "x"), MODELS.values(), ids=MODELS.keys())
def test_a_loaded_model_computes_the_same_bits(make, x, path):
    model = make()
    model.params.flat = np.random.default_rng(1).standard_normal(model.params.flat.size)
    fg.save(path, model)
    twin = fg.load(path)
    assert type(twin) is type(model)
    assert twin.config() == model.config()
    y, tape = model.forward(x, rng_key=3)
    y_twin, tape_twin = twin.forward(x, rng_key=3)
    assert y_twin.tobytes() == y.tobytes()
    assert twin.backward(tape_twin, y).params.flat.tobytes() == model.backward(tape, y).params.flat.tobytes()
    arrays = safetensors_numpy.load_file(path)
    assert arrays.keys() == model.params.keys()
    assert all(np.array_equal(array, model.params[name]) for name, array in arrays.items())


def test_weights_of_pytorch_are_read_by_name(torch, path):
    from safetensors.torch import save_file

    peer = torch.nn.Sequential(torch.nn.LayerNorm(3), torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Linear(5, 2)))
    save_file(peer.state_dict(), path)
    model = fg.Sequential(fg.LayerNorm(3), fg.Sequential(fg.Linear(3, 5), fg.Linear(5, 2)))
    model.params.update(safetensors_numpy.load_file(path))
    x = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    assert np.abs(model(x) - peer(torch.tensor(x)).detach().numpy()).max() < 1e-5  # some roundings of numbers about 1


def test_a_layer_of_ones_own_inside(path):
    model = fg.Sequential(fg.Linear(3, 2), Shift(2))
    model.params["1.shift"] = [3, 4]
    fg.save(path, model)
    assert fg.load(path, custom={"Shift": Shift}).params["1.shift"].tolist() == [3, 4]
    with complaint(ValueError, "path", "'Shift'", "custom="):
        fg.load(path)


def test_a_model_without_parameters(path):
    fg.save(path, fg.Sequential(fg.Activation("tanh"), fg.Dropout(0.5, seed=3)))
    assert fg.load(path).layers[1].seed == 3


class Mute(Shift):
    config = None


@pytest.mark.parametrize(
    ("make", "piece"),
    [(lambda: fg.GRU(3, 4).quantized("int8"), "GRU(3, 4).quantized('int8')"), (lambda: Mute(3), "Mute")],
    ids=["quantized", "no configuration"],
)
def test_a_layer_that_cannot_be_saved_is_named(make, piece, path):
    model = fg.Sequential(fg.Embedding(9, 3), make())
    with complaint(TypeError, "config", piece):
        fg.save(path, model)
    assert os.listdir(path.parent) == []


class Sized(fg.Sequential):
    def __init__(self, size, *, keeps=True):
        super().__init__(fg.Linear(3, size, seed=0))
        self.keeps = keeps
        if keeps:
            self.size = size


def test_a_model_of_a_class_of_ones_own_keeps_its_options(path):
    with complaint(TypeError, "config", "Sized takes 'size'", "self.size = size"):
        fg.save(path, Sized(4, keeps=False))
    fg.save(path, Sized(4))
    assert repr(fg.load(path, custom={"Sized": Sized})) == repr(Sized(4))


def layers_of(config):
    return {"format": 1, "config": {"class": "Sequential", "layers": config}}


LINEAR = {"class": "Linear", "in_features": 1000, "out_features": 1000}


@pytest.mark.parametrize(
    ("description", "piece"),
    [
        (layers_of([LINEAR] * 10_000), "more parameters than"),
        (layers_of([LINEAR | {"out_features": 10**12}]), "more parameters than"),
        (layers_of([LINEAR | {"in_features": 3}]), "shape (1000, 3)"),
        (layers_of([]), "cannot be made"),
        (layers_of({}), "list"),
        (layers_of([3]), "layer"),
        ({"format": 1, "config": {"class": "EncoderDecoder", "encoder": LINEAR, "decoder": 3}}, "Sequential"),
    ],
    ids=["many", "huge", "other size", "none", "no list", "number", "no models"],
)
def test_descriptions_that_do_not_fit(path, description, piece):
    weight = {"0.weight": np.zeros((1000, 1000), np.float32), "0.bias": np.zeros(1000, np.float32)}
    safetensors_numpy.save_file(weight, path, {"fastgate": json.dumps(description)})
    with complaint(ValueError, "path", piece):
        fg.load(path)
