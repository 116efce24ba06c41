"""What the benchmarks time is the same work: equal weights give equal outputs and gradients in every library."""

import sys
from importlib.util import find_spec
from itertools import product

import numpy as np
import pytest

import fastgate
from fastgate.bench import peers

B, T, I, H = 2, 5, 3, 4
SHAPES = {"inference": f"{B},{T},{I},{H}", "training_step": f"{B},{T},{I},{H}", "step": f"{B},{I},{H}"}
TIME_FIRST = ("onnxruntime", "jax", "keras")
OTHERS = peers.LIBRARIES[1:]
NEEDS = {"onnxruntime": ["onnx"], "keras": ["jax"]}
CANNOT = {
    "torch": (lambda work, cell, dtype: cell == "GRU reset_before", "has no GRU whose reset gate acts before"),
    "onnxruntime": (lambda work, cell, dtype: work == "training_step" or dtype != "float32", "train|in float32 only"),
}
CASES = list(product(peers.WORKS, OTHERS, peers.CELLS, ["float32", "float64"]))


def can(work, library, cell, dtype):
    return library not in CANNOT or not CANNOT[library][0](work, cell, dtype)


# A few roundings of numbers of about 1; onnxruntime's float32 kernels approximate the activations besides.
TOLERANCE = {"float32": 2e-6, "float64": 1e-13}


@pytest.fixture(autouse=True)
def _threads():
    """Those of this process stay what they were; no step goes on from another test's."""
    peers._kept.cache_clear()
    before = [(module, module.get_num_threads()) for module in (fastgate, sys.modules.get("torch")) if module]
    yield
    for module, count in before:
        module.set_num_threads(count)


def skip_if_keras_runs_elsewhere(library):
    keras = sys.modules.get("keras")
    if library == "keras" and keras and keras.backend.backend() != "jax":
        pytest.skip("Keras runs on PyTorch in this process, for the tests of exchange; alone these tests run it on JAX")


def prepare(work, library, cell, dtype):
    for package in (library, *NEEDS.get(library, ())):
        if find_spec(package) is None:  # importing it here would be too early: JAX takes its threads then
            pytest.skip(f"{package} is not installed")
    skip_if_keras_runs_elsewhere(library)
    return peers.prepare(work, library, cell, SHAPES[work], dtype)


def numbers(value):
    return value.numpy() if hasattr(value, "numpy") else np.asarray(value)


def result(work, library, run):
    """What the libraries must agree upon, in one layout."""
    values = run()
    if work == "training_step":  # kernels differ in layout and order of gates, which leaves the sum of squares as it is
        dx, dW_ih, dW_hh = map(numbers, values[:3])
        dx = dx.swapaxes(0, 1) if library in TIME_FIRST else dx
        return [dx, np.square(dW_ih).sum(), np.square(dW_hh).sum()]
    y = numbers(values[0])
    if work == "step":
        return [y.reshape(B, H)]
    if library in TIME_FIRST:
        y = y.reshape(T, B, H).swapaxes(0, 1)
    return [y]


@pytest.mark.filterwarnings("default")  # of other libraries
@pytest.mark.parametrize(("work", "library", "cell", "dtype"), [case for case in CASES if can(*case)])
def test_all_libraries_compute_the_same(work, library, cell, dtype):
    ours, theirs = (prepare(work, name, cell, dtype) for name in ("fastgate", library))
    for _ in range(3):  # as many steps
        expected, found = result(work, "fastgate", ours), result(work, library, theirs)
        assert len(expected) == len(found)
        for e, f in zip(expected, found, strict=True):
            assert f.dtype == e.dtype == dtype
            np.testing.assert_allclose(f, e, rtol=20 * TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize(("work", "library", "cell", "dtype"), [case for case in CASES if not can(*case)])
def test_what_a_library_cannot_do(work, library, cell, dtype):
    with pytest.raises(NotImplementedError, match=CANNOT[library][1]):
        prepare(work, library, cell, dtype)


@pytest.mark.parametrize("library", OTHERS)
def test_what_is_not_installed(library, monkeypatch):
    skip_if_keras_runs_elsewhere(library)
    monkeypatch.setitem(sys.modules, library, None)
    if library == "keras" and find_spec("jax") is None:
        pytest.skip("jax is not installed, which keras is asked to run on")
    if library == "onnxruntime" and find_spec("onnx") is None:
        pytest.skip("onnx is not installed, which the graph is made with")
    with pytest.raises(NotImplementedError, match=f"{library} is not installed"):
        peers.prepare("inference", library, "LSTM", "1,2,3,4")


@pytest.mark.filterwarnings("default")
def test_jax_keeps_its_number_of_threads():
    """It cannot be changed any more: a measurement with another one must not seem to succeed."""
    prepare("inference", "jax", "RNN", "float32")
    with pytest.raises(NotImplementedError, match="cannot change its number of threads"):
        peers.prepare("inference", "jax", "RNN", "1,2,3,4", threads=2)


def test_steps_go_on():
    run = peers.prepare("step", "fastgate", "LSTM", "2,3,4")
    assert not np.array_equal(run()[0], run()[0])
