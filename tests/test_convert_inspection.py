"""`python -m fastgate convert --inspect`; and the samples on which files are compared."""

import json
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


# ------------------------------------------------------------------------------------------------------------- samples


def test_differences():
    y = np.array([[1.0, -4.0]])
    assert samples.difference(y, y) == 0
    assert samples.difference(y, np.array([[1.0, -3.0]])) == 0.25
    assert samples.difference(y, y[0]) == np.inf
    assert samples.difference(y, y * np.nan) == np.inf
    assert samples.difference(y * np.nan, y * np.nan) == 0
    assert samples.difference(0 * y, y) == np.inf
