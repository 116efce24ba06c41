"""Layers written into files and read again, by fastgate and by others."""

import json
import os
import struct
import sys

import numpy as np
import pytest
from complaints import complaint

import fastgate as fg

safetensors_numpy = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")

I, H, B, T = 3, 4, 2, 5
X = np.random.default_rng(0).standard_normal((B, T, I))
LAYERS = {
    "LSTM": lambda: fg.LSTM(I, H, 3, bidirectional=True, dropout=0.5, dtype="float64"),
    "GRU": lambda: fg.GRU(I, H, batch_first=False, bias="single", init="keras", seed=2**63),
    "GRU reset before": lambda: fg.GRU(I, H, 2, reset_after=False, dropout=0.25),
    "RNN": lambda: fg.RNN(I, H, nonlinearity="relu", bias=False),
    "Linear": lambda: fg.Linear(I, H, bias=False),
    "Embedding": lambda: fg.Embedding(I, H, padding_idx=1),
}
layers = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS.keys())


class Scale:
    """A layer of one's own."""

    def __init__(self, features, start=1.0):
        self.features = features
        self.params = fg.Params({"scale": (features,)}, np.dtype("float32"))
        self.params["scale"] = np.full(features, start)

    def config(self):
        return {"class": "Scale", "features": self.features}


def outputs(layer):
    """Of training where there is any, so that the dropout mask is part of it."""
    if isinstance(layer, fg.Embedding):
        return [layer([0, 2, 1])]
    return [layer(X)] if isinstance(layer, fg.Linear) else [layer(X)[0], layer.forward(X, rng_key=3)[0]]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "layer.safetensors"


# --------------------------------------------------------------------------------------------------------- round trip


@layers
def test_a_loaded_layer_computes_the_same_bits(make, path):
    layer = make()
    layer.params.flat = np.random.default_rng(1).standard_normal(layer.params.flat.size)
    fg.save(path, layer)
    twin = fg.load(str(path))
    assert type(twin) is type(layer)
    assert repr(twin) == repr(layer)
    assert twin.config() == layer.config()
    for own, other in zip(outputs(twin), outputs(layer), strict=True):
        assert own.tobytes() == other.tobytes()
    assert os.listdir(path.parent) == [path.name]


@layers
def test_any_reader_of_the_format_opens_the_file(make, path):
    layer = make()
    fg.save(path, layer)
    arrays = safetensors_numpy.load_file(path)
    assert arrays.keys() == layer.params.keys()
    for name, array in arrays.items():
        assert array.dtype == layer.dtype
        assert np.array_equal(array, layer.params[name])


@layers
def test_a_configuration_makes_an_equal_layer(make):
    layer = make()
    config = json.loads(json.dumps(layer.config()))
    twin = fg.from_config(config)
    assert repr(twin) == repr(layer)
    assert np.array_equal(twin.params.flat, layer.params.flat)  # as the seed is part of it
    assert config == layer.config()


def test_every_bit_of_a_number_survives(path):
    layer = fg.Linear(3, 2, bias=False)
    bits = np.array([[0x7FC00001, 0xFFC12345, 0x7F800000], [0x80000000, 0x00000001, 0xFF800000]], np.uint32)
    layer.params["weight"] = bits.view(np.float32)
    fg.save(path, layer)
    assert np.array_equal(fg.load(path).params["weight"].view(np.uint32), bits)


def test_the_same_layer_makes_the_same_file(path):
    layer = fg.LSTM(I, H, 2, seed=0)
    fg.save(path, layer)
    content = path.read_bytes()
    fg.save(path, layer)
    assert path.read_bytes() == content
    header = json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])
    assert json.loads(header["__metadata__"]["fastgate"]) == {
        "format": 1,
        "version": fg.__version__,
        "config": layer.config(),
    }


def test_weights_of_pytorch_are_read_by_name(torch, path):
    from safetensors.torch import save_file

    peer = torch.nn.LSTM(I, H, 2, bidirectional=True, batch_first=True)
    save_file(peer.state_dict(), path)
    layer = fg.LSTM(I, H, 2, bidirectional=True)
    layer.params.update(safetensors_numpy.load_file(path))
    y = peer(torch.tensor(X, dtype=torch.float32))[0].detach().numpy()
    assert np.abs(layer(X)[0] - y).max() < 1e-6  # a few roundings of numbers below 1
    with pytest.raises(ValueError, match=r"not one of fastgate\.save; layer\.params\.update"):
        fg.load(path)


# ----------------------------------------------------------------------------------------------------- layers of others


def test_a_layer_of_ones_own(path):
    layer = Scale(3, start=2.0)
    fg.save(path, layer)
    twin = fg.load(path, custom={"Scale": Scale})
    assert type(twin) is Scale
    assert twin.params["scale"].tolist() == [2, 2, 2]
    with pytest.raises(ValueError, match=r"no class 'Scale' among .*LSTM.*; give others by custom="):
        fg.load(path)


def test_a_subclass_keeps_its_name():
    class Mine(fg.GRU):
        pass

    config = Mine(I, H).config()
    assert config["class"] == "Mine"
    assert type(fg.from_config(config, custom={"Mine": Mine})) is Mine


class Chain:
    """Holds layers, as a model does."""

    def __init__(self, *layers, name):
        self.layers, self.name = layers, name


def test_layers_within_layers():
    parts = [
        {"class": "GRU", "input_size": 3, "hidden_size": 4},
        {"class": "Linear", "in_features": 4, "out_features": 1},
    ]
    inner = {"class": "Chain", "layers": parts[1:], "name": "inner"}
    chain = fg.from_config({"class": "Chain", "layers": [parts[0], inner], "name": "outer"}, custom={"Chain": Chain})
    assert (repr(chain.layers[0]), chain.name) == ("GRU(3, 4)", "outer")
    assert (repr(chain.layers[1].layers[0]), chain.layers[1].name) == ("Linear(4, 1)", "inner")


@pytest.mark.parametrize(
    ("config", "kind", "pieces"),
    [
        ([], TypeError, ["dictionary", "list"]),
        ({"input_size": 3}, TypeError, ["'class'"]),
        ({"class": "Frozen"}, ValueError, ["'Frozen'", "custom="]),
        ({"class": "LSTM", "input_size": 3}, ValueError, ["LSTM", "'hidden_size'"]),
        ({"class": "Linear", "in_features": 3, "out_features": 1, "shape": 2}, ValueError, ["Linear", "'shape'"]),
        ({"class": "Chain", "layers": 3, "name": ""}, TypeError, ["layers of Chain", "list", "int"]),
    ],
)
def test_wrong_configurations(config, kind, pieces):
    with complaint(kind, "config", *pieces):
        fg.from_config(config, custom={"Chain": Chain})


# ------------------------------------------------------------------------------------------------------ what is refused


class Odd(Scale):
    def config(self):
        return {"class": "Odd", "value": self.value}


def odd(value):
    layer = Odd(2)
    layer.value = value
    return layer


@pytest.mark.parametrize(
    ("make", "kind", "argument", "piece"),
    [
        (lambda: fg.LSTM(3, 4).quantized("int8"), TypeError, "config", "LSTM(3, 4).quantized('int8')"),
        (lambda: fg.LSTM, TypeError, "layer", "config()"),
        (lambda: {"weight": np.zeros(3)}, TypeError, "layer", "dict"),
        (lambda: odd(float("nan")), ValueError, "config", "JSON"),
        (lambda: odd(np.zeros(3)), ValueError, "config", "ndarray"),
        (lambda: odd(json.loads("[" * 99 + "]" * 99)), ValueError, "config", "deep"),
        (lambda: odd("x" * 2**22), ValueError, "layer", "4194304"),
    ],
    ids=["quantized", "class", "dictionary", "NaN", "array", "deep", "long"],
)
def test_what_cannot_be_saved_leaves_the_old_file(make, kind, argument, piece, path):
    path.write_bytes(b"old")
    with complaint(kind, argument, piece):
        fg.save(path, make())
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == [path.name]


def test_where_nothing_can_be_written(tmp_path):
    with pytest.raises(OSError, match="no folder"):
        fg.save(tmp_path / "none" / "layer", fg.Linear(1, 1))
    with pytest.raises(OSError, match="no ordinary file"):
        fg.save(tmp_path, fg.Linear(1, 1))
    assert os.listdir(tmp_path) == []


def test_what_is_no_file_of_save_is_told_apart(tmp_path):
    fg.Sequential(fg.Linear(1, 1)).fit(
        np.ones((2, 1)), np.ones((2, 1)), loss="mse", optimizer=fg.SGD(0.1), checkpoint=tmp_path / "run"
    )
    (checkpoint,) = (tmp_path / "run").glob("*.npz")
    with complaint(ValueError, "path", "is a checkpoint of fit", "resume=True", "fastgate.save"):
        fg.load(checkpoint.rename(tmp_path / "best.npz"))
    np.savez(tmp_path / "arrays.npz", a=np.ones(1))
    with complaint(ValueError, "path", "a ZIP archive"):
        fg.load(tmp_path / "arrays.npz")
    with pytest.raises(IsADirectoryError, match="run' is a folder"):
        fg.load(tmp_path / "run")


def test_a_missing_library_is_named(monkeypatch, path):
    fg.save(path, fg.Linear(1, 1))
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    for call in (lambda: fg.save(path, fg.Linear(1, 1)), lambda: fg.load(path)):
        with pytest.raises(ImportError, match=r"pip install safetensors .*'files'"):
            call()
