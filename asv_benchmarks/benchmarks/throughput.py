"""How much is done in a second, and how near that is to what the CPU can do: fastgate on one thread.

These are for reading; regressions are found by `time_*`, because asv takes every lower number for an improvement.
"""

from functools import cache
from statistics import median
from time import perf_counter

import numpy as np

from benchmarks import peak
from benchmarks.peers import prepare
from benchmarks.peers.case import load

GATES = {"LSTM": 4, "GRU": 3}
PRODUCTS = {"inference": 1, "training_step": 3}  # backward: the gradients of inputs and states, and those of weights
SHAPES = ["1,100,128,256", "32,35,128,256", "128,50,128,128"]
SECONDS = 0.8


def flops(work, cell, shape):
    """Multiplications and additions in the products of matrices; the elementwise work is not counted."""
    B, T, I, H = map(int, shape.split(","))
    return PRODUCTS[work] * 2 * B * T * GATES[cell] * H * (I + H)


def tokens(shape):
    """Steps of all sequences."""
    B, T = map(int, shape.split(",")[:2])
    return B * T


def rounded(value):
    """What a measurement is worth: four digits."""
    return float(f"{value:.4g}")


class Throughput:
    version = "1"
    param_names = ("cell", "work", "B,T,I,H")
    params = (list(GATES), list(PRODUCTS), SHAPES)

    def setup(self, cell, work, shape):
        self.run = prepare(work, "fastgate", cell, shape)

    def track_flops(self, cell, work, shape):
        return rounded(flops(work, cell, shape) / measure(self.run)[0] / 1e9)

    def track_fraction_of_peak(self, cell, work, shape):
        seconds, roof = measure(self.run)
        return rounded(100 * flops(work, cell, shape) / seconds / roof)

    def track_tokens(self, cell, work, shape):
        return rounded(tokens(shape) / measure(self.run)[0])

    track_flops.unit = "GF/s"
    track_fraction_of_peak.unit = "% of the FMA peak"
    track_tokens.unit = "tokens/s"


class TapeBytes:
    """What a forward pass keeps for its backward pass."""

    version = "1"
    param_names = ("cell", "B,T,I,H", "library")
    params = (list(GATES), SHAPES, ["fastgate", "torch"])

    def setup(self, cell, shape, library):
        self.count = {"fastgate": _fastgate_tape_bytes, "torch": _torch_tape_bytes}[library]
        load(library)

    def track_tape_bytes(self, cell, shape, library):
        return self.count(cell, *map(int, shape.split(",")))

    track_tape_bytes.unit = "bytes"


@cache  # asv may call for one number several times
def measure(run):
    """The median seconds of a call, and the largest FLOP/s that the core reached in between."""
    seconds, roofs, end = [], [], perf_counter() + SECONDS
    while len(seconds) < 5 or perf_counter() < end:
        begin = perf_counter()
        run()
        seconds.append(perf_counter() - begin)
        roofs.append(peak.flops_per_second())
    return median(seconds), max(roofs)


def _fastgate_tape_bytes(cell, B, T, I, H):
    layer = getattr(load("fastgate"), cell)(I, H, seed=0)
    return layer.forward(np.zeros((B, T, I), np.float32))[2].nbytes


def _torch_tape_bytes(cell, B, T, I, H):
    """All that autograd keeps, but for the weights; what is kept twice counts once."""
    torch = load("torch")
    layer = getattr(torch.nn, cell)(I, H, batch_first=True)
    weights, kept = {p.untyped_storage().data_ptr() for p in layer.parameters()}, {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y, _ = layer(torch.zeros((B, T, I), requires_grad=True))
    assert y.requires_grad
    return sum(size for pointer, size in kept.items() if pointer not in weights)
