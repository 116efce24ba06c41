"""LSTM and GRU on an NVIDIA GPU; skipped where there is none. Every sample waits until the GPU is done."""

import numpy as np

import fastgate as fg

CELLS = ["LSTM", "GRU"]
SHAPES = ["16,256,128,128", "32,256,512,512", "64,256,1024,1024"]


class _OnDevice:
    version = "1"
    repeat = (5, 200, 0.8)
    param_names = ("cell", "B,T,I,H")
    params = (CELLS, SHAPES)

    def setup(self, cell, shape):
        try:
            from fastgate.cuda import array, missing
        except ImportError:  # an older release
            raise NotImplementedError("this release has no GPU kernels") from None
        if missing() is not None:
            raise NotImplementedError(missing())
        B, T, I, H = map(int, shape.split(","))
        rng = np.random.default_rng(0)
        self.layer = getattr(fg, cell)(I, H, seed=0, device="cuda", batch_first=False)
        self.x, self.dy = (array(rng.standard_normal((T, B, width)).astype(np.float32)) for width in (I, H))
        self.time(cell, shape)


class Inference(_OnDevice):
    """All outputs of a batch that lies on the device."""

    def time(self, cell, shape):
        y, _ = self.layer(self.x)
        y[-1].copy_to_host()  # waits

    time_inference = time


class Training(_OnDevice):
    """The gradients of the input and of every parameter."""

    def time(self, cell, shape):
        _, _, tape = self.layer.forward(self.x, copy=False)
        gradients = self.layer.backward(tape, self.dy)
        gradients.params["bias_hh_l0"].copy_to_host()

    time_training = time
