"""Layers that most libraries run slowly: other dtypes, other cells, ragged batches, both directions."""

from functools import cache

import numpy as np

from benchmarks.peers import prepare
from benchmarks.peers.case import load
from benchmarks.recurrent import LIBRARIES, _Work

WORKS = ["inference", "training_step"]
SHAPE = "32,35,128,256"


class OtherCells(_Work):
    """What is not a float32 LSTM or GRU, beside every peer that can do it."""

    version = "1"
    param_names = ("layer", "work", "B,T,I,H", "library")
    params = (["LSTM float64", "GRU float64", "RNN float32", "GRU reset_before float32"], WORKS, [SHAPE], LIBRARIES)

    def setup(self, layer, work, shape, library):
        cell, _, dtype = layer.rpartition(" ")
        self.run = prepare(work, library, cell, shape, dtype=dtype)

    def time_layer(self, layer, work, shape, library):
        self.run()


class Ragged(_Work):
    """A batch whose lengths run evenly from 1 to T: half the work of the full one that `recurrent` measures."""

    version = "1"
    param_names = ("cell", "work", "B,T,I,H", "library")
    params = (["LSTM", "GRU"], WORKS, [SHAPE], ["fastgate", "torch"])

    def setup(self, cell, work, shape, library):
        B, T = map(int, shape.split(",")[:2])
        self.run = _prepare(work, library, cell, shape, lengths=tuple(np.linspace(1, T, B).round().astype(int)))

    def time_batch(self, cell, work, shape, library):
        self.run()


class Bidirectional(_Work):
    """Two layers, each in both directions."""

    version = "1"
    param_names = ("cell", "work", "B,T,I,H", "library")
    params = (["LSTM", "GRU"], WORKS, ["16,35,64,64"], ["fastgate", "torch"])

    def setup(self, cell, work, shape, library):
        self.run = _prepare(work, library, cell, shape, bidirectional=True)

    def time_two_layers(self, cell, work, shape, library):
        self.run()


@cache  # asv runs `setup` before every sample
def _prepare(work, library, cell, shape, bidirectional=False, lengths=None):
    B, T, I, H = map(int, shape.split(","))
    rng, D = np.random.default_rng(0), 1 + bidirectional
    x, dy = (rng.standard_normal((B, T, width)).astype("float32") for width in (I, D * H))
    run = {"fastgate": _fastgate, "torch": _torch}[library](work, cell, x, dy, H, bidirectional, lengths)
    run()
    run()
    return run


def _fastgate(work, cell, x, dy, H, bidirectional, lengths):
    fastgate = load("fastgate")
    layer = getattr(fastgate, cell)(x.shape[-1], H, 1 + bidirectional, bidirectional=bidirectional, seed=0)
    if work == "inference":
        return lambda: layer(x, lengths=lengths)

    def training_step():
        _, _, tape = layer.forward(x, lengths=lengths)
        return layer.backward(tape, dy)

    return training_step


def _torch(work, cell, x, dy, H, bidirectional, lengths):
    torch = load("torch")
    torch.set_num_threads(1)
    layer = getattr(torch.nn, cell)(x.shape[-1], H, 1 + bidirectional, bidirectional=bidirectional, batch_first=True)
    x, dy = torch.from_numpy(x), torch.from_numpy(dy)
    rnn = torch.nn.utils.rnn

    def forward():
        if lengths is None:
            return layer(x)[0]
        rows = rnn.pack_padded_sequence(x, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
        return rnn.pad_packed_sequence(layer(rows)[0], batch_first=True)[0]

    def inference():
        with torch.inference_mode():
            return forward()

    def training_step():
        return torch.autograd.grad(forward(), [x, *layer.parameters()], dy)

    if work == "inference":
        return inference
    x.requires_grad_()
    return training_step
