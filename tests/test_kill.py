"""Killed at any moment, a training goes on from its last checkpoint to the same bits."""

import os
import subprocess
import sys

import pytest
from kernel_tools import ROOT

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no such signal")

# Forked off a process that has imported and compiled everything: a dozen new ones would take half a minute.
PROGRAM = """
import os, signal, sys, time
from pathlib import Path
import numpy as np
import fastgate as fg
from fastgate.training import checkpoint

rng = np.random.default_rng(0)
x = [rng.standard_normal((n, 3)).astype(np.float32) for n in rng.integers(1, 9, 60)]
y = np.array([own.sum() for own in x])

def train(folder, result):
    lstm = fg.LSTM(3, 16, 2, dropout=0.2, seed=0)
    model = fg.Sequential(lstm, fg.FinalState(), fg.Linear(16, 1, seed=1))
    model.fit(x, y, loss="mse", optimizer=fg.Adam(1e-2), epochs=10, batch_size=4, validation=0.2, early_stopping=9,
              checkpoint=folder, every=1, resume=True)
    model.params.flat.tofile(result)

def fork(*arguments):
    pid = os.fork()
    if pid == 0:
        train(*arguments)
        os._exit(0)
    return pid

here = Path(sys.argv[1])
train(here / "first", here / "first.bin")
killed = ended = left = 0
while killed < 12 or not ended:
    folder, result = here / str(ended), here / f"{ended}.bin"
    steps = [int(path.stem[5:]) for path in folder.glob("*.npz")]
    goal = max(steps, default=0) + rng.integers(1, 12)
    child, status = fork(folder, result), None
    while killed < 12 and status is None:  # until it is that far, and some random time more
        if any((folder / f"step-{step:09d}.npz").exists() for step in range(goal, goal + 9)):
            time.sleep(rng.uniform(0, 0.005))
            os.kill(child, signal.SIGKILL)
            break
        time.sleep(0.0005)
        if os.waitpid(child, os.WNOHANG)[0]:
            status = 0
    if status is None:
        status = os.waitpid(child, 0)[1]
    killed += os.WIFSIGNALED(status)
    left += len(list(folder.glob(".*.part")))
    for path in folder.glob("*.npz"):
        checkpoint.read(path)  # or an error: whatever has this name is whole
    if not os.WIFSIGNALED(status):
        assert result.read_bytes() == (here / "first.bin").read_bytes()
        assert not list(folder.glob(".*.part"))
        ended += 1
print(killed, left)
"""


def test_killed_a_dozen_times(tmp_path):
    """At random moments, some of them while a checkpoint is written; begun anew if it ends before the dozen is full."""
    environment = {**os.environ, "FASTGATE_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) == 12
