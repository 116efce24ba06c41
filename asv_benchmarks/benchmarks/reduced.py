"""Reduced-precision weights and recomputation; a release without them is skipped."""

import inspect
from functools import cache

import numpy as np

from benchmarks.peers.case import load


class QuantizedWeights:
    """Inference of one sequence, bound by reading the weights: stored in fewer bytes it is faster."""

    version = "1"
    repeat = (5, 200, 0.8)
    param_names = ("cell", "weights", "B,T,I,H")
    params = (["LSTM", "GRU"], ["float32", "bfloat16", "float16", "int8"], ["1,100,256,256", "1,50,512,512"])

    def setup(self, cell, weights, shape):
        self.run = _quantized(cell, weights, shape)

    def time_forward(self, cell, weights, shape):
        self.run()


class LongSequence:
    """Training on a sequence so long that its tape counts: everything kept, or computed again by the backward pass."""

    version = "1"
    repeat = (3, 50, 0.8)
    param_names = ("cell", "recompute", "B,T,I,H")
    params = (["LSTM", "GRU"], ["None", "auto"], ["4,2000,32,64"])

    def setup(self, cell, recompute, shape):
        self.layer, self.x, self.options = _long(cell, recompute, shape)

    def time_training_step(self, cell, recompute, shape):
        y, _, tape = self.layer.forward(self.x, **self.options)
        self.layer.backward(tape, y)

    def track_tape_bytes(self, cell, recompute, shape):
        return self.layer.forward(self.x, **self.options)[2].nbytes

    track_tape_bytes.unit = "bytes"


def _layer_and_input(cell, shape):
    B, T, I, H = map(int, shape.split(","))
    x = np.random.default_rng(0).standard_normal((B, T, I)).astype("float32")
    return getattr(load("fastgate"), cell)(I, H, seed=0), x


@cache  # asv runs `setup` before every sample
def _quantized(cell, weights, shape):
    layer, x = _layer_and_input(cell, shape)
    if weights != "float32":
        if not hasattr(layer, "quantized"):
            raise NotImplementedError("this release has no quantized weights")
        layer = layer.quantized(weights)
    layer(x)
    return lambda: layer(x)


@cache
def _long(cell, recompute, shape):
    layer, x = _layer_and_input(cell, shape)
    options = {} if recompute == "None" else {"recompute": recompute}
    if options and "recompute" not in inspect.signature(layer.forward).parameters:
        raise NotImplementedError("this release does not recompute")
    y, _, tape = layer.forward(x, **options)
    layer.backward(tape, y)
    return layer, x, options
