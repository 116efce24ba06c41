"""Killed at any moment, a training goes on from its last checkpoint to the same bits."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from kernel_tools import ROOT

from fastgate.training import checkpoint

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no such signal")

PROGRAM = """
import sys
import numpy as np
import fastgate as fg

rng = np.random.default_rng(0)
x = [rng.standard_normal((n, 3)).astype(np.float32) for n in rng.integers(1, 9, 60)]
y = np.array([own.sum() for own in x])
lstm = fg.LSTM(3, 16, 2, dropout=0.2, seed=0)
model = fg.Sequential(lstm, fg.FinalState(), fg.Linear(16, 1, seed=1))
model(x[0][None])
print("ready", flush=True)
model.fit(x, y, loss="mse", optimizer=fg.Adam(1e-2), epochs=60, batch_size=4, early_stopping=50, validation=0.2,
          checkpoint=sys.argv[1], every=3, resume=True)
np.save(sys.argv[2], model.params.flat)
"""
KILLS = 12


def start(folder, result):
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths, "FASTGATE_NUM_THREADS": "1"}
    arguments = [sys.executable, "-c", PROGRAM, folder, result]
    child = subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, cwd=ROOT)
    assert child.stdout.readline() == b"ready\n"
    return child


def test_killed_a_dozen_times(tmp_path):
    alone, result, folder = tmp_path / "alone.npy", tmp_path / "result.npy", tmp_path / "killed"
    began = time.perf_counter()
    with start(tmp_path / "undisturbed", alone) as child:
        assert child.wait(120) == 0
    whole = time.perf_counter() - began  # of the training, once it was ready: an upper bound
    rng, killed = np.random.default_rng(0), 0
    while not result.exists():
        with start(folder, result) as child:
            try:
                child.wait(rng.uniform(0, 2 * whole / KILLS) if killed < KILLS else 120)
            except subprocess.TimeoutExpired:
                child.kill()
                killed += 1
        for path in folder.glob("*.npz"):
            checkpoint.read(path)  # or an error: every file with this name is whole
    assert killed > 3
    np.testing.assert_array_equal(np.load(result), np.load(alone))
    with checkpoint.Checkpoints(folder, 3):
        assert not list(folder.glob(".*.part"))
