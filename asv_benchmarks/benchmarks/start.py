"""What a user waits for before the first result: every sample is a process of its own."""

import importlib.util
import subprocess
import sys
from functools import cache

FIRST = {
    "inference": "layer(x)",
    "training_step": "y, _, tape = layer.forward(x); layer.backward(tape, y)",
    "step": "layer.step(x[:, 0])",
}


class _Start:
    version = "1"
    number = 1
    rounds = 1
    warmup_time = 0
    timeout = 180


class Import(_Start):
    """`import` alone."""

    repeat = 5
    param_names = ("package",)
    params = (["fastgate", "numba", "torch", "onnxruntime", "jax"],)

    def setup(self, package):
        if importlib.util.find_spec(package) is None:
            raise NotImplementedError(f"{package} is not installed")

    def timeraw_import(self, package):
        return f"import {package}"


class FirstCall(_Start):
    """`import fastgate`, a layer and its first call, with compiled kernels on disk and with none."""

    repeat = (2, 5, 8.0)
    param_names = ("cell", "work", "cache")
    params = (["LSTM"], list(FIRST), ["warm", "cold"])

    def setup(self, cell, work, cache):
        if cache == "warm":
            _run_once(_first_call(cell, work))

    def timeraw_first_call(self, cell, work, cache):
        # Only an empty folder for every sample makes every sample cold.
        cold = "import os, tempfile; os.environ['NUMBA_CACHE_DIR'] = tempfile.mkdtemp(); "
        remove = "import atexit, shutil; atexit.register(shutil.rmtree, os.environ['NUMBA_CACHE_DIR'])"
        return _first_call(cell, work), cold + remove if cache == "cold" else ""


def _first_call(cell, work):
    return f"""
        import numpy as np
        import fastgate
        layer = fastgate.{cell}(32, 64, seed=0)
        x = np.ones((4, 8, 32), np.float32)
        {FIRST[work]}
    """


@cache  # asv runs `setup` before every sample
def _run_once(program):
    lines = "\n".join(line.strip() for line in program.splitlines())
    subprocess.run([sys.executable, "-c", lines], check=True)
