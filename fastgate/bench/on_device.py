"""fastgate on a GPU beside PyTorch, which there is cuDNN: microseconds of a time step, by the GPU's own clock."""

from __future__ import annotations

import shutil
import subprocess
from argparse import Namespace
from collections.abc import Callable
from typing import Any

import numpy as np

import fastgate
from fastgate import _errors
from fastgate._kernels import on
from fastgate._terminal import UserError, say
from fastgate.bench import device_report, peers, program
from fastgate.bench.device_report import COLUMNS, Column
from fastgate.bench.peers.case import Case, make_case
from fastgate.bench.shapes import Shape

SHAPES = {
    "inference": "16,512,128,128 16,512,256,256 32,512,512,512 64,512,512,512 32,256,1024,1024 64,256,1024,1024",
    "training_step": "16,512,256,256 32,512,512,512 64,256,1024,1024 128,256,512,512",
}
FEWEST, MOST = 5, 50  # rounds, of which the median counts

Run = Callable[[], Any]


def run(options: Namespace, works: list[str], cells: list[str]) -> int:
    """The exit code."""
    cuda = on("cuda")
    if (missing := cuda.missing()) is not None:
        raise UserError(str(_errors.no_device("cuda", missing)))
    setting = {"device": cuda.device_name()} | program.machine() | _versions(cuda)
    say(f"fastgate {fastgate.__version__} beside PyTorch and its cuDNN on {setting['device']}")
    say(device_report.CAPTION + "\n")
    rows: list[dict[str, Any]] = []
    for cell in cells:
        for work in works:
            chosen = options.shapes or SHAPES[work].split()
            say(f"{cell}, {work.replace('_', ' ')}\n" + device_report.header())
            for text in chosen:
                shape = Shape.parse(text, work)
                row = measure(cuda, work, cell, shape, options.seconds / max(1, len(chosen) * len(works) * len(cells)))
                rows.append(row)
                say(device_report.line(row))
                # After each row: a lease of a GPU may end at any time.
                device_report.write(options.json, options.folder, setting, rows)
    say("\n" + device_report.goals(rows))
    for written in filter(None, (options.json, options.folder)):
        say(f"all figures in {written}")
    return 0


def _versions(cuda: Any) -> dict[str, str]:
    """Of what is measured, besides fastgate and Python."""
    found = {"CUDA of the driver": cuda.driver_version(), "driver": "unknown", "torch": "not installed"}
    if (tool := shutil.which("nvidia-smi")) is not None:
        query = [tool, "--query-gpu=name,driver_version,clocks.max.sm,power.limit", "--format=csv,noheader"]
        said = subprocess.run(query, capture_output=True, text=True, check=False)
        found["driver"] = " / ".join(said.stdout.split("\n")).strip(" /") or "unknown"
    try:
        torch = peers.load("torch")
    except NotImplementedError:
        return found
    return found | {"torch": f"{torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"}


def measure(cuda: Any, work: str, cell: str, shape: Shape, seconds: float) -> dict[str, Any]:
    """Rounds in which everybody takes a turn; why who is missing."""
    case, runs, missing = make_case(work, cell, str(shape), "float32"), dict[Column, Run](), dict[str, str]()
    for column in COLUMNS:
        try:
            make = _ours if column.is_ours else _theirs
            own = make(cuda, case, column.how)
            own()  # compiles
            runs[column] = own
        except Exception as reason:  # whatever a library does not do, or fails to: the others are measured
            missing[str(column)] = f"{type(reason).__name__}: {reason}"
    times: dict[Column, list[float]] = {column: [] for column in runs}
    spent = 0.0
    for number in range(MOST):
        if number >= FEWEST and not spent <= seconds:  # nor if it is NaN, in a simulator
            break
        for column, own in runs.items():
            milliseconds = cuda.elapsed(own)
            spent += milliseconds / 1e3
            times[column].append(1e3 * milliseconds / shape.T)
    medians = {str(column): float(np.median(found)) for column, found in times.items()}
    sizes, training = (cell, shape.H, shape.B), work == "training_step"
    floors = {str(own): cuda.floor(*sizes, training=training, precision=own.how) for own in COLUMNS if own.is_ours}
    return {
        "cell": cell,
        "work": work,
        "shape": shape._asdict(),
        "times": medians,
        "floors": floors,
        "missing": missing,
    }


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
