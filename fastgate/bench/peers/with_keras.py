"""Keras on its jax backend; on that for PyTorch it runs operation by operation."""

import os
import sys
from typing import Any

import numpy as np

from . import with_jax
from .case import Case, Run, load

BEST = "jax backend, jit(layer.stateless_call); block_until_ready"
GATES = {"LSTM": "ifgo", "GRU": "zrn", "GRU reset_before": "zrn", "RNN": "n"}


def configure(threads: int) -> None:
    with_jax.configure(threads)
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "jax"
    backend = load("keras").backend.backend()
    if backend != "jax":
        raise NotImplementedError(f"keras: this process has loaded it with its backend {backend}; jax is its fastest")


def prepare(case: Case, threads: int) -> Run:
    keras, jax = load("keras"), load("jax")
    kind = "SimpleRNN" if case.cell == "RNN" else case.layer
    options: dict[str, Any] = {"reset_after": case.cell == "GRU"} if kind == "GRU" else {}
    options |= {"dtype": case.x.dtype.name, "activation": jax.numpy.tanh}  # Keras' own goes through float32
    if case.work == "step":
        layer = getattr(keras.layers, f"{kind}Cell")(case.sizes[1], **options)
    else:
        layer = getattr(keras.layers, kind)(case.sizes[1], return_sequences=True, return_state=True, **options)
    layer.build(case.x.shape)
    W_ih, W_hh, b_ih, b_hh = case.weights(GATES[case.cell])
    b = np.stack([b_ih, b_hh]) if case.cell == "GRU" else b_ih + b_hh
    weights = [jax.numpy.asarray(array) for array in (W_ih.T, W_hh.T, b)]
    rest = [variable.value for variable in layer.non_trainable_variables]

    def sequence(x: Any, weights: Any, start: Any) -> Any:
        (y, *end), _ = layer.stateless_call(weights, rest, x.swapaxes(0, 1), initial_state=list(start))
        return end, y.swapaxes(0, 1)

    def step(x: Any, weights: Any, state: Any) -> Any:
        (_, state), _ = layer.stateless_call(weights, rest, x, list(state))
        return tuple(state)

    return with_jax.compiled(case, weights, sequence, step)
