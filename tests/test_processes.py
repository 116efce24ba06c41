"""Threads across processes: forks, the end of the interpreter, and the environment."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastgate as fg
from fastgate.kernels.cpu import team

HOME = str(Path(fg.__file__).parents[1])
WAIT = 60.0  # seconds until a test that hangs fails; nothing that works waits for it
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

BEGIN = """
import os, warnings
import numpy as np
import fastgate as fg
from fastgate.kernels.cpu import sharing, team

warnings.filterwarnings("ignore", "This process .* is multi-threaded, use of fork", DeprecationWarning)
sharing.FLOPS_PER_THREAD = sharing.FLOPS_PER_TURN = 1.0
sharing.SEQUENCES_PER_THREAD = 6 if os.environ.get("SHARE_UNITS") else 0
layer = fg.LSTM(3, 36, seed=0)
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
@pytest.mark.parametrize("units", ["", "1"], ids=["sequences", "units"])
def test_fork_after_the_pool_was_used(tmp_path, units):
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
    assert run_script(tmp_path / "script.py", text, SHARE_UNITS=units) == "[0, 0, 0]"


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
