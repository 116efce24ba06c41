"""Parts of the work, each alone: fastgate on one thread."""

import inspect
from functools import cache

import numpy as np

from benchmarks.peers.case import load

CELLS = ["LSTM", "GRU", "GRU reset_before", "RNN"]


class _Part:
    version = "1"
    repeat = (5, 200, 0.8)


class Backward(_Part):
    """Back-propagation through time from a kept tape."""

    param_names = ("cell", "B,T,I,H")
    params = (CELLS, ["1,100,128,256", "32,35,128,256"])

    def setup(self, cell, shape):
        self.layer, self.tape, self.dy = _taped(cell, shape)

    def time_backward(self, cell, shape):
        self.layer.backward(self.tape, self.dy)


class Packing(_Part):
    """A write of all parameters and the first call after it, which packs them: compare with a step or call alone."""

    param_names = ("cell", "work", "I,H")
    params = (["LSTM", "GRU"], ["step", "training_step"], ["32,32", "256,256"])

    def setup(self, cell, work, sizes):
        self.run = _write_and_call(cell, work, *map(int, sizes.split(",")))

    def time_write_and_call(self, cell, work, sizes):
        self.run()


class Pointwise(_Part):
    """The elementwise equations of one step in SIMD registers, 1024 units from and to the cache: no product."""

    param_names = ("equation",)
    params = (["lstm_cell", "lstm_cell_vjp", "gru_cell", "gru_cell_vjp", "rnn_tanh_cell", "rnn_tanh_cell_vjp"],)

    def setup(self, equation):
        self.run = _pointwise(equation)

    def time_100_passes(self, equation):
        self.run()


def _layer(cell, I, H):
    options = {"reset_after": False} if cell == "GRU reset_before" else {}
    return getattr(load("fastgate"), cell.split()[0])(I, H, seed=0, **options)


@cache  # asv runs `setup` before every sample
def _taped(cell, shape):
    B, T, I, H = map(int, shape.split(","))
    layer, rng = _layer(cell, I, H), np.random.default_rng(0)
    _, _, tape = layer.forward(rng.standard_normal((B, T, I)).astype("float32"))
    dy = rng.standard_normal((B, T, H)).astype("float32")
    layer.backward(tape, dy)
    return layer, tape, dy


@cache
def _write_and_call(cell, work, I, H):
    layer = _layer(cell, I, H)
    values, x, dy = np.array(layer.params.flat), np.ones((1, 1, I), np.float32), np.ones((1, 1, H), np.float32)

    def step():
        layer.params.flat = values
        layer.step(x[0])

    def training_step():
        layer.params.flat = values
        layer.backward(layer.forward(x)[2], dy)

    run = {"step": step, "training_step": training_step}[work]
    run()
    return run


@cache
def _pointwise(name):
    """No public function is only this, so it reaches for the kernels; a release that has them elsewhere is skipped."""
    try:
        from fastgate.kernels import equations
        from fastgate.kernels.cpu.simd import lanes_of, load, store

        equation = getattr(equations, name)
    except (ImportError, AttributeError) as error:
        raise NotImplementedError(f"this release has its equations elsewhere: {error}") from None
    from numba import njit

    takes = len(inspect.signature(equation).parameters)
    gives = np.size(equation(*[0.5] * takes))
    results = [f"result_{n}" for n in range(gives)]
    lines = [
        "def passes(count, inputs, outputs):",
        "    for _ in range(count):",
        "        for u in range(0, inputs.shape[1], lanes_of(inputs)):",
        f"            {', '.join(results)} = equation({', '.join(f'load(inputs, {n}, u)' for n in range(takes))})",
        *(f"            store(outputs, {n}, u, {result})" for n, result in enumerate(results)),
    ]
    names = {"equation": equation, "lanes_of": lanes_of, "load": load, "store": store}
    exec("\n".join(lines), names)
    passes = njit(error_model="numpy")(names["passes"])
    inputs = np.random.default_rng(0).standard_normal((takes, 1024)).astype("float32")
    outputs = np.empty((gives, 1024), np.float32)
    passes(1, inputs, outputs)
    return lambda: passes(100, inputs, outputs)
