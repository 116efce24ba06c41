"""`python -m fastgate convert --inspect`; and the samples on which files are compared."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

import fastgate as fg
from fastgate.__main__ import main
from fastgate.convert import samples

pytest.importorskip("safetensors", reason="safetensors is not installed")


@pytest.fixture
def inspected(capsys, tmp_path, monkeypatch):
    """Runs the command on a file in a folder of its own, without running any layer; what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(samples, "run_of", None)

    def run(name):
        assert main(["convert", "--inspect", name]) == 0
        return capsys.readouterr().out

    return run


def model():
    return fg.Sequential(fg.Embedding(9, 4, seed=0), fg.GRU(4, 8, seed=1), fg.FinalState(), fg.Linear(8, 2, seed=2))


def test_inspect_lists_and_runs_nothing(inspected, torch):
    fg.save("a.safetensors", model())
    lines = inspected("a.safetensors").splitlines()
    assert lines[0] == "a.safetensors: fastgate"
    assert lines[2].split() == ["0", "Embedding(9,", "4)", "weight", "(9,", "4)", "36"]
    assert any(line.split() == ["2", "FinalState()"] for line in lines)
    assert lines[-1] == f"{model().params.flat.size:,} parameters, float32"
    torch.save({"any": {"conv.weight": torch.zeros(2, 3, 4, dtype=torch.float16)}}, "a.pt")
    lines = inspected("a.pt").splitlines()
    assert lines[2].split() == ["any.conv", "weight", "(2,", "3,", "4)", "24"]
    assert lines[3:] == ["24 parameters, float16"]


def test_inspect_of_what_is_not_computed(inspected):
    given = {"type": "conv1d", "activation": "tanh\x1b[2J", "weights": [[[[1.0, 2.0]]], [0.5, 0.5]]}
    Path("a.json").write_text(json.dumps({"in_shape": [1], "layers": [given, {"type": "unknown"}, 3]}))
    printed = inspected("a.json")
    assert "\x1b" not in printed
    assert "weights[0]  (1, 1, 2)" in printed
    assert "4 parameters" in printed
    Path("b.json").write_text(json.dumps({"lstm.weight_ih_l0": [[1.0], [2.0]], "lstm.bias": [1.0]}))
    assert "weight_ih_l0  (2, 1)" in inspected("b.json")
    onnx = pytest.importorskip("onnx")
    weights = onnx.numpy_helper.from_array(np.zeros((2, 1, 3), np.float32), "w")
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], name="first")
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, None, "T"]) for name in "xy"]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", ends[:1], ends[1:], [weights])), "a.onnx")
    printed = inspected("a.onnx")
    assert "float32 (1, ?, T)" in printed
    assert "first     Conv" in printed
    assert "w          (2, 1, 3)        6" in printed
    Path("empty.onnx").write_bytes(b"")
    assert main(["convert", "--inspect", "empty.onnx"]) == 1


def test_inspect_of_keras_with_layers_of_others(inspected):
    pytest.importorskip("h5py", reason="h5py is not installed")
    fg.to_keras(model(), "whole.keras")
    fg.to_keras(model(), "a.weights.h5")
    with zipfile.ZipFile("whole.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    config["config"]["layers"][-1] |= {"registered_name": "mine>Dense"}
    config["config"]["layers"].append(
        {"class_name": "Wrapper", "config": {"name": "w", "layer": {"class_name": "GRU"}}}
    )
    with zipfile.ZipFile("a.keras", "w") as archive:
        for name, content in (members | {"config.json": json.dumps(config).encode()}).items():
            archive.writestr(name, content)
    lines = inspected("a.keras").splitlines()
    dense = next(line for line in lines if "Dense" in line)
    assert dense.split()[1:] == ["Dense", "(not", "in", "fastgate)", "vars/0", "(8,", "2)", "16"]
    assert any(line.split() == ["w", "Wrapper", "(not", "in", "fastgate)", "of", "GRU"] for line in lines)
    assert not any("not in" in line for line in lines if "GRU" in line and "Wrapper" not in line)
    total = lines[-1]
    assert total.endswith("parameters, float32")
    lines = inspected("a.weights.h5").splitlines()
    assert any(line.split() == ["layers/embedding/vars", "0", "(9,", "4)", "36"] for line in lines)
    assert lines[-1] == total


def test_inspect_of_a_model_of_code_and_of_keras_2(inspected):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    with h5py.File("a.h5", "w") as file:
        names = {"name": "s", "layers": [{"class_name": "Conv2D", "config": {"name": "c1"}}]}
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": names})
        file["model_weights/c1/c1/kernel"] = np.zeros((3, 3, 1, 2), np.float32)
        file["model_weights"].attrs["layer_names"] = [b"c1"]
        file["model_weights/c1"].attrs["weight_names"] = [b"c1/kernel"]
    assert inspected("a.h5").splitlines()[2].split()[:5] == ["c1", "Conv2D", "(not", "in", "fastgate)"]
    with h5py.File("inside.h5", "w") as file:
        file["encoder/cell/vars/0"] = np.zeros((3, 20), np.float32)
        file["steps/vars/0"] = np.zeros((), np.int64)
    tree = {"module": None, "class_name": "Mine", "config": {"units": 5}, "registered_name": "Mine"}
    with zipfile.ZipFile("a.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(tree))
        archive.write("inside.h5", "model.weights.h5")
    printed = inspected("a.keras")
    assert "Mine (not in fastgate)" in printed
    assert "encoder/cell/vars" in printed
    assert printed.splitlines()[-1] == "61 parameters, float32, integers"


def test_inspect_of_a_checkpoint(inspected, torch):
    torch.save({"model": {"a.weight": torch.zeros(2, 3)}, "epoch": 3, "losses": [0.5]}, "a.pt")
    lines = inspected("a.pt").splitlines()
    assert lines[2].split() == ["model.a", "weight", "(2,", "3)", "6"]
    assert [line.split() for line in lines[3:5]] == [
        ["epoch", "no", "tensor:", "int"],
        ["losses", "no", "tensor:", "list"],
    ]
    assert lines[-1] == "6 parameters, float32"
    assert main(["convert", "--inspect", "a.pt", "--part", "none"]) == 1


# ------------------------------------------------------------------------------------------------------------- samples


def test_differences():
    y = np.array([[1.0, -4.0]])
    assert samples.difference(y, y) == 0
    assert samples.difference(y, np.array([[1.0, -3.0]])) == 0.25
    assert samples.difference(y, y[0]) == np.inf
    assert samples.difference(y, y * np.nan) == np.inf
    assert samples.difference(y * np.nan, y * np.nan) == 0
    assert samples.difference(0 * y, y) == np.inf
