"""The CUDA step kernels agree with the CPU layers: run with NUMBA_ENABLE_CUDASIM=1 where there is no GPU."""

import numpy as np
import pytest
from numba import cuda
from numba.core import config

import fastgate as fg
from fastgate.kernels.cuda import gru, lstm

pytestmark = pytest.mark.skipif(
    not (config.ENABLE_CUDASIM or cuda.is_available()), reason="needs a GPU, or NUMBA_ENABLE_CUDASIM=1"
)

SIZES = [(1, 1, 1), (2, 3, 5), (5, 2, 9)]  # B, I, H: smaller and larger than a block of threads
BLOCK = (2, 8)
TOLERANCE = {"float32": 2e-6, "float64": 1e-14}  # about ten roundings of a value near 1


def example(B, I, H, dtype):
    rng = np.random.default_rng(0)
    x, h, c = (rng.standard_normal(shape).astype(dtype) for shape in ((B, I), (B, H), (B, H)))
    grid = (-(-B // BLOCK[0]), -(-H // BLOCK[1]))
    return x, h, c, grid


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("B", "I", "H"), SIZES)
def test_lstm_step_equals_the_layer(B, I, H, dtype):
    layer = fg.LSTM(I, H, dtype=dtype, seed=0)
    x, h, c, grid = example(B, I, H, dtype)
    W_ih, W_hh, b_ih, b_hh = (np.array(array) for array in layer.params.values())
    h_next, c_next = np.full_like(h, np.nan), np.full_like(c, np.nan)
    lstm.step_kernel[grid, BLOCK](x, h, c, W_ih, W_hh, b_ih + b_hh, h_next, c_next)
    _, (h_cpu, c_cpu) = layer.step(x, (h[None], c[None]))
    np.testing.assert_allclose(h_next, h_cpu[0], rtol=0, atol=TOLERANCE[dtype])
    np.testing.assert_allclose(c_next, c_cpu[0], rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("B", "I", "H"), SIZES)
def test_gru_step_equals_the_layer(B, I, H, dtype):
    layer = fg.GRU(I, H, dtype=dtype, seed=0)
    x, h, _, grid = example(B, I, H, dtype)
    weights = [np.array(array) for array in layer.params.values()]
    h_next = np.full_like(h, np.nan)
    gru.step_kernel[grid, BLOCK](x, h, *weights, h_next)
    _, h_cpu = layer.step(x, h[None])
    np.testing.assert_allclose(h_next, h_cpu[0], rtol=0, atol=TOLERANCE[dtype])
