"""The persistent kernels, compiled for GPUs that are not there: what they need fits, and they do what they should.

Where numba-cuda and tools of the CUDA toolkit are: `pip install -e ".[cuda]" -r tests/cuda/requirements.txt`.
"""

import measure
import offline
import pytest
from numba import float32, float64, int32, int64
from numba.core import config

from fastgate.kernels.cuda.blocks import Block
from fastgate.kernels.cuda.cells import cell
from fastgate.kernels.cuda.launch import Program
from fastgate.kernels.cuda.persistent import make_forward
from fastgate.kernels.cuda.persistent_backward import make_backward

if config.ENABLE_CUDASIM:
    pytest.skip("the simulator does not compile", allow_module_level=True)
if offline.missing():
    pytest.skip(f"needs {offline.missing()}", allow_module_level=True)

HOPPER, AMPERE = (9, 0), (8, 0)
RESIDENT, FOR_TENSOR_CORES = Block(8, 8, 8), Block(8, 16, 8)
BACKWARD_ON_TENSOR_CORES = Block(8, 8, 8)

# Cell, H, block, options, architecture; instructions of which there must be some, and exactly how many of them.
FORWARD = {
    "lstm": ("lstm", 1024, RESIDENT, {}, HOPPER, {"LDG.E.128.STRONG.GPU": 8, "HMMA": 0, "BAR.SYNC": 2}),
    "lstm on Ampere": ("lstm", 512, Block(4, 8, 8), {}, AMPERE, {"HMMA": 0, "BAR.SYNC": 2}),
    "gru": ("gru", 512, RESIDENT, {}, HOPPER, {"HMMA": 0}),
    "gru_reset_before, an odd H": ("gru_reset_before", 250, Block(2, 8, 8), {}, HOPPER, {"HMMA": 0, "BAR.SYNC": 4}),
    "rnn in inference": ("rnn_tanh", 512, RESIDENT, {"keeps": False}, HOPPER, {"STG.E.128": 0}),
    "float64": ("lstm", 256, Block(4, 8, 8), {"dtype": "float64"}, HOPPER, {"FFMA": None}),
    "bfloat16 three times": (
        *("lstm", 1024, FOR_TENSOR_CORES, {"precision": "high"}, HOPPER), {"HMMA.16816.F32.BF16": 96},
    ),
    "TF32": ("lstm", 1024, FOR_TENSOR_CORES, {"precision": "medium"}, AMPERE, {"HMMA.1688.F32.TF32": 64}),
    "float16": ("gru", 1024, FOR_TENSOR_CORES, {"precision": "float16"}, HOPPER, {"HMMA.16816.F32": 24}),
    "a cluster": ("lstm", 128, Block(32, 8, 8, cluster=4), {}, HOPPER, {"LDG.E.128.STRONG.GPU": 0, "UCGABAR": None}),
    "columns shared": (
        *("lstm", 1024, Block(8, 32, 8, together=8), {"precision": "high"}, HOPPER),
        {"HMMA.16816.F32.BF16": 96, "UCGABAR": None},
    ),
    "streamed": ("lstm", 2048, Block(16, 8, 8, streams=True), {}, HOPPER, {"HMMA": 0}),
}  # fmt: skip
BACKWARD = {
    "lstm": ("lstm", 1024, RESIDENT, {}, HOPPER, {"LDG.E.128.STRONG.GPU": 8, "STG.E.128.STRONG.GPU": 1, "HMMA": 0}),
    "gru_reset_before": ("gru_reset_before", 512, RESIDENT, {}, HOPPER, {"HMMA": 0, "BAR.SYNC": 4}),
    "gru": ("gru", 1024, RESIDENT, {}, HOPPER, {"HMMA": 0}),
    "three numbers of float64": (
        *("gru_reset_before", 128, Block(4, 8, 8), {"dtype": "float64"}, HOPPER), {"STG.E.128.STRONG.GPU": 0},
    ),
    "TF32": ("lstm", 1024, BACKWARD_ON_TENSOR_CORES, {"precision": "medium"}, AMPERE, {"HMMA.1688.F32.TF32": 64}),
    "columns shared": (
        *("lstm", 1024, Block(8, 32, 8, together=8), {"precision": "high"}, HOPPER), {"HMMA.16816.F32.BF16": 96},
    ),
    "bfloat16 three times": (
        *("lstm", 512, BACKWARD_ON_TENSOR_CORES, {"precision": "high"}, HOPPER), {"HMMA.16816.F32.BF16": 48},
    ),
    "a cluster": ("gru", 128, Block(32, 8, 8, cluster=4), {}, HOPPER, {"LDG.E.128.STRONG.GPU": 0}),
}  # fmt: skip
INTEGERS = (int32[::1], int32, int64, int64)  # error, reverse, T, B


def signature_of(which, number):
    A, strides = number[::1], (int64, int64, int64)
    if which == "forward":
        return (A, A, A, int32[::1], A, A, A, A, A, *strides, *INTEGERS)
    return (A, A, *strides, int32[::1], A, A, A, A, A, A, *INTEGERS)


def counted(instructions, name):
    return sum(n for found, n in instructions.items() if found.startswith(name))


@pytest.mark.parametrize(
    ("which", "name"), [("forward", name) for name in FORWARD] + [("backward", name) for name in BACKWARD]
)
def test_what_is_compiled(which, name, tmp_path, monkeypatch):
    offline.pretend(monkeypatch)
    make, cases = (make_forward, FORWARD) if which == "forward" else (make_backward, BACKWARD)
    cell_name, H, block, options, architecture, expected = cases[name]
    dtype = options.get("dtype", "float32")
    program = make(cell(cell_name, dtype), H, block, **options)
    number = float64 if dtype == "float64" else float32
    made = offline.compile_offline(program, signature_of(which, number), tmp_path, architecture)
    assert (made.stack, made.spills) == (0, 0)
    assert made.registers * block.threads <= 65536
    assert program.shared <= 227 * 1024
    assert dtype == "float64" or ".f64" not in made.ptx
    if block.cluster == 1:  # a NaN that came in is published as the usual one, never as `UNSET`
        assert ("0f7FC00000" if dtype == "float32" else "0d7FF8000000000000") in made.ptx
    found = {instruction: counted(made.instructions, instruction) for instruction in expected}
    assert all(found[key] == count if count is not None else found[key] > 0 for key, count in expected.items()), found


def test_what_is_measured_compiles(tmp_path, monkeypatch):
    """And hands over, in the simulator."""
    offline.pretend(monkeypatch)
    for function in (measure.hand_over, measure.read_together, measure.make_meetings(4)):
        made = offline.compile_offline(Program(function, measure.THREADS), (float32[::1], int64), tmp_path)
        assert made.spills == 0
