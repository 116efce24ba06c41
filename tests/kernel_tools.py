"""What the tests of the kernels share: small compiled loops, NumPy meanings, other processes, copies of the package."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np

from fastgate.kernels import memory
from fastgate.kernels.cpu import features
from fastgate.kernels.cpu.pack import pack_backward, pack_forward
from fastgate.kernels.cpu.simd import lanes_of, load, store
from fastgate.kernels.jit import jit

ROOT = Path(__file__).resolve().parents[1]
DTYPES = [np.float32, np.float64]


def unary(function):
    """A compiled loop that applies `function` to whole vectors."""

    @jit(variant=function.__name__)
    def loop(x, out):
        """x (1,N) -> out (1,N)"""
        for u in range(0, x.shape[1], lanes_of(x)):
            store(out, 0, u, function(load(x, 0, u)))

    return loop


def apply_unary(loop, x):
    """`loop` on a vector of any length."""
    row = np.zeros((1, features.padded(x.size, x.dtype)), x.dtype)
    row[0, : x.size] = x
    out = np.empty_like(row)
    loop(row, out)
    return out[0, : x.size]


def bits(array):
    return array.view({4: np.int32, 8: np.int64}[array.dtype.itemsize])


def filled(shape, dtype, seed):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(dtype)


def panels_of(matrix):
    """matrix (K,M), M whole vectors -> panels (M/lanes,K,lanes): the layout by its meaning, not by `pack`."""
    K, M = matrix.shape
    width = features.lanes(matrix.dtype)
    return np.ascontiguousarray(matrix.reshape(K, M // width, width).transpose(1, 0, 2))


def packed(kind, weight, rows, shape):
    kernel = {"forward": pack_forward, "backward": pack_backward}[kind]
    panels = memory.empty(shape, weight.dtype)
    panels[...] = np.nan
    kernel(weight, rows, panels)
    return panels


def run_python(code, *arguments, root=ROOT, unset=(), check=True, **environment):
    """Run `code` in a fresh process that imports fastgate from `root`; returns it completed, with its output."""
    variables = {name: value for name, value in os.environ.items() if name not in unset}
    variables |= {"PYTHONPATH": os.pathsep.join([str(root), str(ROOT / "tests")])} | environment
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *map(str, arguments)]
    done = subprocess.run(command, env=variables, cwd=root, capture_output=True, text=True, timeout=600)
    if check:
        assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def copy_package(target):
    """A copy of fastgate/ and kernels/ with the link between them and without compiled files; returns its root."""
    for folder in ("fastgate", "kernels"):
        shutil.copytree(ROOT / folder, target / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    if not (target / "fastgate" / "kernels").is_symlink():  # a checkout without links holds a text file
        (target / "fastgate" / "kernels").unlink()
        (target / "fastgate" / "kernels").symlink_to("../kernels")
    return target
