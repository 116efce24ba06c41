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
    model.fit(x, y, loss="mse", optimizer=fg.Adam(1e-2), epochs=25, batch_size=4, validation=0.2, early_stopping=24,
              checkpoint=folder, every=3, resume=True)
    model.params.flat.tofile(result)

def fork(*arguments):
    pid = os.fork()
    if pid == 0:
        train(*arguments)
        os._exit(0)
    return pid

here = Path(sys.argv[1])
train(here / "first", here / "first.bin")
begin = time.perf_counter()
assert os.waitpid(fork(here / "alone", here / "alone.bin"), 0)[1] == 0
whole, killed, ended = time.perf_counter() - begin, 0, False
while not ended:
    child = fork(here / "killed", here / "killed.bin")
    if killed < 12:
        time.sleep(rng.uniform(0, 0.25) * whole)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    killed, ended = killed + os.WIFSIGNALED(status), status == 0
    for path in (here / "killed").glob("*.npz"):
        checkpoint.read(path)  # or an error: whatever has this name is whole
print(killed)
"""


def test_killed_a_dozen_times(tmp_path):
    """At random moments, some of them while a checkpoint is written."""
    environment = {**os.environ, "FASTGATE_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) >= 6
    alone = (tmp_path / "alone.bin").read_bytes()
    assert (tmp_path / "killed.bin").read_bytes() == alone == (tmp_path / "first.bin").read_bytes()
    assert not list((tmp_path / "killed").glob(".*.part"))
