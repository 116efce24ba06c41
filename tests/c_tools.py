"""Exported models, compiled by the C compiler of this machine and called from Python."""

import ctypes
import shutil
import subprocess

import numpy as np
import pytest

import fastgate as fg
from fastgate.kernels.cpu import features

COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]
# As the kernels of this process: they use fused multiply-adds only where their CPU has them.
FUSED = ["-march=native"] if features.HAS_FMA and not features.IS_ARM else []
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")


def compile_c(*arguments, folder=None):
    done = subprocess.run([COMPILER, *map(str, arguments)], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not done.stderr


class Compiled:
    """A model in C: `step` advances its state."""

    def __init__(self, model, folder, *options):
        folder.mkdir(exist_ok=True)
        self.dtype, self.files = model.dtype, fg.to_c(model, folder)
        library = folder / "model.so"
        compile_c(*STRICT, "-O2", *FUSED, *options, "-fPIC", "-c", "model.c", folder=folder)
        # Without the options: -ffast-math would have the library switch off this process's subnormal numbers.
        compile_c("-shared", "-o", library, "model.o", "-lm", folder=folder)
        self.library = ctypes.CDLL(str(library))
        header = (folder / "model.h").read_text()
        sizes = dict(
            line.split()[1:] for line in header.splitlines() if line.startswith("#define MODEL_") if " " in line[8:]
        )
        self.inputs, self.outputs = int(sizes.get("MODEL_INPUTS", 0)), int(sizes["MODEL_OUTPUTS"])
        self.state = np.full(1000, np.nan, self.dtype)  # more than any test needs

    def init(self):
        self.library.model_init(pointer(self.state))

    def step(self, x):
        y = np.full(self.outputs + 1, np.nan, self.dtype)
        if self.inputs:
            x = np.ascontiguousarray(x, self.dtype)
            assert x.shape == (self.inputs,)
            self.library.model_step(pointer(self.state), pointer(x), pointer(y))
            error = 0
        else:
            error = self.library.model_step(pointer(self.state), ctypes.c_int32(int(x)), pointer(y))
        assert np.isnan(y[-1])
        return error if error else y[:-1]

    def run(self, x):
        """x (T,I) -> y (T,O), from the start"""
        self.init()
        return np.stack([self.step(row) for row in x])


def pointer(array):
    return ctypes.c_void_p(array.ctypes.data)
