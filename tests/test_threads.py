"""Threads: any number of callers, forks, writes and exceptions; the results are always those of one thread."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import fastgate as fg
from fastgate.kernels.cpu import sharing, team

B, T, I, H = 6, 5, 3, 36  # more than one vector of units
HOME = str(Path(fg.__file__).parents[1])
WAIT = 60.0  # seconds until a test that hangs fails; nothing that works waits for it
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.fixture(autouse=True)
def _small_work_is_split(monkeypatch):
    monkeypatch.setattr(sharing, "FLOPS_PER_THREAD", 1.0)
    monkeypatch.setattr(sharing, "FLOPS_PER_TURN", 1.0)
    monkeypatch.setattr(sharing, "SEQUENCES_PER_THREAD", 0)
    before = fg.get_num_threads()
    yield
    fg.set_num_threads(before)


@pytest.fixture(params=["sequences", "units"])
def way(monkeypatch, request):
    """What threads share: the sequences of a batch, or the units of a step."""
    monkeypatch.setattr(sharing, "SEQUENCES_PER_THREAD", {"sequences": 0, "units": B}[request.param])


def data(seed):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((B, T, I)).astype(np.float32), rng.integers(0, T + 1, B)


def everything(layer, seed=0):
    """The bytes of a forward and a backward pass."""
    x, lengths = data(seed)
    y, state, tape = layer.forward(x, lengths=lengths)
    gradients = layer.backward(tape, np.cos(y), state)
    return b"".join(a.tobytes() for a in (y, *state, gradients.x, *gradients.state, gradients.params.flat))


def serially(layer, seeds):
    fg.set_num_threads(1)
    return [everything(layer, seed) for seed in seeds]


# ---------------------------------------------------------------------------------------------- many callers at once


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("callers", "threads"), [(2, 2), (16, 2), (16, 5), (64, 3)])
def test_concurrent_callers(callers, threads):
    layer = fg.LSTM(I, H, 2, seed=0)
    expected = serially(layer, range(64))
    fg.set_num_threads(threads)
    with ThreadPoolExecutor(callers) as pool:
        assert list(pool.map(lambda seed: everything(layer, seed), range(64), timeout=WAIT)) == expected
    assert team._pool is not None  # the work was shared indeed


@pytest.mark.usefixtures("way")
def test_number_of_threads_set_while_others_compute():
    layer = fg.LSTM(I, H, seed=0)
    expected = serially(layer, range(64))
    done = threading.Event()

    def disturb():
        while not done.is_set():
            for count in (3, 1, 2, 4):
                fg.set_num_threads(count)

    with ThreadPoolExecutor(5) as pool:
        disturbing = pool.submit(disturb)
        try:
            found = list(pool.map(lambda seed: everything(layer, seed), list(range(64)) * 3, timeout=WAIT))
        finally:
            done.set()
        disturbing.result(WAIT)
    assert found == expected * 3


def test_one_thread_set_just_before_the_pool_is_made():
    """The number is read once in a call, so that a pool of no threads is never asked for."""

    class Tasks(list):
        def __len__(self):
            fg.set_num_threads(1)
            return super().__len__()

    ran = []
    fg.set_num_threads(2)
    team.run(Tasks([lambda: ran.append(0), lambda: ran.append(1)]))
    assert sorted(ran) == [0, 1]


def test_step_from_many_threads():
    """Of a size at which a step takes long enough to be overtaken."""
    layer, x = fg.LSTM(I, 160, seed=0), np.random.default_rng(0).standard_normal((16, 60, 4, I)).astype(np.float32)

    def walk(sequences):
        state, outputs = None, []
        for step in sequences:
            y, state = layer.step(step, state)
            outputs.append(y.tobytes())
        return outputs

    expected = list(map(walk, x))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(walk, [*x] * 4, timeout=WAIT)) == expected * 4


@pytest.mark.parametrize("call", ["sequence", "step", "training"])
def test_writes_while_others_compute(call):
    """Each result is that of one version of all the parameters, never of a mixture."""
    layer, x = fg.LSTM(I, H, 2, seed=0), data(0)[0]
    pair = (np.ones((2, B, H), np.float32),) * 2

    def compute():
        if call == "sequence":
            return layer(x, pair)[0].tobytes()
        return layer.step(x[:, 0], pair)[0].tobytes() if call == "step" else layer.forward(x, pair)[0].tobytes()

    vectors = [layer.params.flat, -layer.params.flat, layer.params.flat * 2]
    allowed = set()
    for vector in vectors:
        layer.params.flat = vector
        allowed.add(compute())
    assert len(allowed) == 3
    fg.set_num_threads(2)
    done = threading.Event()

    def write():
        while not done.is_set():
            for vector in vectors:
                layer.params.flat = vector

    with ThreadPoolExecutor(4) as pool:
        writing = pool.submit(write)
        try:
            found = set(pool.map(lambda _: compute(), range(300), timeout=WAIT))
        finally:
            done.set()
        writing.result(WAIT)
    assert found <= allowed


# ------------------------------------------------------------------------------------------------------- the pool


@pytest.mark.parametrize("threads", [2, 3])
def test_a_busy_pool_holds_up_nobody(threads, monkeypatch):
    """Those who share the units of a step need not all be there: the caller does what nobody else has begun."""
    monkeypatch.setattr(sharing, "SEQUENCES_PER_THREAD", B)
    layer = fg.LSTM(I, H, seed=0)
    (expected,) = serially(layer, [0])
    fg.set_num_threads(threads)
    finish = threading.Event()
    team.run([lambda: None] * threads)
    for _ in range(threads - 1):
        team._pool.queue.put(lambda: finish.wait(WAIT))
    try:
        assert everything(layer) == expected
    finally:
        finish.set()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_tasks_run_on_so_many_threads(threads):
    fg.set_num_threads(threads)
    together, idents = threading.Barrier(threads), set()

    def task():
        together.wait(WAIT)  # passes only when all of them run at once
        idents.add(threading.get_ident())

    team.run([task] * threads)
    assert len(idents) == threads
    assert threading.get_ident() in idents  # the caller works too


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("bad", [0, 1, 3])
def test_exception_in_a_task(threads, bad):
    fg.set_num_threads(threads)
    ran = []

    def task(n):
        ran.append(n)
        if n == bad:
            raise ZeroDivisionError(f"task {n}")

    with pytest.raises(ZeroDivisionError, match=f"task {bad}"):
        team.run([lambda n=n: task(n) for n in range(4)])
    # With threads every task has ended before the exception is raised: nobody writes into the caller's arrays later.
    assert sorted(ran) == ([0, 1, 2, 3] if threads > 1 else list(range(bad + 1)))
    ran.clear()
    team.run([lambda n=n: ran.append(n) for n in range(4)])
    assert sorted(ran) == [0, 1, 2, 3]


def test_the_caller_takes_back_what_no_thread_has_started():
    fg.set_num_threads(2)
    started, finish, idents = threading.Event(), threading.Event(), []

    def block():
        started.set()
        assert finish.wait(WAIT)

    team.run([lambda: None] * 2)
    team._pool.queue.put(block)
    try:
        assert started.wait(WAIT)
        team.run([lambda: idents.append(threading.get_ident())] * 5)  # its only other thread is busy
        assert idents == [threading.get_ident()] * 5
    finally:
        finish.set()


def test_a_pool_that_was_shut_down_is_done_without():
    fg.set_num_threads(3)
    idents = []
    team.run([lambda: None] * 2)
    team._pool.end()
    time.sleep(0.1)
    team.run([lambda: idents.append(threading.get_ident())] * 3)
    assert idents == [threading.get_ident()] * 3
