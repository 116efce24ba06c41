"""fastgate on a GPU beside PyTorch, which there is cuDNN: microseconds of a time step, by the GPU's own clock."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import fastgate
from fastgate import _errors, _info
from fastgate._kernels import on
from fastgate._terminal import UserError, say
from fastgate.bench import peers, report
from fastgate.bench.peers.case import Case, make_case
from fastgate.bench.shapes import Shape

SHAPES = {
    "inference": "16,512,128,128 16,512,256,256 32,512,512,512 64,512,512,512 32,256,1024,1024 64,256,1024,1024",
    "training_step": "16,512,256,256 32,512,512,512 64,256,1024,1024 128,256,512,512",
}
OURS = ("highest", "high", "medium")
THEIRS = ("float32", "tf32", "float16", "bfloat16")  # as PyTorch computes: its parameters and input, or its products
FEWEST, MOST = 5, 50  # rounds, of which the median counts

Run = Callable[[], Any]


class Column(NamedTuple):
    """Who computes how."""

    library: str
    how: str

    def __str__(self) -> str:
        return f"{'fastgate' if self.library == 'ours' else 'torch'} {self.how}"


COLUMNS = (*(Column("ours", how) for how in OURS), *(Column("theirs", how) for how in THEIRS))


def run(options: Namespace, works: list[str], cells: list[str]) -> int:
    """The exit code."""
    cuda = on("cuda")
    if (missing := cuda.missing()) is not None:
        raise UserError(str(_errors.no_device("cuda", missing)))
    setting = {"device": cuda.device_name(), "fastgate": fastgate.__version__, **_info.describe()}
    say(f"fastgate {fastgate.__version__} beside PyTorch and its cuDNN on {setting['device']}")
    say("microseconds of a time step, by CUDA events: medians of rounds in turn; floor: the model of plan.py\n")
    rows: list[dict[str, Any]] = []
    for cell in cells:
        for work in works:
            if work not in SHAPES:
                raise UserError("--mode: on a GPU inference and training are measured, no single steps")
            chosen = options.shapes or SHAPES[work].split()
            say(f"{cell}, {work.replace('_', ' ')}\n" + header())
            for text in chosen:
                shape = Shape.parse(text, work)
                row = measure(cuda, work, cell, shape, options.seconds / max(1, len(chosen) * len(works) * len(cells)))
                rows.append(row)
                say(line(shape, row))
    if options.json is not None:
        report.write(options.json, json.dumps({"setting": setting, "rows": rows}, indent=1))
        say(f"\nall figures in {options.json}")
    return 0


def header() -> str:
    return (
        "".join(f"{name:>5}" for name in Shape._fields) + "".join(f"{column!s:>17}" for column in COLUMNS) + "    floor"
    )


def line(shape: Shape, row: dict[str, Any]) -> str:
    times = "".join(f"{_figure(row['times'].get(str(column))):>17}" for column in COLUMNS)
    return "".join(f"{size:5}" for size in shape) + times + f"{_figure(row['floor']):>9}"


def _figure(microseconds: float | None) -> str:
    return "-" if microseconds is None else f"{microseconds:.2f}"


def measure(cuda: Any, work: str, cell: str, shape: Shape, seconds: float) -> dict[str, Any]:
    """Rounds in which everybody takes a turn; why who is missing."""
    case, runs, missing = make_case(work, cell, str(shape), "float32"), dict[Column, Run](), dict[str, str]()
    for column in COLUMNS:
        try:
            make = _ours if column.library == "ours" else _theirs
            own = make(cuda, case, column.how)
            own()  # compiles
            runs[column] = own
        except NotImplementedError as reason:
            missing[str(column)] = str(reason)
    times: dict[Column, list[float]] = {column: [] for column in runs}
    spent = 0.0
    for number in range(MOST):
        if number >= FEWEST and spent > seconds:
            break
        for column, own in runs.items():
            milliseconds = cuda.elapsed(own)
            spent += milliseconds / 1e3
            times[column].append(1e3 * milliseconds / shape.T)
    medians = {str(column): float(np.median(found)) for column, found in times.items()}
    floor = cuda.floor(cell, shape.H, shape.B, training=work == "training_step")
    return {"cell": cell, "work": work, "shape": shape._asdict(), "times": medians, "floor": floor, "missing": missing}


def _ours(cuda: Any, case: Case, precision: str) -> Run:
    kind = getattr(fastgate, case.layer)
    options = {"reset_after": case.cell != "GRU reset_before"} if case.layer == "GRU" else {}
    layer = kind(*case.sizes, device="cuda", precision=precision, batch_first=False, **options)
    names = [name for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0") if name in layer.params]
    layer.params.update(dict(zip(names, (case.W_ih, case.W_hh, case.b_ih, case.b_hh), strict=False)))
    x, dy = (cuda.from_host(np.ascontiguousarray(part.swapaxes(0, 1))) for part in (case.x, case.dy))
    if case.work == "inference":
        return lambda: layer(x)

    def training_step() -> Any:
        _, _, tape = layer.forward(x, copy=False)
        return layer.backward(tape, dy)

    return training_step


def _theirs(cuda: Any, case: Case, how: str) -> Run:
    """PyTorch's module on the GPU: time first, which is what cuDNN takes as it is."""
    if case.cell == "GRU reset_before":
        raise NotImplementedError("torch: has no such cell")
    torch = peers.load("torch")
    if not torch.cuda.is_available():
        raise NotImplementedError("torch: this build of it has no CUDA")
    dtype = getattr(torch, "float32" if how == "tf32" else how)
    module = getattr(torch.nn, case.layer)(*case.sizes).to("cuda", dtype)
    x, dy = (torch.from_numpy(part).swapaxes(0, 1).contiguous().to("cuda", dtype) for part in (case.x, case.dy))

    def allow_tf32() -> None:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = how == "tf32"

    def inference() -> Any:
        allow_tf32()
        with torch.inference_mode():
            return module(x)

    def training_step() -> Any:
        allow_tf32()
        inputs = [x.requires_grad_(), *module.parameters()]
        return torch.autograd.grad(module(x)[0], inputs, dy)

    return inference if case.work == "inference" else training_step
