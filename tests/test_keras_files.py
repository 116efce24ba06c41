"""Files of Keras without Keras: all that h5py reads is read, older files too; the same model gives the same file."""

import json

import numpy as np
import pytest
from complaints import complaint
from keras_tools import drawn
from kernel_tools import run_python

import fastgate as fg
from fastgate.exchange import hdf5

h5py = pytest.importorskip("h5py", reason="h5py is not installed: files of Keras are not tested")


def test_hdf5_is_read_as_h5py_reads_it(tmp_path):
    path = tmp_path / "file.h5"
    with h5py.File(path, "w") as file:
        for number in range(600):  # more than one node of a tree holds
            file[f"many/layer_{number}/vars/0"] = np.full((2, number % 3 + 1), number, "float32")
        for kind in ("float16", "float32", "float64", ">f4", ">f8", "int32", "bool"):
            file[f"kinds/{kind}"] = np.arange(6).reshape(2, 3).astype(kind)
        file["kinds/scalar"], file["kinds/empty"] = np.float64(3), np.zeros((0, 4), "float32")
        file.attrs["model_config"] = "{}" * 50_000
        file.attrs["names"], file.attrs["texts"] = [b"a", b"bcd"], ["ä", "b" * 300]
        file.attrs["numbers"] = np.arange(5)
        file["deep/er/and/deeper"] = np.ones(3)
    with h5py.File(path) as theirs, open(path, "rb") as file:
        found = hdf5.read(hdf5.Part(file, 0, path.stat().st_size))
        seen = []

        def compare(name, expected):
            own = found.find(name)
            seen.append(name)
            if isinstance(expected, h5py.Group):
                assert list(own.members) == list(expected)
                return
            assert own.shape == expected.shape
            if expected.dtype.kind != "f":
                assert own.dtype not in ("float16", "float32", "float64")
                return
            array = own.read()
            assert array.dtype == expected.dtype.newbyteorder("=")
            np.testing.assert_array_equal(array, expected[()])

        theirs.visititems(compare)
        assert len(seen) > 1800
    assert found.attributes["model_config"] == ["{}" * 50_000]
    assert found.attributes["names"] == ["a", "bcd"]
    assert found.attributes["texts"] == ["ä", "b" * 300]
    assert found.attributes["numbers"] == []


def model(ids=10):
    layers = fg.Embedding(ids, 4, seed=0), fg.LSTM(4, 5, 2, bias="single", bidirectional=True, dropout=0.1, seed=1)
    return fg.Sequential(*layers, fg.FinalState(), fg.Linear(10, 2, seed=2), fg.LayerNorm(2))


def test_without_keras_and_h5py(tmp_path):
    code = """
    import sys
    sys.modules["keras"] = None
    import fastgate as fg
    layer = fg.GRU(3, 4, seed=0)
    for ending in (".keras", ".weights.h5"):
        fg.to_keras(layer, sys.argv[1] + ending)
    sys.modules["h5py"] = None
    read = fg.from_keras(sys.argv[1] + ".keras")
    assert (read.params.flat == layer.params.flat).all()
    other = fg.GRU(3, 4, seed=1)
    assert (fg.from_keras(sys.argv[1] + ".weights.h5", into=other).params.flat == layer.params.flat).all()
    for path, package in ((None, "keras"), (sys.argv[1] + ".keras", "h5py")):
        try:
            fg.to_keras(layer, path)
        except ImportError as error:
            assert str(error).startswith(package + " is needed"), error
        else:
            raise AssertionError
    """
    run_python(code, tmp_path / "gru")


def test_the_same_model_gives_the_same_file(tmp_path):
    for ending in (".keras", ".weights.h5"):
        for name in ("a", "b"):
            fg.to_keras(model(), tmp_path / f"{name}{ending}")
        assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()
    read, own = fg.from_keras(tmp_path / "a.keras"), model()
    assert read.params.flat.tobytes() == own.params.flat.tobytes()
    assert [type(layer).__name__ for layer in read.layers][1:4] == ["LSTM", "Dropout", "LSTM"]
    own.params.flat = np.zeros(own.params.flat.size)
    fg.from_keras(tmp_path / "a.weights.h5", into=own)
    assert read.params.flat.tobytes() == own.params.flat.tobytes()


# ------------------------------------------------------------------------------------------------------------- Keras 2


def layer(kind, **config):
    return {"class_name": kind, "config": config}


def write_legacy(path, layers, weights, version="2.4.0", kind="Sequential"):
    """As Keras 2 wrote a whole model: weights by the names of layers."""
    with h5py.File(path, "w") as file:
        config = {"class_name": kind, "config": layers if isinstance(layers, dict) else {"name": "m", "layers": layers}}
        file.attrs["keras_version"], file.attrs["model_config"] = version, json.dumps(config).encode()
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = [name.encode() for name in weights]
        for name, arrays in weights.items():
            names = [f"{name}/{place}:0" for place in arrays]
            root.create_group(name).attrs["weight_names"] = [own.encode() for own in names]
            for own, array in zip(names, arrays.values(), strict=True):
                root[name][own] = array


OLD = [
    layer("Embedding", name="e", input_dim=7, output_dim=3, batch_input_shape=[None, None], input_length=None),
    layer(
        "Bidirectional",
        name="b",
        merge_mode="sum",
        layer=layer("LSTM", units=2, recurrent_activation="hard_sigmoid", time_major=False, implementation=1),
    ),
    layer("LeakyReLU", name="r", alpha=0.01),
    layer("Dense", name="d", units=2, activation="softmax"),
]


def old_weights():
    cell = {"kernel": (3, 8), "recurrent_kernel": (2, 8), "bias": (8,)}
    both = {f"{side}/{name}": drawn(shape) for side in ("forward", "backward") for name, shape in cell.items()}
    return {"e": {"embeddings": drawn((7, 3))}, "b": both, "r": {}, "d": {"kernel": drawn((2, 2)), "bias": drawn((2,))}}


def test_a_model_of_keras_2(tmp_path):
    path, weights = tmp_path / "old.h5", old_weights()
    write_legacy(path, OLD, weights)
    found = fg.from_keras(path)
    assert found.layers[1].activations == ("hard_sigmoid", "tanh", "tanh")
    np.testing.assert_array_equal(found.params["1.weight_ih_l0_reverse"].T, weights["b"]["backward/kernel"])
    assert [type(part).__name__ for part in found.layers[2:5]] == ["FinalState", "MergeDirections", "Activation"]
    write_legacy(path, [own for own in OLD if own["class_name"] != "LeakyReLU"], weights, "3.0.0")
    assert fg.from_keras(path).layers[1].activations[0] == ("hard_sigmoid", 1 / 6, 0.5)


def test_a_chain_of_keras_2(tmp_path):
    nodes = {"e": [], "b": [[["e", 0, 0, {}]]], "r": [[["b", 0, 0, {}]]], "d": [[["r", 0, 0, {}]]]}
    layers = [own | {"name": own["config"]["name"], "inbound_nodes": nodes[own["config"]["name"]]} for own in OLD]
    layers[0]["inbound_nodes"] = [[["x", 0, 0, {}]]]
    first = layer("InputLayer", name="x", batch_input_shape=[None, None], dtype="float32") | {"name": "x"}
    layers.append(first | {"inbound_nodes": []})
    config = {"name": "m", "layers": layers, "input_layers": [["x", 0, 0]], "output_layers": [["d", 0, 0]]}
    write_legacy(tmp_path / "chain.h5", config, old_weights(), kind="Model")
    write_legacy(tmp_path / "row.h5", OLD, old_weights())
    assert fg.from_keras(tmp_path / "chain.h5").config() == fg.from_keras(tmp_path / "row.h5").config()


def test_weights_of_keras_2(tmp_path):
    """Without a configuration: layer_names at the root."""
    path, weights = tmp_path / "weights.h5", {"lstm": {"k": drawn((3, 8)), "r": drawn((2, 8)), "b": drawn((8,))}}
    write_legacy(path, [], weights)
    with h5py.File(path, "a") as file:
        file.copy("model_weights/lstm", "lstm")
        file.attrs["layer_names"] = file["model_weights"].attrs["layer_names"]
        del file.attrs["model_config"], file["model_weights"]
    own = fg.from_keras(path, into=fg.LSTM(3, 2, dtype="float64"))
    np.testing.assert_array_equal(own.params["bias_ih_l0"], weights["lstm"]["b"])
    assert not own.params["bias_hh_l0"].any()


SLOPE = float(np.float32(0.01))  # as Keras 2 wrote it
ODDITIES = {
    "list": ([OLD[3]], {}),  # before 2.2.3 the config of a Sequential
    "policy": (
        [
            OLD[3]
            | {"config": OLD[3]["config"] | {"dtype": {"class_name": "Policy", "config": {"name": "mixed_float16"}}}}
        ],
        {},
    ),
    "leaky": ([OLD[3], layer("LeakyReLU", name="l", alpha=SLOPE)], {"l": {}}),
    "relu": ([OLD[3], layer("ReLU", name="l", max_value=None, negative_slope=SLOPE, threshold=0.0)], {"l": {}}),
    "slash": ([layer("Dense", name="block/d", units=2)], {}),
}


@pytest.mark.parametrize(("layers", "more"), ODDITIES.values(), ids=ODDITIES)
def test_oddities_of_keras_2(tmp_path, layers, more):
    path, kernel, name = tmp_path / "old.h5", drawn((2, 2)), layers[0]["config"]["name"]
    write_legacy(path, layers, {name: {"kernel": kernel, "bias": drawn((2,))}} | more)
    if not more and "/" not in name:
        with h5py.File(path, "a") as file:
            file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": layers})
    found = fg.from_keras(path)
    np.testing.assert_array_equal(found.params["0.weight"].T, kernel)
    assert not more or found.layers[-1].function == "leaky_relu"


def test_the_name_that_keras_2_13_has_for_layers(tmp_path):
    path, own = tmp_path / "own.weights.h5", model()
    fg.to_keras(own, path)
    with h5py.File(path, "a") as file:
        file.move("layers", "_layer_checkpoint_dependencies")
    before, own.params.flat = own.params.flat.copy(), np.zeros(own.params.flat.size)
    assert fg.from_keras(path, into=own).params.flat.tobytes() == before.tobytes()


def test_no_array_is_two_weights(tmp_path):
    path, weights = tmp_path / "old.h5", old_weights()
    write_legacy(path, OLD, weights)
    with h5py.File(path, "a") as file:
        names = file["model_weights/b"].attrs["weight_names"]
        file["model_weights/b"].attrs["weight_names"] = [names[0]] * 6
    with complaint(ValueError, "path", "two of its weights"):
        fg.from_keras(path)
    weights["d"]["more"] = drawn((2,))
    write_legacy(path, OLD, weights)
    with complaint(ValueError, "path", "the layers alone", "1 more"):
        fg.from_keras(path)


# ------------------------------------------------------------------------------------------------------------ refusals


def test_weights_alone_need_a_model(tmp_path):
    path = tmp_path / "own.weights.h5"
    fg.to_keras(model(), path)
    with complaint(ValueError, "path", str(path), "into="):
        fg.from_keras(path)
    for other, pieces in (
        (fg.Sequential(fg.Embedding(10, 4), fg.GRU(4, 5)), ["'bidirectional'", "'embedding', 'gru'"]),
        (model(11), ["Embedding", "(11, 4)", "(10, 4)"]),
    ):
        before = other.params.flat.copy()
        with complaint(ValueError, "path", *pieces):
            fg.from_keras(path, into=other)
        np.testing.assert_array_equal(other.params.flat, before)


def test_what_is_no_file_of_keras(tmp_path):
    for name, content, piece in (("text", b"hello", "neither"), ("none", None, "no file"), ("empty", b"", "neither")):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with complaint(FileNotFoundError if content is None else ValueError, "path", piece):
            fg.from_keras(tmp_path / name)
    with complaint(ValueError, "path", ".keras or .weights.h5"):
        fg.to_keras(model(), tmp_path / "model.h5")
    with complaint(TypeError, "source", "dict"):
        fg.from_keras({})
    assert not (tmp_path / "model.h5").exists()
