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
from fastgate.kernels.cuda.plan import Device, plan_for

if config.ENABLE_CUDASIM:
    pytest.skip("the simulator does not compile", allow_module_level=True)
if offline.missing():
    pytest.skip(f"needs {offline.missing()}", allow_module_level=True)

HOPPER, AMPERE = (9, 0), (8, 0)
RESIDENT, FOR_TENSOR_CORES = Block(8, 8, 8), Block(8, 16, 8)
BACKWARD_ON_TENSOR_CORES = Block(8, 8, 8)

# Cell, H, block, options, architecture; instructions of which there must be some, and exactly how many of them.
FORWARD = {
    "lstm": ("lstm", 1024, RESIDENT, {}, HOPPER, {"LDG.E.128.STRONG.GPU": 16, "HMMA": 0, "BAR.SYNC": 2}),
    "lstm on Ampere": ("lstm", 512, Block(4, 8, 8), {}, AMPERE, {"HMMA": 0, "BAR.SYNC": 2}),
    "peepholes": ("lstm_peepholes", 1024, RESIDENT, {}, HOPPER, {"HMMA": 0, "BAR.SYNC": 2}),
    "coupled": ("lstm_coupled_peepholes", 1024, FOR_TENSOR_CORES, {"precision": "high"}, HOPPER, {"BAR.SYNC": 2}),
    "gru": ("gru", 512, RESIDENT, {}, HOPPER, {"HMMA": 0}),
    "gru_reset_carry": ("gru_reset_carry", 512, RESIDENT, {}, HOPPER, {"HMMA": 0}),
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
    "peepholes": ("lstm_peepholes", 1024, RESIDENT, {}, HOPPER, {"HMMA": 0}),
    "coupled": ("lstm_coupled_peepholes", 1024, RESIDENT, {"precision": "medium"}, HOPPER, {"BAR.SYNC": None}),
    "gru_reset_before": ("gru_reset_before", 512, RESIDENT, {}, HOPPER, {"HMMA": 0, "BAR.SYNC": 4}),
    "gru_reset_carry": ("gru_reset_carry", 512, RESIDENT, {}, HOPPER, {"HMMA": 0, "BAR.SYNC": 4}),
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
    return (A, A, A, *strides, int32[::1], A, A, A, A, A, A, *INTEGERS)


def counted(instructions, name):
    return sum(n for found, n in instructions.items() if found.startswith(name))


def check(program, which, number, folder, architecture=HOPPER):
    """Compiled: all fits, and float32 stays float32."""
    made = offline.compile_offline(program, signature_of(which, number), folder, architecture)
    assert made.registers * program.threads <= 65536
    assert program.shared <= 227 * 1024
    assert number == float64 or ".f64" not in made.ptx
    return made


@pytest.mark.parametrize(
    ("which", "name"), [("forward", name) for name in FORWARD] + [("backward", name) for name in BACKWARD]
)
def test_what_is_compiled(which, name, tmp_path, monkeypatch):
    offline.pretend(monkeypatch)
    make, cases = (make_forward, FORWARD) if which == "forward" else (make_backward, BACKWARD)
    cell_name, H, block, options, architecture, expected = cases[name]
    dtype = options.get("dtype", "float32")
    program = make(cell(cell_name, dtype), H, block, **options)
    made = check(program, which, float64 if dtype == "float64" else float32, tmp_path, architecture)
    assert (made.stack, made.spills) == (0, 0)
    if block.cluster == 1:  # a NaN that came in is published as the usual one, never as `UNSET`
        assert ("0f7FC00000" if dtype == "float32" else "0d7FF8000000000000") in made.ptx
    found = {instruction: counted(made.instructions, instruction) for instruction in expected}
    assert all(found[key] == count if count is not None else found[key] > 0 for key, count in expected.items()), found


PLANNED = {64: (32, "lstm"), 256: (64, "gru"), 512: (16, "gru_reset_before"), 1024: (64, "lstm")}  # H: B and the cell
SIXTEEN_BITS = {"bfloat16": "HMMA.16816.F32.BF16", "float16": "HMMA.16816.F32"}


@pytest.mark.parametrize(
    ("which", "precision"), [("forward", "bfloat16"), ("backward", "bfloat16"), ("forward", "float16")]
)
@pytest.mark.parametrize("H", PLANNED)
def test_what_is_planned_for_16_bits(H, which, precision, tmp_path, monkeypatch):
    """Every warp multiplies its part of W once for each 16 rows, or 8, of the operand; no step waits for what spilled.

    While W comes, before the first step, some may: compilers have much of it under way as float32.
    """
    offline.pretend(monkeypatch)
    B, name = PLANNED[H]
    choice = getattr(plan_for(cell(name, "float32"), H, B, precision=precision, device=Device()), which)
    found = check(choice.program, which, float32, tmp_path).in_loops
    assert {name for name in found if name.startswith("HMMA")} == {SIXTEEN_BITS[precision]}
    assert 2 * found[SIXTEEN_BITS[precision]] >= choice.program.words  # small loops are unrolled
    assert [name for name in found if name.startswith(("LDL", "STL"))] == []


def test_what_is_measured_compiles(tmp_path, monkeypatch):
    """And nothing is left out because nobody needs it."""
    offline.pretend(monkeypatch)
    kernels = {
        measure.hand_over: "LDG.E.128.STRONG.GPU",
        measure.make_reading(True): "LDG.E.128.STRONG.GPU",
        measure.make_reading(False): "LDG.E.128.STRONG.GPU",
        measure.make_meetings(4): "UCGABAR_ARV",
        measure.make_sending(4): "ST",
        measure.make_multiplying(float32): "FFMA",
        measure.make_multiplying(float64): "DFMA",
        measure.make_mma("medium"): "HMMA.1688.F32.TF32",
        measure.make_mma("float16"): "HMMA.16816.F32",
    }
    for function, instruction in kernels.items():
        made = offline.compile_offline(Program(function, measure.THREADS), (float32[::1], int64), tmp_path)
        assert made.spills == 0
        assert counted(made.in_loops, instruction) >= 1, (instruction, made.in_loops)
