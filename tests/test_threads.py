"""Threads: any number of callers, forks, writes and exceptions; the results are always those of one thread."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import fastgate as fg
from fastgate.kernels.cpu import direction, team

B, T, I, H = 6, 5, 3, 4
HOME = str(Path(fg.__file__).parents[1])
WAIT = 60.0  # seconds until a test that hangs fails; nothing that works waits for it
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.fixture(autouse=True)
def _small_work_is_split(monkeypatch):
    monkeypatch.setattr(direction, "FLOPS_PER_THREAD", 1.0)
    before = fg.get_num_threads()
    yield
    fg.set_num_threads(before)


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


@pytest.mark.parametrize(("callers", "threads"), [(2, 2), (16, 2), (16, 5)])
def test_concurrent_callers(callers, threads):
    layer = fg.LSTM(I, H, 2, seed=0)
    expected = serially(layer, range(64))
    fg.set_num_threads(threads)
    with ThreadPoolExecutor(callers) as pool:
        assert list(pool.map(lambda seed: everything(layer, seed), range(64), timeout=WAIT)) == expected
    assert team._pool is not None  # the work was shared indeed


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
    blocked = team._pool.submit(block)
    try:
        assert started.wait(WAIT)
        team.run([lambda: idents.append(threading.get_ident())] * 5)  # its only other thread is busy
        assert idents == [threading.get_ident()] * 5
        assert not blocked.done()
    finally:
        finish.set()
    blocked.result(WAIT)


def test_a_pool_that_was_shut_down_is_done_without():
    fg.set_num_threads(3)
    idents = []
    team.run([lambda: None] * 2)
    team._pool.shutdown()
    team.run([lambda: idents.append(threading.get_ident())] * 3)
    assert idents == [threading.get_ident()] * 3


# ------------------------------------------------------------------------------------------------------ processes

BEGIN = """
import os, warnings
import numpy as np
import fastgate as fg
from fastgate.kernels.cpu import direction, team

warnings.filterwarnings("ignore", "This process .* is multi-threaded, use of fork", DeprecationWarning)
direction.FLOPS_PER_THREAD = 1.0
layer = fg.LSTM(3, 4, seed=0)
x = np.random.default_rng(0).standard_normal((6, 5, 3)).astype(np.float32)


def compute(_=None):
    y, state, tape = layer.forward(x)
    return y.tobytes() + layer.backward(tape, y).params.flat.tobytes()
"""


def run_script(path, text, **environment):
    """Run in a new interpreter; its output, if it ends well and has nothing to complain of."""
    path.write_text(BEGIN + text)
    inherited = {name: value for name, value in os.environ.items() if name != "FASTGATE_NUM_THREADS"}
    environment = inherited | {"PYTHONPATH": HOME} | environment
    ended = subprocess.run(
        [sys.executable, "-W", "error", path], env=environment, capture_output=True, text=True, timeout=10 * WAIT
    )
    said = [line for line in ended.stderr.splitlines() if not line.startswith("fastgate: compiling kernels")]
    assert said == []
    assert ended.returncode == 0
    return ended.stdout.strip()


@needs_fork
def test_fork_after_the_pool_was_used(tmp_path):
    text = """
fg.set_num_threads(3)
before = compute()
assert team._pool is not None
children = []
for _ in range(3):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            assert team._pool is None and fg.get_num_threads() == 3
            assert compute() == compute() == before and team._pool is not None
            status = 0
        finally:
            os._exit(status)
    children.append(child)
assert compute() == before
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
"""
    assert run_script(tmp_path / "script.py", text) == "[0, 0, 0]"


@pytest.mark.parametrize("method", [pytest.param("fork", marks=needs_fork), "spawn"])
def test_multiprocessing(tmp_path, method):
    text = f"""
if __name__ == "__main__":
    import multiprocessing
    fg.set_num_threads(2)
    before = compute()
    with multiprocessing.get_context({method!r}).Pool(2) as pool:
        print(pool.map(compute, range(4)) == [before] * 4)
"""
    assert run_script(tmp_path / "script.py", text) == "True"


@pytest.mark.parametrize(
    "text",
    [
        "compute(); assert team._pool is not None",
        "import threading; [threading.Thread(target=compute).start() for _ in range(4)]",
        "import atexit; atexit.register(compute); compute()",
        "import threading; threading.Thread(target=lambda: [compute() for _ in range(2000)], daemon=True).start()",
    ],
    ids=["at rest", "callers still running", "called at exit", "daemon"],
)
def test_the_interpreter_ends_cleanly(tmp_path, text):
    run_script(tmp_path / "script.py", "fg.set_num_threads(3)\n" + text)


@pytest.mark.parametrize("count", ["1", "3", ""])
def test_threads_in_the_environment(tmp_path, count):
    found = run_script(tmp_path / "script.py", "print(fg.get_num_threads())", FASTGATE_NUM_THREADS=count)
    assert int(found) == (int(count) if count else team.available_cpus())
