"""RTNeural's JSON, read and written: its numbers, recorded from RTNeural itself; anything else is refused by name."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from complaints import complaint

import fastgate as fg

ORACLE = json.loads(Path(__file__).with_name("rtneural_oracle.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ORACLE)
@pytest.mark.parametrize(("dtype", "kept", "bound"), [("float64", "double", 1e-13), ("float32", "float", 5e-7)])
def test_numbers_are_those_of_rtneural(name, dtype, kept, bound):
    case = ORACLE[name]
    model = fg.from_rtneural(case["model"], dtype=dtype)
    assert model.dtype == dtype
    y = model(np.array([case["x"]], dtype))[0]
    np.testing.assert_allclose(y, case[kept], rtol=0, atol=bound)


@pytest.mark.parametrize("name", ORACLE)
def test_there_and_back(tmp_path, name):
    """What is read is written as it was, but for the two names of a dense layer."""
    given = json.loads(json.dumps(ORACLE[name]["model"]).replace("time-distributed-dense", "dense"))
    if name == "dense":  # an activation of its own becomes one of the dense layer before it
        given["layers"][-2:] = [given["layers"][-2] | {"activation": "softmax"}]
    for layer in given["layers"]:
        layer["activation"] = "" if layer["type"] in ("lstm", "gru") else layer["activation"]
    path = tmp_path / "model.json"
    fg.to_rtneural(fg.from_rtneural(given, dtype="float64"), path)
    assert json.loads(path.read_text()) == given == fg.to_rtneural(fg.from_rtneural(path, dtype="float64"))
    single = fg.from_rtneural(path)
    np.testing.assert_array_equal(fg.from_rtneural(fg.to_rtneural(single)).params.flat, single.params.flat)


MODELS = {
    "two_biases": lambda: fg.Sequential(fg.LSTM(2, 5, seed=0), fg.Linear(5, 1, bias=False, seed=1)),
    "no_bias": lambda: fg.Sequential(fg.GRU(2, 5, bias=False, seed=0), fg.LSTM(5, 5, bias=False, seed=1)),
    "single": lambda: fg.Sequential(fg.GRU(2, 5, bias="single", seed=0), fg.Dropout(0.5), fg.Activation("relu")),
    "stack": lambda: fg.Sequential(fg.LSTM(2, 5, num_layers=3, dropout=0.1, seed=0), fg.Activation("leaky_relu")),
    "nested": lambda: fg.Sequential(fg.Sequential(fg.Activation("tanh"), fg.LSTM(2, 5, seed=0)), fg.Linear(5, 2)),
}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_models_compute_the_same(make):
    model, x = make(), np.random.default_rng(0).standard_normal((3, 6, 2))
    again = fg.from_rtneural(fg.to_rtneural(model))
    np.testing.assert_array_equal(again(x), model(x))


def test_a_layer_of_its_own_and_time_first():
    layer, x = fg.GRU(2, 5, batch_first=False, seed=0), np.random.default_rng(0).standard_normal((6, 3, 2))
    again = fg.from_rtneural(fg.to_rtneural(layer))
    np.testing.assert_array_equal(again(x.swapaxes(0, 1)), layer(x)[0].swapaxes(0, 1))


def test_arrays_and_tuples_as_keras_gives_them():
    given = ORACLE["gru"]["model"]
    layers = [own | {"weights": [np.float32(w) for w in own["weights"]]} for own in given["layers"]]
    model = fg.from_rtneural({"in_shape": (None, None, 2), "layers": layers})
    np.testing.assert_array_equal(model.params.flat, fg.from_rtneural(given).params.flat)


# ---------------------------------------------------------------------------------------------------------- refusals


REFUSED = {
    "embedding": (fg.Sequential(fg.Embedding(5, 2), fg.LSTM(2, 3)), ValueError, "layer 0 (Embedding)", "LSTM, GRU"),
    "rnn": (fg.RNN(2, 3), ValueError, "layer", "got RNN"),
    "final": (fg.Sequential(fg.LSTM(2, 3), fg.FinalState()), ValueError, "layer 1 (FinalState)", "FinalState"),
    "both": (fg.LSTM(2, 3, bidirectional=True), ValueError, "layer", "bidirectional=False"),
    "projected": (fg.LSTM(2, 3, proj_size=1), ValueError, "layer", "proj_size=0"),
    "before": (fg.GRU(2, 3, reset_after=False), ValueError, "layer", "reset_after=True"),
    "gelu": (fg.Sequential(fg.Linear(2, 3), fg.Activation("gelu")), ValueError, "layer 1 (Activation)", "softmax"),
    "sizeless": (fg.Activation("tanh"), ValueError, "layer", "how many features"),
    "quantized": (fg.LSTM(2, 3).quantized("int8"), ValueError, "layer", "Quantized"),
    "nothing": (None, TypeError, "layer", "NoneType"),
}


@pytest.mark.parametrize(("layer", "kind", "place", "piece"), REFUSED.values(), ids=REFUSED)
def test_refused_layers(tmp_path, layer, kind, place, piece):
    with complaint(kind, place, piece):
        fg.to_rtneural(layer, tmp_path / "model.json")
    assert not list(tmp_path.iterdir())


def test_weights_that_json_does_not_have():
    layer = fg.Linear(1, 1)
    layer.params["weight"] = [[np.nan]]
    with complaint(ValueError, "layer: params['weight']", "finite"):
        fg.to_rtneural(layer)
    layer = fg.LSTM(1, 1)
    layer.params.update({"bias_ih_l0": np.full(4, 3e38), "bias_hh_l0": np.full(4, 3e38)})
    with np.errstate(over="ignore"), complaint(ValueError, "layer: biases", "sum"):
        fg.to_rtneural(layer)


def changed(name, change):
    found = copy.deepcopy(ORACLE[name]["model"])
    change(found, found["layers"][0])
    return found


BAD = {
    "conv1d": ("lstm", lambda m, own: own.update(type="conv1d"), ValueError, "conv1d"),
    "unknown": ("lstm", lambda m, own: own.update(type="unknown"), ValueError, "unknown"),
    "relu": ("lstm", lambda m, own: own.update(activation="relu"), ValueError, "no other"),
    "swish": ("dense", lambda m, own: own.update(activation="swish"), ValueError, "'swish'"),
    "list": ("dense", lambda m, own: own.update(activation=[]), ValueError, "got []"),
    "no_weights": ("lstm", lambda m, own: own.pop("weights"), ValueError, "'weights'"),
    "few_weights": ("gru", lambda m, own: own["weights"].pop(), ValueError, "3 arrays (kernel"),
    "one_bias": ("gru", lambda m, own: own["weights"].append(own["weights"].pop()[0]), TypeError, "list of lists"),
    "ragged": ("lstm", lambda m, own: own["weights"][0][1].pop(), ValueError, "20 and 19"),
    "size": ("lstm", lambda m, own: own["weights"][1].pop(), ValueError, "(5, 20), got (4, 20)"),
    "text": ("lstm", lambda m, own: own["weights"][2].__setitem__(3, "1"), TypeError, "str in it"),
    "flag": ("lstm", lambda m, own: own["weights"][2].__setitem__(3, True), TypeError, "bool in it"),
    "huge": ("lstm", lambda m, own: own["weights"][2].__setitem__(3, 10**400), ValueError, "finite"),
    "large": ("lstm", lambda m, own: own["weights"][2].__setitem__(3, 1e39), ValueError, "float32"),
    "complex": ("lstm", lambda m, own: own["weights"].__setitem__(2, np.zeros(20, complex)), TypeError, "complex"),
    "wide": ("lstm", lambda m, own: own.update(shape=[None, None, 10**12]), ValueError, "4000000000000"),
    "shape": ("lstm", lambda m, own: own.update(shape=[1, 2, 3, 4]), ValueError, "1 to 3 axes"),
    "negative": ("lstm", lambda m, own: m.update(in_shape=[-1]), ValueError, "at least 1"),
    "unsaid": ("lstm", lambda m, own: m.update(in_shape=[None]), TypeError, "in_shape"),
    "layers": ("lstm", lambda m, own: m.update(layers={}), TypeError, "layers"),
    "none": ("lstm", lambda m, own: m.update(layers=[]), ValueError, "at least one"),
    "no_layer": ("lstm", lambda m, own: m.update(layers=[3]), TypeError, "got int"),
    "slope": ("leaky", lambda m, own: m["layers"][1].update(weights=[[[0.01, 0.2, 0.01]]]), ValueError, "0.2"),
    "slopes": ("leaky", lambda m, own: m["layers"][1].update(weights=[[[0.01, 0.01]]]), ValueError, "(1, 3)"),
    "features": ("leaky", lambda m, own: m["layers"][1].update(shape=[4]), ValueError, "3 features"),
}


@pytest.mark.parametrize(("name", "change", "kind", "piece"), BAD.values(), ids=BAD)
def test_bad_descriptions(name, change, kind, piece):
    with pytest.raises(kind, match=r"^source: ") as caught:
        fg.from_rtneural(changed(name, change))
    assert piece in str(caught.value)


FILES = {
    "empty": (b"", "damaged"),
    "cut": (b'{"in_shape": [1', "damaged"),
    "deep": (b'{"layers": ' + b"[" * 50_000, "nested more than 100 deep"),
    "wide": (b"[" + b"[]," * 200_000, "lists"),
    "numbers": (b"[" + b"0," * (2**22 + 1) + b"]", "numbers"),
    "nan": (b'{"in_shape": [NaN]}', "NaN"),
    "twice": (b'{"in_shape": [1], "in_shape": [2]}', "'in_shape' twice"),
    "digits": (b'{"in_shape": [' + b"1" * 5000 + b"]}", "damaged"),
    "binary": (b"\x89HDF\r\n\x1a\n", "UTF-8"),
}


@pytest.mark.parametrize(("content", "piece"), FILES.values(), ids=FILES)
@pytest.mark.usefixtures("little_memory")
def test_bad_files(tmp_path, content, piece):
    path = tmp_path / "model.json"
    path.write_bytes(content)
    with complaint(ValueError, "path", str(path), piece):
        fg.from_rtneural(path)


def test_errors_are_short():
    layer = {"type": "dense", "activation": "x" * 10**5, "shape": [None, 1], "weights": [[[1.0]], [1.0]]}
    with pytest.raises(ValueError, match="activation: expected one of tanh") as caught:
        fg.from_rtneural({"in_shape": [1], "layers": [layer]})
    assert len(str(caught.value)) < 200


def test_no_file_and_no_source(tmp_path):
    with complaint(FileNotFoundError, "path", "no file"):
        fg.from_rtneural(tmp_path / "none.json")
    with complaint(TypeError, "source", "NoneType"):
        fg.from_rtneural(None)


# ----------------------------------------------------------------------------------------------------- guitar models


def guitar(torch, unit="LSTM", bias=True, **data):
    rec = getattr(torch.nn, unit)(1, 4, 2)
    lin = torch.nn.Linear(4, 1, bias=bias)
    names = {"rec": rec.state_dict(), "lin": lin.state_dict()}
    state = {f"{part}.{own}": tensor.tolist() for part, own_state in names.items() for own, tensor in own_state.items()}
    said = {"model": "SimpleRNN", "input_size": 1, "skip": 0, "output_size": 1, "unit_type": unit, "num_layers": 2}
    return rec, lin, {"model_data": said | {"hidden_size": 4, "bias_fl": bias} | data, "state_dict": state}


@pytest.mark.parametrize("unit", ["LSTM", "GRU", "RNN"])
def test_guitar_models(torch, tmp_path, unit):
    rec, lin, content = guitar(torch, unit, bias=unit == "LSTM")
    path = tmp_path / "amp.json"
    path.write_text(json.dumps(content))
    x = torch.randn(2, 6, 1)
    expected = lin(rec(x.swapaxes(0, 1))[0]).swapaxes(0, 1).detach().numpy()
    np.testing.assert_allclose(fg.from_rtneural(path)(x.numpy()), expected, rtol=0, atol=5e-7)


def test_other_guitar_models(torch):
    for data, piece in (
        ({"skip": 1}, "add the input yourself"),
        ({"model": "RecNet"}, "'SimpleRNN'"),
        ({"unit_type": "Transformer"}, "LSTM, GRU, RNN"),
        ({"unit_type": "GRU"}, "what its state_dict is: LSTM"),
        ({"hidden_size": 5}, "what its state_dict is: LSTM"),
    ):
        with (
            complaint(ValueError, "source: model_data", piece)
            if "what" in piece
            else pytest.raises(ValueError, match=piece)
        ):
            fg.from_rtneural(guitar(torch, **data)[2])
    content = guitar(torch)[2]
    content["state_dict"]["conv.weight"] = [[1.0]]
    with complaint(ValueError, "source: state_dict", "'conv.weight'"):
        fg.from_rtneural(content)
