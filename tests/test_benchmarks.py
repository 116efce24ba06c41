"""Benchmarks are code: every case runs once, and is skipped only where something is truly missing."""

import importlib
import importlib.util
import inspect
import json
import os
import subprocess
import sys
from itertools import product
from math import prod
from pathlib import Path

import numpy as np
import pytest

import fastgate
import fastgate.cuda

FOLDER = Path(__file__).parents[1] / "asv_benchmarks"
MODULES = ["on_device", "parts", "recurrent", "reduced", "start", "throughput", "variants"]
WITH_SIZES = {"B,T,I,H": "2,3,4,5", "B,I,H": "2,4,5", "I,H": "4,5"}
PEERS = {"torch": ("torch",), "onnxruntime": ("onnx", "onnxruntime"), "jax": ("jax",)}
QUANTIZED = hasattr(fastgate.LSTM, "quantized")
RECOMPUTES = "recompute" in inspect.signature(fastgate.LSTM.forward).parameters


def import_benchmarks(monkeypatch):
    """The modules as asv imports them."""
    monkeypatch.delenv("ASV_ENV_DIR", raising=False)
    monkeypatch.syspath_prepend(str(FOLDER))
    return {name: importlib.import_module(f"benchmarks.{name}") for name in [*MODULES, "peak", "peers"]}


def forget_benchmarks():
    for name in [name for name in sys.modules if name.partition(".")[0] == "benchmarks"]:
        del sys.modules[name]


@pytest.fixture
def benchmarks(monkeypatch):
    """The modules; the libraries keep their numbers of threads."""
    modules = import_benchmarks(monkeypatch)
    libraries = [module for module in (fastgate, sys.modules.get("torch")) if module]
    threads = [module.get_num_threads() for module in libraries]
    yield modules
    for module, count in zip(libraries, threads, strict=True):
        module.set_num_threads(count)
    forget_benchmarks()


def classes(module):
    """As asv finds them: what is public and has a benchmark."""
    found = {name: value for name, value in vars(module).items() if inspect.isclass(value) and name[0] != "_"}
    return {name: value for name, value in found.items() if methods(value)}


def methods(benchmark):
    return [name for name in dir(benchmark) if name.partition("_")[0] in ("time", "timeraw", "track")]


def list_cases():
    """Every combination of parameters but the sizes, which are tiny; first calls are too slow for more than one."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        modules = import_benchmarks(monkeypatch)
        found = []
        for module in MODULES:
            for name, benchmark in classes(modules[module]).items():
                values = [
                    [WITH_SIZES[param]] if param in WITH_SIZES else each
                    for param, each in zip(benchmark.param_names, benchmark.params, strict=True)
                ]
                for case in product(*values) if name != "FirstCall" else [("LSTM", "step", "cold")]:
                    found.append((module, name, case))
        forget_benchmarks()
    return found


CASES = list_cases()


def missing(name, case):
    """Why a case cannot run here: an uninstalled peer, what a peer cannot do, or what this release has not."""
    for library, needs in PEERS.items():
        needs = (library,) if name == "Import" else needs
        if library in case and any(importlib.util.find_spec(each) is None for each in needs):
            return f"{library} is not installed"
    if "onnxruntime" in case and ("training_step" in case or "float64" in case[0]):
        return "onnxruntime does inference, in float32"
    if "torch" in case and "reset_before" in case[0]:
        return "torch has no such GRU"
    if name == "QuantizedWeights" and case[1] != "float32" and not QUANTIZED:
        return "no quantized weights in this release"
    if name == "LongSequence" and case[1] != "None" and not RECOMPUTES:
        return "no recomputation in this release"
    if name.startswith("Device"):
        return fastgate.cuda.missing()
    return None


@pytest.mark.parametrize(("module", "name", "case"), CASES, ids=["-".join([c[1], *c[2]]) for c in CASES])
def test_every_benchmark_runs(benchmarks, module, name, case):
    benchmark = classes(benchmarks[module])[name]()
    reason = missing(name, case)
    if reason is not None:
        with pytest.raises(NotImplementedError):
            benchmark.setup(*case)
        pytest.skip(reason)
    benchmark.setup(*case)
    prepared = dict(vars(benchmark))
    for method in methods(benchmark):
        result = getattr(benchmark, method)(*case)
        if method.startswith("track_"):
            assert result > 0
            assert getattr(benchmark, method).unit
        if method.startswith("timeraw_"):
            run_alone(result)
    benchmark.setup(*case)
    assert vars(benchmark) == prepared, "asv calls setup before every sample: it must not prepare anew"


def run_alone(program):
    """As asv does: `stmt`, or (`stmt`, `setup`), in a process of its own."""
    body, before = program if isinstance(program, tuple) else (program, "")
    lines = [*before.splitlines(), *inspect.cleandoc(body).splitlines()]
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, cwd=FOLDER.parent)


def test_every_module_is_listed():
    found = {path.stem for path in (FOLDER / "benchmarks").glob("*.py")}
    assert found == {*MODULES, "peak", "__init__"}


def test_every_class_has_a_version_and_sizes_of_its_own_kind(benchmarks):
    for module in MODULES:
        for benchmark in classes(benchmarks[module]).values():
            assert benchmark.version.isdigit(), "results outlive a change of wording"
            for name, values in zip(benchmark.param_names, benchmark.params, strict=True):
                if name in WITH_SIZES:
                    assert all(value.count(",") == name.count(",") for value in values)


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


def test_ragged_batches_do_the_same_work_everywhere(benchmarks):
    pytest.importorskip("torch")
    shape, ragged = "3,4,2,5", benchmarks["variants"].Ragged()
    shapes = []
    for library in ("fastgate", "torch"):
        ragged.setup("GRU", "training_step", shape, library)
        gradients = ragged.run()
        dx = np.asarray(gradients.x if library == "fastgate" else gradients[0])
        shapes.append([np.flatnonzero(row.any(-1)).tolist() for row in dx])
    lengths = [1, 2, 4]
    assert shapes[0] == shapes[1] == [list(range(length)) for length in lengths]


def test_flops_are_counted_by_hand(benchmarks):
    count = benchmarks["throughput"].flops
    # 4 gates of 1 unit: one product with x and one with h each, an addition with each product
    assert count("inference", "LSTM", "1,1,1,1") == 4 * 2 * 2
    assert count("inference", "GRU", "2,3,4,5") == 2 * 3 * (3 * 5) * (4 + 5) * 2
    assert count("training_step", "GRU", "2,3,4,5") == 3 * count("inference", "GRU", "2,3,4,5")


def test_tracked_values_and_units(benchmarks, monkeypatch):
    throughput = benchmarks["throughput"]
    monkeypatch.setattr(throughput, "measure", lambda run: (1e-3, 1e11))  # seconds of a call, FLOP/s of the core
    case = ("LSTM", "inference", "32,35,128,256")
    benchmark = throughput.Throughput()
    benchmark.run = None
    flops = 32 * 35 * 4 * 256 * (128 + 256) * 2
    assert benchmark.track_flops(*case) == pytest.approx(flops / 1e6, rel=1e-3)
    assert benchmark.track_flops.unit == "GF/s"
    assert benchmark.track_fraction_of_peak(*case) == pytest.approx(100 * flops / 1e8, rel=1e-3)
    assert benchmark.track_fraction_of_peak.unit.startswith("%")
    assert benchmark.track_tokens(*case) == 32 * 35 * 1000
    assert benchmark.track_tokens.unit == "tokens/s"


def test_tape_bytes_are_at_least_states_and_gates(benchmarks):
    tape = benchmarks["throughput"].TapeBytes()
    for library in ("fastgate", "torch"):
        if importlib.util.find_spec(library):
            tape.setup("LSTM", "8,16,32,64", library)
            assert tape.track_tape_bytes("LSTM", "8,16,32,64", library) >= 8 * 16 * (32 + (2 + 4) * 64) * 4
    assert tape.track_tape_bytes.unit == "bytes"


def test_the_peak_is_a_roof_over_numpy(benchmarks):
    peak = benchmarks["peak"]
    assert peak.vector_bytes() in (16, 32, 64)
    assert 1e8 < peak.flops_per_second(np.float64) < 1e13
    assert 1e8 < peak.flops_per_second(np.float32) < 1e13


def test_a_cold_start_leaves_nothing_behind(benchmarks, monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    _, before = benchmarks["start"].FirstCall().timeraw_first_call("LSTM", "step", "cold")
    program = f"{before}; open(os.path.join(os.environ['NUMBA_CACHE_DIR'], 'kernel'), 'w').close()"
    subprocess.run([sys.executable, "-c", program], check=True)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_peer_is_skipped(benchmarks, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(NotImplementedError, match="torch is not installed"):
        benchmarks["recurrent"].Forward().setup("LSTM", "1,2,3,4", "torch")


def test_a_release_without_a_feature_is_skipped(benchmarks, monkeypatch):
    class Old:
        def __init__(self, *sizes, seed):
            pass

        def forward(self, x):
            pass

    monkeypatch.setattr(fastgate, "LSTM", Old)
    monkeypatch.delattr("fastgate.kernels.equations.lstm_cell")
    for module, name, case in [
        ("reduced", "QuantizedWeights", ("LSTM", "int8", "2,3,4,5")),
        ("reduced", "LongSequence", ("LSTM", "auto", "2,3,4,5")),
        ("parts", "Pointwise", ("lstm_cell",)),
    ]:
        with pytest.raises(NotImplementedError, match="this release"):
            classes(benchmarks[module])[name]().setup(*case)


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
    assert {"numba", "numpy", "torch", "onnx", "onnxruntime", "jax"} == set(matrix["req"])
    assert all(len(version) == 1 and version[0][0].isdigit() for version in matrix["req"].values())


def test_sizes_are_small_enough_for_one_sitting(benchmarks):
    cases = sum(
        prod(map(len, each.params)) * len(methods(each)) for m in MODULES for each in classes(benchmarks[m]).values()
    )
    assert cases < 260, "a case takes some two seconds, for every release"
