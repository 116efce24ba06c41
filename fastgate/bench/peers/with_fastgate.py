"""fastgate by its public names."""

from typing import Any

from .case import Case, Run, load

BEST = "layer(x); layer.forward and backward; layer.step"


def configure(threads: int) -> None:
    load("fastgate").set_num_threads(threads)


def prepare(case: Case, threads: int) -> Run:
    fastgate, x = load("fastgate"), case.x
    single_bias = case.cell == "GRU reset_before"
    options = {"reset_after": False} if single_bias else {}
    biases = {"bias_l0": case.b_ih} if single_bias else {"bias_ih_l0": case.b_ih, "bias_hh_l0": case.b_hh}
    layer = getattr(fastgate, case.layer)(*case.sizes, dtype=x.dtype, **options)
    layer.params.update({"weight_ih_l0": case.W_ih, "weight_hh_l0": case.W_hh, **biases})
    state = None

    def inference() -> Any:
        return layer(x)

    def training_step() -> Any:
        _, _, tape = layer.forward(x)
        gradients = layer.backward(tape, case.dy)
        return [gradients.x, *gradients.params.values()]

    def step() -> Any:
        nonlocal state
        y, state = layer.step(x, state)
        return y, state

    return {"inference": inference, "training_step": training_step, "step": step}[case.work]
