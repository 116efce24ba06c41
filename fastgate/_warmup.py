"""Compile every kernel once, so that no later process has to."""

from collections.abc import Iterable
from time import perf_counter
from typing import Any

import numpy as np

from fastgate import _info
from fastgate._kernels import cpu, jit
from fastgate._recurrent import Recurrent
from fastgate._terminal import UserError, say
from fastgate.gru import GRU
from fastgate.linear import Linear
from fastgate.lstm import LSTM
from fastgate.rnn import RNN

LAYERS: dict[str, tuple[type[Recurrent], dict[str, Any]]] = {
    "lstm": (LSTM, {}),
    "gru": (GRU, {}),
    "gru_reset_before": (GRU, {"reset_after": False}),
    "gru_reset_carry": (GRU, {"reset_after": False, "reset_carry": True}),
    "rnn_tanh": (RNN, {}),
    "rnn_relu": (RNN, {"nonlinearity": "relu"}),
}


def run(cells: Iterable[str], dtypes: Iterable[str]) -> int:
    if jit.cache_directory() is None:
        raise UserError(f"nothing to warm up, because nothing would be kept; kernel cache: {_info.cache_state()}")
    say(f"kernel cache: {_info.cache_state()}")
    begin = perf_counter()
    for dtype in dtypes:
        for cell in cells:
            start = perf_counter()
            warm_up(cell, dtype)  # which may have a line to say of its own
            say(f"{cell:18}{dtype:9}{perf_counter() - start:6.1f} s")
    say(f"{'all':27}{perf_counter() - begin:6.1f} s")
    return 0


def warm_up(cell: str, dtype: str) -> None:
    """Run everything that has a kernel, on tiny arrays."""
    make, options = LAYERS[cell]
    layer = make(2, 3, 2, dropout=0.5, dtype=dtype, seed=0, **options)
    x = np.ones((2, 4, 2), dtype)
    y, state = layer(x)
    layer.step(x[:, 0], state)
    y, state, tape = layer.forward(x, state, lengths=[4, 2], rng_key=0)
    layer.backward(tape, y, state)
    cpu.team.warm_up()
    output = Linear(3, 2, dtype=dtype, seed=0)
    scores, linear_tape = output.forward(y)
    output.backward(linear_tape, scores)
