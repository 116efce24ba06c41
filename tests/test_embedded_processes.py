"""`fastgate.jit` across processes and threads: caches that outlive an upgrade, checked mode, no memory, no sharing."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cases import make
from embedded_arguments import complaints
from kernel_tools import run_python
from numba import njit, prange
from numba.core.runtime import _nrt_python, rtsys

import fastgate.jit as fj
from fastgate.kernels import jit as compiled

USER = """
from numba import njit
import fastgate.jit as fj

@njit(cache=True)
def run(cell, x, state, y):
    fj.step(cell, x, state, y)
"""
# `upgraded`: another hash of the sources, and another layout of the weights.
CALL = """
import sys
import numpy as np
import fastgate.kernels.jit as compiled
from fastgate.kernels.cpu import embedded
if sys.argv[2] == "upgraded":
    compiled.SOURCE_HASH = embedded.SOURCE_HASH = "0123456789ab"
    embedded.lanes_for = lambda size, itemsize: 4
import fastgate as fg, fastgate.jit as fj
sys.path.insert(0, sys.argv[1])
from user import run
layer = fg.RNN(3, 7, seed=0)
x, y = np.ones((1, 3), "f"), np.empty((1, 7), "f")
cell = layer.jit()
run(cell, x, fj.new_state(cell, 1), y)
np.testing.assert_allclose(y, layer.step(x)[0], atol=1e-6)
print(sum(run.stats.cache_hits.values()), sum(run.stats.cache_misses.values()))
"""


def test_a_users_cache_outlives_an_upgrade(tmp_path):
    (tmp_path / "user.py").write_text(USER, "utf-8")

    def call(version):
        done = run_python(CALL, tmp_path, version, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
        return tuple(map(int, done.stdout.split()))

    hit, compiled = (1, 0), (0, 1)
    assert [call(version) for version in ("installed", "installed", "upgraded", "installed")] == [
        compiled,
        hit,
        compiled,
        hit,
    ]


def test_what_is_wrong_is_said_and_nothing_touched():
    """In fast mode: which argument, and what was expected."""
    found = list(complaints())
    assert len(found) > 80
    for function, name, message, _ in found:
        assert message.startswith((f"{name}: expected", "tape, t: expected")), (function, name, message)


def test_checked_mode_also_says_what_came():
    run_python("import runpy; runpy.run_module('embedded_arguments', run_name='__main__')", FASTGATE_CHECK="1")


@njit(nogil=True)
def run(cell, x, state, y):
    for t in range(x.shape[0]):
        fj.step(cell, x[t], state, y[t])


@njit(parallel=True)
def run_in_parallel(cell, x, y):
    for i in prange(x.shape[0]):
        state = fj.new_state(cell, 1)
        for t in range(x.shape[1]):
            fj.step(cell, x[i, t], state, y[i, t])


@pytest.fixture(scope="module")
def sequences():
    layer = make("rnn_relu", 2, 20, dtype="float32")
    x = np.random.default_rng(0).standard_normal((16, 9, 2)).astype("f")
    return layer, x, layer(x)[0]


def test_iterations_in_parallel_do_not_see_each_other(sequences):
    layer, x, expected = sequences
    y = np.empty_like(expected)
    run_in_parallel(layer.jit(), x, y)
    np.testing.assert_array_equal(y, expected)


def test_threads_share_a_cell(sequences):
    layer, x, expected = sequences
    cell, y = layer.jit(), np.empty_like(expected)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: run(cell, x[i], fj.new_state(cell, 1), y[i]), range(16)))
    np.testing.assert_array_equal(y, expected)


@njit(fastmath=True)
def run_carelessly(cell, x, state, y):
    for t in range(x.shape[0]):
        fj.step(cell, x[t], state, y[t])


def test_a_callers_fastmath_is_not_ours(monkeypatch):
    """Numba hands flags on to what a function is the first to compile, so the kernels must not be compiled yet."""
    monkeypatch.setattr(compiled, "CACHE_ENABLED", False)
    layer = make("lstm", 2, 11, dtype="float32", batch_first=False)
    x = np.random.default_rng(0).standard_normal((30, 1, 2)).astype("f")
    expected, cell = layer(x)[0], layer.jit()
    y = np.empty_like(expected)
    run_carelessly(cell, x, fj.new_state(cell, 1), y)
    np.testing.assert_array_equal(y, expected)


def test_a_step_allocates_nothing(sequences):
    """Python's arrays each take a little on their way in, however many steps there are."""
    layer, x, expected = sequences
    cell, y = layer.jit(), np.empty_like(expected[0])
    state = fj.new_state(cell, 1)

    def allocations(steps):
        before = rtsys.get_allocation_stats().alloc
        run(cell, x[0, :steps], state, y[:steps])
        return rtsys.get_allocation_stats().alloc - before

    _nrt_python.memsys_enable_stats()
    try:
        allocations(1)
        assert allocations(9) == allocations(1) > 0
    finally:
        _nrt_python.memsys_disable_stats()
