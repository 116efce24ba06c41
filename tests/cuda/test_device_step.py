"""The step as a device function, what the benchmark prints, and machines without a device."""

import argparse
import json

import numpy as np
import pytest
from kernel_tools import run_python
from numba import cuda as numba_cuda

import fastgate as fg
from fastgate.bench import device_report, on_device
from fastgate.cuda import array, device_step
from fastgate.kernels import cuda

CELLS = {
    "lstm": lambda: fg.LSTM(2, 3, num_layers=2, seed=0, dtype="float64"),
    "gru": lambda: fg.GRU(2, 3, num_layers=2, seed=0, dtype="float64"),
    "gru reset before": lambda: fg.GRU(2, 3, num_layers=2, seed=0, dtype="float64", reset_after=False),
    "lstm coupled": lambda: fg.LSTM(2, 3, num_layers=2, seed=0, dtype="float64", coupled=True, peepholes=True),
    "gru reset carry": lambda: fg.GRU(2, 3, num_layers=2, seed=0, dtype="float64", reset_after=False, reset_carry=True),
    "rnn": lambda: fg.RNN(2, 3, seed=0, dtype="float32", bias=False),
}


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("name", CELLS)
def test_a_thread_advances_a_sequence(name):
    layer, rng, B = CELLS[name](), np.random.default_rng(0), 2
    step, weights = device_step(layer)

    @numba_cuda.jit
    def simulate(weights, x, h, c, h_next, c_next):
        n = numba_cuda.grid(1)
        if n < x.shape[0]:
            step(weights, x[n], h[n], c[n], h_next[n], c_next[n])

    shape = (layer.num_layers, B, 3)
    x, h, c = (rng.standard_normal(size).astype(layer.dtype) for size in ((B, 2), shape, shape))
    has_memory = isinstance(layer, fg.LSTM)
    y, end = layer.step(x, (h, c) if has_memory else h)
    h_next, c_next = np.full((B, *shape[::2]), np.nan, layer.dtype), np.full((B, *shape[::2]), np.nan, layer.dtype)
    by_sequence = [np.ascontiguousarray(part.swapaxes(0, 1)) for part in (h, c)]
    simulate[1, B](weights, x, *by_sequence, h_next, c_next)
    tolerance = 1e-6 if layer.dtype == np.float32 else 1e-14
    np.testing.assert_allclose(h_next[:, -1], y, rtol=0, atol=tolerance)
    for own, expected in zip((h_next, c_next), end if has_memory else (end,), strict=False):
        np.testing.assert_allclose(own.swapaxes(0, 1), expected, rtol=0, atol=tolerance)


@pytest.mark.usefixtures("device")
def test_no_step_of_what_is_none():
    with pytest.raises(ValueError, match="bidirectional"):
        device_step(fg.LSTM(2, 3, bidirectional=True))
    with pytest.raises(ValueError, match="proj_size=2"):
        device_step(fg.LSTM(2, 3, proj_size=2))
    with pytest.raises(TypeError, match="LSTM, GRU or RNN"):
        device_step(fg.Linear(2, 3))


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("work", ["inference", "training_step"])
def test_bench(work, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(on_device, "MOST", 1)
    folder = tmp_path / "results"
    options = argparse.Namespace(shapes=["2,2,2,3"], seconds=0.0, json=tmp_path / "figures.json", folder=folder)
    assert on_device.run(options, [work], ["GRU"]) == 0
    said = capsys.readouterr().out
    assert all(f"{column}" in said for column in device_report.COLUMNS)
    figures = json.loads(options.json.read_text())
    (row,) = figures["rows"]
    assert set(row["times"]) | set(row["missing"]) == {str(column) for column in device_report.COLUMNS}
    assert [name for name in row["missing"] if "fastgate" in name] == []
    assert {"device", "driver", "CUDA of the driver", "numba"} <= set(figures["setting"])
    said = figures["setting"]["torch"]
    assert said == "not installed" or "cuDNN" in said
    assert (folder / "cuda.json").read_text() == options.json.read_text()
    assert "| fastgate bfloat16 |" in (folder / "cuda.md").read_text()


def test_goals_are_read_off_the_rows(tmp_path):
    times = {"fastgate highest": 2.0, "fastgate high": 1.0, "fastgate float16": 0.5}
    theirs = {"torch float32": 4.0, "torch tf32": 1.0, "torch float16": 0.25}
    floors = {f"fastgate {how}": 0.8 for how in device_report.OURS}
    about = {"cell": "LSTM", "work": "inference", "missing": {"torch bfloat16": "why"}}
    row = {**about, "shape": {"B": 2, "T": 3, "I": 4, "H": 512}, "times": times | theirs, "floors": floors}
    assert device_report.goals([row]).splitlines() == [
        "192 < H <= 1024, B <= 128: highest or high against torch float32: 4.00 to 4.00, mean 4.00; >= 2 in 1 of 1",
        "192 < H <= 1024, B <= 128: highest, high or medium against torch tf32: 1.00 to 1.00, mean 1.00;"
        " >= 1.5 in 0 of 1",
        "LSTM: bfloat16 or float16 against torch float16: 0.50 to 0.50, mean 0.50; >= 1 in 0 of 1",
        "all: highest against floor: 0.40 to 0.40, mean 0.40; >= 0.5 in 0 of 1",
        "all: high against floor: 0.80 to 0.80, mean 0.80; >= 0.5 in 1 of 1",
        "all: float16 against floor: 1.60 to 1.60, mean 1.60; >= 0.5 in 1 of 1",
    ]
    assert device_report.line(row).split()[:8] == ["2", "3", "4", "512", "2.00", "(0.80)", "1.00", "(0.80)"]
    device_report.write(None, tmp_path, {"device": "a GPU"}, [row])
    said = (tmp_path / "cuda.md").read_text()
    assert "| 2 | 3 | 4 | 512 | 2.00 (0.80) | 1.00 (0.80) | - | - | 0.50 (0.80) | 4.00 | 1.00 | 0.25 | - |" in said
    assert "* torch bfloat16: why" in said


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(cuda, "missing", lambda: "no numba-cuda")
    with pytest.raises(RuntimeError, match=r"pip install fastgate\[cuda\]; found: no numba-cuda"):
        fg.LSTM(2, 3, device="cuda")
    with pytest.raises(RuntimeError, match="found: no numba-cuda"):
        fg.GRU(2, 3).to("cuda")


def test_without_a_device_it_says_so():
    """In a process that has neither the simulator nor, here, a GPU."""
    program = "import fastgate as fg\ntry: fg.LSTM(2, 3, device='cuda')\nexcept RuntimeError as error: print(error)"
    done = run_python(program, NUMBA_ENABLE_CUDASIM="0")
    if done.stdout:  # else there is one
        assert "device='cuda' needs an NVIDIA GPU with its driver" in done.stdout
        assert "found: no " in done.stdout


@pytest.mark.usefixtures("device")
def test_a_copy_is_a_copy():
    host = np.arange(3.0)
    own = array(host)
    host[:] = 0
    np.testing.assert_array_equal(own, [0, 1, 2])
