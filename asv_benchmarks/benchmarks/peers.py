"""The same work in every library, ready to be timed: compiled, run once, and in its best configuration."""

import os
from functools import cache

import numpy as np

LIBRARIES = ["fastgate", "torch"]
CELLS = ["LSTM", "GRU"]


@cache
def prepare(work, library, cell, shape):
    """A function without arguments that does `work` ("forward", "training_step" or "step") once.

    Kept for the process, because asv runs `setup` before every sample. `shape`: "B,T,I,H", or "B,I,H" for a step.
    """
    *batch_and_time, I, H = map(int, shape.split(","))
    x = np.random.default_rng(0).standard_normal((*batch_and_time, I), np.float32)
    run = WORK[library, work](load(library), cell, x, I, H)
    run()
    run()
    return run


def load(library):
    try:
        if library == "torch":
            import torch

            torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
            return torch
        import fastgate

        return fastgate
    except ImportError:
        raise NotImplementedError(f"{library} is not installed") from None  # asv skips the case


def fastgate_forward(fastgate, cell, x, I, H):
    layer = getattr(fastgate, cell)(I, H, seed=0)
    return lambda: layer(x)


def fastgate_training_step(fastgate, cell, x, I, H):
    layer = getattr(fastgate, cell)(I, H, seed=0)
    dy = np.ones((*x.shape[:-1], H), np.float32)

    def run():
        _, _, tape = layer.forward(x)
        return layer.backward(tape, dy)

    return run


def fastgate_step(fastgate, cell, x, I, H):
    layer = getattr(fastgate, cell)(I, H, seed=0)
    _, state = layer.step(x)

    def run():
        nonlocal state
        y, state = layer.step(x, state)
        return y

    return run


def torch_forward(torch, cell, x, I, H):
    layer, x = getattr(torch.nn, cell)(I, H, batch_first=True).eval(), torch.from_numpy(x)

    def run():
        with torch.inference_mode():
            return layer(x)

    return run


def torch_training_step(torch, cell, x, I, H):
    layer = getattr(torch.nn, cell)(I, H, batch_first=True)
    x = torch.from_numpy(x).requires_grad_()
    inputs = [x, *layer.parameters()]
    dy = torch.ones((*x.shape[:-1], H))

    def run():
        y, _ = layer(x)
        return torch.autograd.grad(y, inputs, dy)

    return run


def torch_step(torch, cell, x, I, H):
    layer, x = getattr(torch.nn, f"{cell}Cell")(I, H).eval(), torch.from_numpy(x)  # 2 to 4 times as fast as nn.LSTM
    state = None

    def run():
        nonlocal state
        with torch.inference_mode():
            state = layer(x, state)
        return state[0] if cell == "LSTM" else state

    return run


WORK = {
    ("fastgate", "forward"): fastgate_forward,
    ("fastgate", "training_step"): fastgate_training_step,
    ("fastgate", "step"): fastgate_step,
    ("torch", "forward"): torch_forward,
    ("torch", "training_step"): torch_training_step,
    ("torch", "step"): torch_step,
}
