"""What the README says is so: its programs run, its figures are those of the results."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def load_script(name):
    path = ROOT / "asv_benchmarks" / f"{name}.py"
    specification = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_programs_run_as_they_stand():
    first, training = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {}
    exec(first, names)
    assert names["y"].shape == (8, 20, 64)
    assert names["h"].shape == names["c"].shape == (2, 8, 64)
    np.testing.assert_array_equal(names["y1"], names["y"][:, 0])
    exec(training, names)
    assert names["loss"] < 0.8 * np.log(100)


def test_speeds_are_those_of_the_latest_release():
    script = load_script("readme_table")
    section = script.speed_section()
    if section is None:
        pytest.skip("no release has been measured yet")
    assert script.with_speed(README, section) == README


def test_a_table_is_made_of_results():
    script = load_script("readme_table")
    parameters = [["'LSTM'", "'GRU'"], ["'fastgate'", "'torch'"], ["'1,2,3,4'"]]
    results = {
        "requirements": {"torch": "1", "numba": "2", "numpy": "3"},
        "env_vars": {"FASTGATE_NUM_THREADS": "1"},
        "result_columns": ["result", "params"],
        "results": {name: [[1e-6, 3e-6, 2e-6, 5e-6], parameters] for name in script.WORK},
    }
    table = script.table("9.9", {"cpu": "some CPU"}, results)
    assert "| 1 2 3 4 | 1.0 µs | 3.0 µs | 3.00 | 2.0 µs | 5.0 µs | 2.50 |" in table
    assert "9.9" in table
    assert "some CPU" in table
