"""All other CUDA kernels compile for a GPU that is not there: float32 stays float32, and no function is called."""

import offline
import pytest
from numba import cuda, float32, float64, int8, int32, int64, types, uint16, uint32, uint64
from numba.core import config

if config.ENABLE_CUDASIM:
    pytest.skip("the simulator does not compile", allow_module_level=True)
if getattr(cuda, "implementation", "") != "NVIDIA":
    pytest.skip("needs numba-cuda", allow_module_level=True)

from fastgate.kernels.cuda import cells, elementwise, narrow, products, rows, small, steps, weights
from fastgate.kernels.cuda.device_step import make_step
from fastgate.kernels.cuda.direction import _reset_states, _turn_round
from fastgate.kernels.cuda.dropout import _scale

i, lengths, table = int64, int32[::1], int64[::1]


def kernels_of(name, dtype):
    """Pairs of a kernel and the types of its arguments."""
    real = float32 if dtype == "float32" else float64
    v, deep, cell = real[::1], types.Array(real, 3, "A"), cells.cell(name, dtype)
    step, reset = steps._forward_kernels(cell, 64, dtype)
    units, reset_back, product = steps._backward_kernels(cell, 64, dtype)
    yield step, (v, v, v, lengths, v, v, v, v, v, *[i] * 9)
    yield units, (v, i, i, i, lengths, v, v, v, v, v, v, i, i, i)
    yield product, (v, lengths, v, v, i, i, i)
    if reset:
        yield reset, (v, v, lengths, v, v, v, i, i, i, i)
        yield reset_back, (v, lengths, v, v, v, v, i, i, i)
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
        yield products._tiles(across, not across, across, not across, dtype), (v, v, v, v, i, i, i, i)
    yield products._sum_parts, (v, v, i, i)
    yield products._sum_scratch, (v, v, i)
    yield products._repeat, (v, v, i, i)
    yield rows._take, (deep, table, i, i, i, v, i)
    yield rows._put, (v, table, i, i, i, v, i, i)
    yield _scale, (v, i, i, i, table, *[i] * 5, *[uint64] * 4, real)
    yield _turn_round, (v, v, i, i)
    yield _reset_states, (v, v, lengths, v, *[i] * 5)
    yield weights._biases, (v, v, v, v, i, i, i)
    yield weights._transpose, (v, v, i, i)
    yield weights._interleave((0, 1, 2, -1)), (v, v, i, i)
    yield weights._separate((0, 1, 3), 4), (v, v, i, i)
    yield elementwise.fill, (v, real, i)
    yield elementwise.convert, (v, v, i)
    yield elementwise.gather, (deep, v)
    if dtype == "float32":
        yield narrow._split, (v, int32[::1], i, i)
        yield small._drop_bits, (uint32[::1], uint16[::1], i)
        yield small._append_bits, (uint16[::1], uint32[::1], i)
        yield small._divide, (v, int8[::1], v, i, i)
        yield small._multiply, (int8[::1], v, v, i, i)
        yield elementwise.convert, (v, types.float16[::1], i)
        yield elementwise.convert, (types.float16[::1], v, i)
    for function in elementwise.OF_ONE.values():
        yield elementwise._of_one(function), (v, v, i)
    for function in elementwise.OF_TWO.values():
        yield elementwise._of_two(function, False, False), (v, v, v, i)
        yield elementwise._of_two(function, False, True), (v, real, v, i)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["lstm", "gru", "gru_reset_before", "rnn_tanh"])
def test_ptx(name, dtype, monkeypatch):
    offline.pretend(monkeypatch)
    for kernel, signature in kernels_of(name, dtype):
        ptx, _ = cuda.compile(kernel.py_func, signature, cc=(9, 0), device=False, abi="numba", output="ptx")
        assert "call" not in ptx, kernel.py_func
        assert dtype == "float64" or ".f64" not in ptx, kernel.py_func
