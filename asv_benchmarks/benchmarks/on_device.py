"""LSTM and GRU on an NVIDIA GPU; skipped where there is none. Every sample waits until the GPU is done."""

from functools import cache

import numpy as np

import fastgate as fg

CELLS = ["LSTM", "GRU"]
SEQUENCES = ["16,256,128,128", "32,256,512,512", "64,256,1024,1024"]


@cache  # asv runs `setup` before every sample
def _prepared(cell, shape):
    """A layer, x and dy, which lie on the device."""
    try:
        from fastgate.cuda import array, missing
    except ImportError:  # an older release
        raise NotImplementedError("this release has no kernels for a GPU") from None
    if (reason := missing()) is not None:
        raise NotImplementedError(reason)
    B, T, I, H = map(int, shape.split(","))
    rng = np.random.default_rng(0)
    layer = getattr(fg, cell)(I, H, seed=0, device="cuda", batch_first=False)
    return layer, *(array(rng.standard_normal((T, B, width)).astype(np.float32)) for width in (I, H))


class _OnDevice:
    version = "1"
    repeat = (5, 200, 0.8)
    param_names = ("cell", "B,T,I,H")
    params = (CELLS, SEQUENCES)

    def setup(self, cell, shape):
        self.layer, self.x, self.dy = _prepared(cell, shape)


class DeviceForward(_OnDevice):
    """Inference: all outputs of a batch."""

    def time_forward(self, cell, shape):
        y, _ = self.layer(self.x)
        y[-1].copy_to_host()


class DeviceTrainingStep(_OnDevice):
    """Forward and backward: the gradients of the input and of every parameter."""

    def time_training_step(self, cell, shape):
        _, _, tape = self.layer.forward(self.x, copy=False)
        self.layer.backward(tape, self.dy).params["bias_hh_l0"].copy_to_host()
