"""What the README says is so: its programs run, its figures are those of the results."""

import importlib
import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def test_programs_run_as_they_stand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    programs = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    first, model, training, stream, texts, series, sklearn, inside, exchange, weights, equations = programs
    names = {}
    exec(first, names)
    assert names["y"].shape == (8, 20, 64)
    assert names["h"].shape == names["c"].shape == (2, 8, 64)
    np.testing.assert_array_equal(names["y1"], names["y"][:, 0])
    exec(model, names)
    np.testing.assert_array_equal(names["model"].predict(names["x"]), names["forecast"])
    exec(stream, names)
    np.testing.assert_array_equal(names["y"], names["layer"](names["stream"])[0][:, -100:])
    exec(training, names)
    assert names["loss"] < 0.8 * np.log(100)
    exec(texts, names)
    assert names["history"].epochs == 3
    assert (tmp_path / "checkpoints").is_dir()
    exec(series, names)
    assert names["model"].predict(names["past"]).shape == names["future"].shape
    exec(inside, names)
    assert np.isfinite(names["end"]).all()
    lstm, head = names["fg"].Sequential(names["lstm"], names["head"]).layers
    np.testing.assert_array_equal(names["simulate"](lstm.jit(), head.jit(), 1000), names["end"])
    exec(equations, names)
    assert names["lstm"].hidden_size == names["gru"].hidden_size == 5
    exec(weights, names)
    np.testing.assert_allclose(names["probabilities"].sum(axis=-1), 1, rtol=1e-6)
    if find_spec("torch") and find_spec("onnx") and find_spec("h5py"):
        exec(exchange, names)
        np.testing.assert_allclose(names["y_again"], names["layer"](names["x"])[0], atol=1e-6)
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: the README's estimator is not run")
    exec(first, names)
    exec(model, names)
    exec(sklearn, names)


def test_speeds_are_those_of_the_latest_release(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "asv_benchmarks"))
    script = importlib.import_module("readme_table")
    section = script.speed_section()
    if section is None:
        pytest.skip("no release has been measured yet")
    assert script.with_speed(README, section) == README
