"""JAX: a scan over time, compiled."""

import os
import sys
from collections.abc import Callable
from typing import Any

from .case import Case, Run, load

BEST = "jit(lax.scan), time first, the input's product before the loop; block_until_ready"


def configure(threads: int) -> None:
    """JAX takes its number of threads from the environment, once."""
    if "jax" not in sys.modules:
        os.environ["NPROC"] = str(threads)
        os.environ["JAX_PLATFORMS"] = "cpu"
    jax = load("jax")
    if os.environ.get("NPROC") != str(threads):
        raise NotImplementedError("jax: cannot change its number of threads in a process that has loaded it")
    jax.config.update("jax_cpu_enable_async_dispatch", threads > 1)  # 13 in place of 80 us for a small layer
    jax.config.update("jax_enable_x64", True)  # permits float64, and leaves float32 as it is


def prepare(case: Case, threads: int) -> Run:
    jax = load("jax")
    cell = _cell(jax, case.cell)
    b = case.b_ih if case.cell == "GRU" else case.b_ih + case.b_hh
    weights = [jax.numpy.asarray(array) for array in (case.W_ih.T, case.W_hh.T, b, case.b_hh)]

    def sequence(x: Any, weights: Any, start: Any) -> Any:
        W_ih, W_hh, b, b_hh = weights
        return jax.lax.scan(lambda state, a: cell(state, a, W_hh, b_hh), start, x @ W_ih + b)

    def step(x: Any, weights: Any, state: Any) -> Any:
        W_ih, W_hh, b, b_hh = weights
        return cell(state, x @ W_ih + b, W_hh, b_hh)[0]

    return compiled(case, weights, sequence, step)


def compiled(case: Case, weights: list[Any], sequence: Callable[..., Any], step: Callable[..., Any]) -> Run:
    """`sequence` (x, weights, state) -> (state, y), with time first; `step` (x, weights, state) -> state."""
    jax = load("jax")
    x, dy, state = jax.tree.map(jax.numpy.asarray, (case.x, case.dy, case.start()))
    if case.work == "step":
        advance = jax.jit(step)

        def one_step() -> Any:
            nonlocal state
            state = jax.block_until_ready(advance(x, weights, state))
            return state

        return one_step
    x, dy, start = x.swapaxes(0, 1), dy.swapaxes(0, 1), state

    def gradients(x: Any, weights: Any, dy: Any) -> Any:
        _, pull_back = jax.vjp(lambda x, weights: sequence(x, weights, start)[1], x, weights)
        return pull_back(dy)

    infer, derive = jax.jit(lambda x, weights: sequence(x, weights, start)), jax.jit(gradients)

    def inference() -> Any:
        end, y = infer(x, weights)
        return jax.block_until_ready((y, end))

    def training_step() -> Any:
        dx, d_weights = derive(x, weights, dy)
        return jax.block_until_ready([dx, *d_weights])

    return {"inference": inference, "training_step": training_step}[case.work]


def _cell(jax: Any, cell: str) -> Any:
    """One step: the state before and the input's part of the pre-activations in, the state and y out."""
    numpy, sigmoid, tanh = jax.numpy, jax.nn.sigmoid, jax.numpy.tanh

    def lstm(state: Any, a: Any, W_hh: Any, b_hh: Any) -> Any:
        h, c = state
        i, f, g, o = numpy.split(a + h @ W_hh, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(c)
        return (h, c), h

    def gru(state: Any, a: Any, W_hh: Any, b_hh: Any) -> Any:
        (h,) = state
        (a_r, a_z, a_n), (u_r, u_z, u_n) = (numpy.split(p, 3, axis=-1) for p in (a, h @ W_hh + b_hh))
        r, z = sigmoid(a_r + u_r), sigmoid(a_z + u_z)
        h = (1 - z) * tanh(a_n + r * u_n) + z * h
        return (h,), h

    def gru_reset_before(state: Any, a: Any, W_hh: Any, b_hh: Any) -> Any:
        (h,), H = state, W_hh.shape[0]
        r, z = numpy.split(sigmoid(a[:, : 2 * H] + h @ W_hh[:, : 2 * H]), 2, axis=-1)
        h = (1 - z) * tanh(a[:, 2 * H :] + (r * h) @ W_hh[:, 2 * H :]) + z * h
        return (h,), h

    def rnn(state: Any, a: Any, W_hh: Any, b_hh: Any) -> Any:
        h = tanh(a + state[0] @ W_hh)
        return (h,), h

    return {"LSTM": lstm, "GRU": gru, "GRU reset_before": gru_reset_before, "RNN": rnn}[cell]
