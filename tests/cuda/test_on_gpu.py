"""On a real GPU, `pytest -m gpu`: what is chosen there gives what the CPU gives, and always the same bits."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
from numba import cuda as numba_cuda

import fastgate as fg
import fastgate.cuda
from fastgate.cuda import array

pytestmark = pytest.mark.gpu

SIZES = [(1, 5, 3, 16), (7, 33, 20, 100), (32, 64, 64, 256), (40, 20, 100, 777), (8, 16, 32, 1024), (5, 12, 16, 2048)]
# Relative to the largest entry: roundings of products over H, of gradients over all rows.
TOLERANCE = {"highest": 3e-5, "high": 3e-4, "medium": 3e-2}
CELLS = {
    "lstm": (fg.LSTM, {}),
    "gru": (fg.GRU, {}),
    "gru reset before": (fg.GRU, {"reset_after": False}),
    "rnn": (fg.RNN, {}),
}


def close(own, expected, tolerance):
    error = np.max(np.abs(np.asarray(own, np.float64) - expected)) / max(1e-30, np.max(np.abs(expected)))
    assert error < tolerance, f"{error:.2g} of the largest entry"


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("name", CELLS)
def test_float32_against_float64(name, sizes, precision):
    kind, options = CELLS[name]
    B, T, I, H = sizes
    layer = kind(I, H, seed=0, device="cuda", precision=precision, bidirectional=H < 500, **options)
    truth = layer.replace(device="cpu", dtype="float64")  # the same weights
    rng = np.random.default_rng(0)
    x, lengths = rng.standard_normal((B, T, I)), rng.integers(1, T + 1, B)
    y, _, tape = truth.forward(x, lengths=lengths)
    dy = rng.standard_normal(y.shape)
    own, _, own_tape = layer.forward(x, lengths=lengths)
    close(own, y, TOLERANCE[precision])
    close(layer(x, lengths=lengths)[0], y, TOLERANCE[precision])
    expected, found = truth.backward(tape, dy), layer.backward(own_tape, dy)
    close(found.x, expected.x, 10 * TOLERANCE[precision])
    close(found.params.flat, expected.params.flat, 10 * TOLERANCE[precision])
    again = layer.backward(layer.forward(x, lengths=lengths)[2], dy)
    np.testing.assert_array_equal(np.asarray(again.params.flat), np.asarray(found.params.flat))


@pytest.mark.parametrize("name", CELLS)
def test_float64(name):
    kind, options = CELLS[name]
    layer = kind(20, 65, seed=0, device="cuda", dtype="float64", **options)
    x = np.random.default_rng(0).standard_normal((6, 30, 20))
    truth = layer.to("cpu")
    y, _, tape = truth.forward(x)
    own, _, own_tape = layer.forward(x)
    close(own, y, 1e-13)
    close(layer.backward(own_tape, y).params.flat, truth.backward(tape, y).params.flat, 1e-11)


def test_more_steps_than_a_grid_has_rows():
    layer = fg.GRU(2, 16, seed=0, device="cuda")
    x = np.random.default_rng(0).standard_normal((1, 70_000, 2)).astype(np.float32)
    close(layer(x)[0], layer.to("cpu")(x)[0], 1e-4)


def test_a_race_would_give_other_bits():
    layer = fg.LSTM(64, 512, seed=0, device="cuda")
    x = array(np.random.default_rng(0).standard_normal((64, 100, 64)).astype(np.float32))
    first = np.asarray(layer(x)[0])
    for _ in range(20):
        np.testing.assert_array_equal(np.asarray(layer(x)[0]), first)


def test_a_loop_allocates_nothing():
    layer = fg.LSTM(64, 256, seed=0, device="cuda", bidirectional=True)
    x = array(np.ones((16, 20, 64), np.float32))
    room = []
    for n in range(200):
        y, _, tape = layer.forward(x)
        layer.backward(tape, y)
        if n in (3, 199):
            numba_cuda.synchronize()
            room.append(numba_cuda.current_context().get_memory_info().free)
    assert room[0] == room[1]


def test_a_full_device_is_an_error_and_no_end():
    with pytest.raises(MemoryError, match="no room"):
        fg.cuda.DeviceArray.of((1 << 45,), np.float32)
    assert np.asarray(array(np.ones(3))).sum() == 3


def test_pytorch_shares_memory_and_streams(torch):
    if not torch.cuda.is_available():
        pytest.skip("this build of PyTorch has no CUDA")
    layer = fg.LSTM(16, 128, seed=0, device="cuda")
    module = fg.to_torch(layer.to("cpu")).cuda()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        x = torch.randn(8, 50, 16, device="cuda")
        y = torch.from_dlpack(layer(x)[0])
        expected = module(x)[0]
        assert float((y - expected).abs().max()) < 1e-4
    assert y.is_cuda


def test_sanitizer_finds_nothing():
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        pytest.skip("needs compute-sanitizer")
    program = "import numpy as np, fastgate as fg; l = fg.GRU(8, 64, seed=0, device='cuda'); x = np.ones((4, 6, 8)); "
    program += "y, _, tape = l.forward(x); l.backward(tape, y)"
    done = subprocess.run(
        [tool, "--error-exitcode", "7", sys.executable, "-c", program], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:]
