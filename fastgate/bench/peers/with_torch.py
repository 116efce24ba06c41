"""PyTorch, eager: torch.compile needs a C++ compiler on the user's machine."""

from typing import Any

from .case import Case, Run, load

BEST = "eager; nn layers under inference_mode, autograd.grad; for a step nn.LSTMCell and its like"


def configure(threads: int) -> None:
    load("torch").set_num_threads(threads)


def prepare(case: Case, threads: int) -> Run:
    if case.cell == "GRU reset_before":
        raise NotImplementedError("torch: has no GRU whose reset gate acts before the product")
    torch = load("torch")
    dtype = getattr(torch, case.x.dtype.name)
    if case.work == "step":  # 2 to 4 times as fast as a sequence of one step
        layer = getattr(torch.nn, f"{case.layer}Cell")(*case.sizes, dtype=dtype)
    else:
        layer = getattr(torch.nn, case.layer)(*case.sizes, batch_first=True, dtype=dtype)
    with torch.no_grad():
        arrays = case.W_ih, case.W_hh, case.b_ih, case.b_hh
        for parameter, array in zip(layer.parameters(), arrays, strict=True):
            parameter.copy_(torch.from_numpy(array))
    x, dy, state = torch.from_numpy(case.x), torch.from_numpy(case.dy), None
    if case.work == "training_step":
        inputs = [x.requires_grad_(), *layer.parameters()]

    def inference() -> Any:
        with torch.inference_mode():
            return layer(x)

    def training_step() -> Any:
        y, _ = layer(x)
        return torch.autograd.grad(y, inputs, dy)

    def step() -> Any:
        nonlocal state
        with torch.inference_mode():
            state = layer(x, state)
        return state if case.cell == "LSTM" else (state,)

    return {"inference": inference, "training_step": training_step, "step": step}[case.work]
