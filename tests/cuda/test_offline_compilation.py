"""All other CUDA kernels compile for a GPU that is not there: float32 stays float32, and no function is called."""

import operator

import numpy as np
import offline
import pytest
from numba import boolean, cuda, float32, float64, int8, int32, int64, types, uint16, uint32, uint64
from numba.core import config

if config.ENABLE_CUDASIM:
    pytest.skip("the simulator does not compile", allow_module_level=True)
if getattr(cuda, "implementation", "") != "NVIDIA":
    pytest.skip("needs numba-cuda", allow_module_level=True)

from fastgate.kernels.cuda import (
    cells,
    dense,
    elementwise,
    moves,
    narrow,
    operands,
    products,
    recurrent_dropout,
    reductions,
    rows,
    small,
    steps,
    tangents,
    weights,
)
from fastgate.kernels.cuda.device_step import make_step
from fastgate.kernels.cuda.direction import _turn_round
from fastgate.kernels.cuda.dropout import _scale, _scale_entries
from fastgate.kernels.cuda.launch import Program

i, lengths, table = int64, int32[::1], int64[::1]


def of_steps(cell, v, size, dtype):
    step, reset, project = steps._forward_kernels(cell, 64, size, dtype)
    units, reset_back, product, show = steps._backward_kernels(cell, 64, size, dtype)
    yield step, (v, v, v, lengths, *[v] * 6, *[i] * 9)
    yield units, (v, i, i, i, v, lengths, *[v] * 8, i, i, i)
    yield product, (v, lengths, v, v, v, i, i, i)
    if reset:
        yield reset, (v, v, lengths, v, v, v, v, i, i, i, i)
        yield reset_back, (v, lengths, v, v, v, v, v, i, i, i)
    if project:
        yield project, (v, v, lengths, v, v, *[i] * 7)
        yield show, (v, i, i, i, lengths, v, v, i, i, i)


def kernels_of(name, dtype):
    """Pairs of a kernel and the types of its arguments."""
    real = float32 if dtype == "float32" else float64
    v, deep, cell = real[::1], types.Array(real, 3, "A"), cells.cell(name, dtype)
    yield from of_steps(cell, v, 64, dtype)
    masked = cell._replace(is_masked=True)
    yield from of_steps(masked, v, 64, dtype)
    if cell.memory:
        yield from of_steps(cells.projected(masked), v, 24, dtype)
    for moving in (False, True):
        move, move_reset = tangents._kernels(cell, 64, moving, name == "gru", dtype)
        read, written = (v, v, v, v, v, lengths, v, v, v, v), (v, v, v, v)
        yield move, (*read, *written, *[i] * 6)
        if move_reset:
            yield move_reset, (*read, *written, i, i, i)
    advance = make_step(cell, 3, 5, 2, dtype)

    @cuda.jit
    def simulate(weights, x, h, c, h_next, c_next):
        n = cuda.grid(1)
        advance(weights, x[n], h[n], c[n], h_next[n], c_next[n])

    deep_c = real[:, :, ::1]
    yield simulate, (v, real[:, ::1], deep_c, deep_c, deep_c, deep_c)
    if name != "lstm":
        return
    for across in (False, True):
        yield products._tiles(across, not across, across, not across, dtype), (v, v, v, v, *[i] * 6)
    yield products._sum_parts, (v, v, i, i)
    yield products._sum_scratch, (v, v, i)
    yield products._repeat, (v, v, i, i)
    yield rows._take, (deep, table, i, i, i, v, i)
    yield rows._put, (v, table, i, i, i, v, i, i)
    yield _scale, (v, i, i, i, table, *[i] * 5, *[uint64] * 4, real)
    yield _turn_round, (v, v, i, i)
    for times_h in (False, True):
        yield operands._take_saved(4, 1, times_h), (v, v, lengths, v, *[i] * 4)
    yield operands._seen((0, 1, 3), 4), (v, v, v, i, i)
    yield recurrent_dropout._draw, (v, i, table, *[i] * 4, *[uint64] * 4, real)
    yield recurrent_dropout._multiply, (v, v, v, *[i] * 5)
    yield weights._biases, (v, v, v, i, i, i)
    yield weights._transpose, (v, v, i, i)
    yield weights._interleave((0, 1, 2, -1)), (v, v, i, i)
    yield weights._separate((-1, 1, 3), 4), (v, v, i, i, i)
    yield elementwise.fill, (v, real, i)
    yield elementwise.kernel_of(operator.sub, elementwise.NUMBER, elementwise.WHOLE), (int32, i, lengths, i, lengths, i)
    yield elementwise.convert, (v, v, i)
    yield elementwise.gather, (deep, v)
    yield from dense_kernels(v, real, dtype)
    if dtype == "float32":
        yield narrow._split, (v, int32[::1], i, i)
        yield small._drop_bits, (uint32[::1], uint16[::1], i)
        yield small._append_bits, (uint16[::1], uint32[::1], i)
        yield small._divide, (v, int8[::1], v, i, i)
        yield small._multiply, (int8[::1], v, v, i, i)
        yield elementwise.convert, (v, types.float16[::1], i)
        yield elementwise.convert, (types.float16[::1], v, i)


def dense_kernels(v, real, dtype):
    """Those of formulas written with NumPy's functions, and of layers without a state."""
    flags, read = boolean[::1], elementwise
    for ufunc, function in elementwise.KNOWN.items():
        out = flags if ufunc in elementwise.COMPARISONS else v
        if ufunc is np.where:
            yield read.kernel_of(function, read.WHOLE, read.WHOLE, read.NUMBER), (flags, i, v, i, real, i, out, i)
        elif getattr(ufunc, "nin", 0) == 1:
            yield read.kernel_of(function, read.WHOLE), (v, i, out, i)
        else:
            yield read.kernel_of(function, read.WHOLE, read.STRETCHED), (v, i, v, i, out, i)
            yield read.kernel_of(function, read.REPEATED, read.NUMBER), (v, i, real, i, out, i)
    yield elementwise.erfc, (v, v, i)
    for kind in (reductions.SUM, reductions.SQUARES, reductions.MAX, reductions.MIN):
        yield reductions.kernel_of(*kind, dtype), (v, v, i, i, i, real, real)
    yield reductions._argmax, (v, table, i)
    yield moves.take, (v, table, v, i)
    yield moves.swap, (v, v, i, i, i)
    yield moves.flip, (v, v, i, i)
    yield moves.columns, (v, i, i, v, i, i, i, i)
    yield moves.pick, (v, table, v, i)
    yield moves.place, (v, table, v, i, i)
    yield dense._add_rows, (v, table, i, i, v, i)
    yield _scale_entries, (v, i, i, i, *[uint64] * 4, real)


@pytest.mark.parametrize("name", ["lstm", "gru", "gru_reset_before"])
def test_what_a_unit_has_lies_in_registers(name, monkeypatch, tmp_path):
    if offline.missing():
        pytest.skip(f"needs {offline.missing()}")
    offline.pretend(monkeypatch)
    for kernel, signature in kernels_of(name, "float32"):
        if kernel.py_func.__name__ in ("step", "reset", "units"):
            compiled = offline.compile_offline(Program(kernel.py_func, 256), signature, tmp_path)
            assert compiled.stack == compiled.spills == 0, kernel.py_func


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", cells.MAKERS)
def test_ptx(name, dtype, monkeypatch):
    offline.pretend(monkeypatch)
    for kernel, signature in kernels_of(name, dtype):
        ptx, _ = cuda.compile(kernel.py_func, signature, cc=(9, 0), device=False, abi="numba", output="ptx")
        assert "call" not in ptx, kernel.py_func
        assert "__local_depot" not in ptx, kernel.py_func
        assert dtype == "float64" or ".f64" not in ptx, kernel.py_func
