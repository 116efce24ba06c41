"""Benchmarks are code: every case runs once, and does the work that its name says."""

import importlib
import json
import os
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import fastgate

FOLDER = Path(__file__).parents[1] / "asv_benchmarks"
TINY = {"B,T,I,H": "2,3,4,5", "B,I,H": "2,4,5"}
CLASSES = ["Forward", "TrainingStep", "StreamingStep"]
CASES = [(name, *case) for name in CLASSES for case in product(["LSTM", "GRU"], ["fastgate", "torch"])]


@pytest.fixture
def benchmarks(monkeypatch):
    """The modules as asv imports them; the libraries keep their numbers of threads."""
    monkeypatch.delenv("ASV_ENV_DIR", raising=False)
    monkeypatch.syspath_prepend(str(FOLDER))
    modules = {name: importlib.import_module(f"benchmarks.{name}") for name in ("recurrent", "peers")}
    libraries = [module for module in (fastgate, sys.modules.get("torch")) if module]
    threads = [module.get_num_threads() for module in libraries]
    yield modules
    for module, count in zip(libraries, threads, strict=True):
        module.set_num_threads(count)
    for name in [name for name in sys.modules if name.partition(".")[0] == "benchmarks"]:
        del sys.modules[name]


def time_of(benchmark):
    (name,) = [name for name in dir(benchmark) if name.startswith("time_")]
    return getattr(benchmark, name)


@pytest.mark.parametrize(("name", "cell", "library"), CASES, ids=map("-".join, CASES))
def test_every_benchmark_runs(benchmarks, name, cell, library):
    if library == "torch":
        pytest.importorskip("torch")
    benchmark = getattr(benchmarks["recurrent"], name)()
    assert [cell in benchmark.params[0], library in benchmark.params[1]] == [True, True]
    case = cell, library, TINY[benchmark.param_names[2]]
    benchmark.setup(*case)
    first = benchmark.run
    time_of(benchmark)(*case)
    benchmark.setup(*case)
    assert benchmark.run is first, "asv calls setup before every sample: it must not prepare anew"


def test_every_case_is_listed(benchmarks):
    found = [value for value in vars(benchmarks["recurrent"]).values() if hasattr(value, "setup")]
    assert {value.__name__ for value in found} == {*CLASSES, "_Work"}
    for value in found:
        cells, libraries, shapes = value.params
        assert (cells, libraries) == (["LSTM", "GRU"], ["fastgate", "torch"])
        assert all(len(shape.split(",")) == len(value.param_names[2].split(",")) for shape in shapes)


@pytest.mark.parametrize("library", ["fastgate", "torch"])
def test_work_is_what_it_says(benchmarks, library):
    if library == "torch":
        pytest.importorskip("torch")
    prepare = benchmarks["peers"].prepare
    y, _ = prepare("inference", library, "GRU", "2,3,4,5")()
    assert tuple(y.shape) == (2, 3, 5)

    dx, *d_params = prepare("training_step", library, "GRU", "2,3,4,5")()
    assert [tuple(d.shape) for d in (dx, *d_params)] == [(2, 3, 4), (15, 4), (15, 5), (15,), (15,)]
    assert all(float(abs(d).sum()) > 0 for d in (dx, *d_params))

    step = prepare("step", library, "GRU", "2,4,5")
    ys = [np.array(step()[0].tolist()) for _ in range(2)]
    assert not np.array_equal(*ys), "a step must go on from the state of the one before"


def test_a_missing_peer_is_skipped(benchmarks, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(NotImplementedError, match="torch is not installed"):
        benchmarks["recurrent"].Forward().setup("LSTM", "torch", "1,2,3,4")


def test_every_commit_has_its_own_compiled_kernels(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setenv("NUMBA_CACHE_DIR", "as it was")
    monkeypatch.setenv("ASV_ENV_DIR", str(tmp_path))
    monkeypatch.setenv("ASV_COMMIT", "abc")
    sys.modules.pop("benchmarks", None)
    importlib.import_module("benchmarks")
    found = os.environ["NUMBA_CACHE_DIR"]
    del sys.modules["benchmarks"]
    assert Path(found) == tmp_path / "numba" / "abc"


def test_threads_and_versions_are_pinned():
    matrix = json.loads((FOLDER / "asv.conf.json").read_text())["matrix"]
    threads = {"FASTGATE_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"}
    assert matrix["env_nobuild"] == {name: ["1"] for name in threads}
    assert all(version[0][0].isdigit() for version in matrix["req"].values())


def test_releases_are_a_table():
    header, *rows = (FOLDER / "releases.txt").read_text().splitlines()
    assert header == "version commit"
    assert all(len(row.split()) == 2 for row in rows)
