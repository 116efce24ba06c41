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
TOLERANCE = {"highest": 3e-5, "high": 3e-4, "medium": 3e-2, "bfloat16": 1e-1, "float16": 3e-2}
CELLS = {
    "lstm": (fg.LSTM, {}),
    "lstm coupled": (fg.LSTM, {"coupled": True, "peepholes": True}),
    "gru": (fg.GRU, {}),
    "gru reset before": (fg.GRU, {"reset_after": False}),
    "gru reset carry": (fg.GRU, {"reset_after": False, "reset_carry": True}),
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


BY_STEPS = {
    "lstm all": (fg.LSTM, {"proj_size": 20, "coupled": True, "peepholes": True, "recurrent_dropout": 0.3}),
    "gru masked": (fg.GRU, {"recurrent_dropout": 0.3}),
    "gru reset carry masked": (fg.GRU, {"reset_after": False, "reset_carry": True, "recurrent_dropout": 0.3}),
}


@pytest.mark.parametrize("name", [*CELLS, *BY_STEPS])
def test_float64(name):
    kind, options = (CELLS | BY_STEPS)[name]
    layer = kind(20, 65, seed=0, device="cuda", dtype="float64", **options)
    x = np.random.default_rng(0).standard_normal((6, 30, 20))
    truth = layer.to("cpu")
    y, _, tape = truth.forward(x, rng_key=1)
    own, _, own_tape = layer.forward(x, rng_key=1)
    close(own, y, 1e-13)
    close(layer.backward(own_tape, y).params.flat, truth.backward(tape, y).params.flat, 1e-11)


@pytest.mark.parametrize("name", CELLS)
def test_recompute_samples_and_tangents(name):
    kind, options = CELLS[name]
    layer = kind(20, 65, seed=0, device="cuda", dtype="float64", bidirectional=True, **options)
    truth, rng = layer.to("cpu"), np.random.default_rng(0)
    x, reset = rng.standard_normal((6, 90, 20)), rng.random((6, 90)) < 0.05
    y, _, tape = truth.forward(x, reset=reset)
    expected, each = truth.backward(tape, y), truth.backward(tape, y, per_sample=True)
    for recompute in ("auto", 7):
        own = layer.forward(x, reset=reset, recompute=recompute)[2]
        assert own.nbytes < layer.forward(x, reset=reset)[2].nbytes
        found = layer.backward(own, y)
        close(found.x, expected.x, 1e-11)
        close(found.params.flat, expected.params.flat, 1e-11)
    found = layer.backward(layer.forward(x, reset=reset)[2], y, per_sample=True)
    close(found.params.flat, each.params.flat, 1e-11)
    close(found.params["weight_hh_l0"], each.params["weight_hh_l0"], 1e-11)
    moves = {"dx": rng.standard_normal(x.shape), "dparams": truth.params.flat, "reset": reset}
    close(layer.jvp(x, **moves)[2], truth.jvp(x, **moves)[2], 1e-11)


def test_gradients_of_each_sequence_by_cublas():
    for dtype, tolerance in (("float32", 1e-5), ("float64", 1e-12)):
        layer = fg.LSTM(24, 72, seed=0, device="cuda", dtype=dtype)
        x = array(np.random.default_rng(0).standard_normal((9, 30, 24)).astype(dtype))
        y, _, tape = layer.forward(x)
        each = np.asarray(layer.backward(tape, y, per_sample=True).params.flat, np.float64)
        close(each.sum(axis=0), np.asarray(layer.backward(tape, y).params.flat, np.float64), tolerance)


def test_ensembles_and_streams():
    ensemble = fg.Ensemble.of(fg.GRU(8, 32, device="cuda"), 3, seed=0)
    twin = fg.Ensemble(member.to("cpu") for member in ensemble.members)
    x = np.random.default_rng(0).standard_normal((4, 10, 8)).astype(np.float32)
    (y, _, tape), (own, _, own_tape) = twin.forward(x), ensemble.forward(array(x))
    close(own, y, 1e-5)
    close(ensemble.backward(own_tape, own).params.flat, twin.backward(tape, y).params.flat, 1e-4)
    stream = ensemble.members[0].stream(4)
    close(np.stack([stream.push(array(np.ascontiguousarray(x[:, t]))) for t in range(10)], 1), y[0], 1e-5)


def test_a_model_learns_what_it_does_on_the_cpu_and_always_the_same():
    rng, finals = np.random.default_rng(0), []
    x, y = rng.integers(0, 500, (64, 40)), rng.integers(0, 1000, 64)
    model = fg.Sequential(
        fg.Embedding(500, 96, seed=0, mask_zero=True),
        fg.Dropout(0.2, seed=1),
        fg.LSTM(96, 128, bidirectional=True, seed=2),
        fg.MergeDirections("sum"),
        fg.LayerNorm(128),
        fg.Activation("gelu"),
        fg.GRU(128, 100, seed=3),
        fg.FinalState(),
        fg.Linear(100, 1000, seed=4),
    )
    options = {"loss": "cross_entropy", "metrics": ["accuracy"], "epochs": 2, "clip_norm": 1.0}
    for own in (model.to("cuda"), model.to("cuda"), model):
        history = own.fit(x, y, optimizer=fg.Adam(1e-3), **options)
        finals.append((history["loss"], np.array(own.params.flat)))
    np.testing.assert_array_equal(finals[0][1], finals[1][1])
    np.testing.assert_allclose(finals[0][0], finals[2][0], rtol=1e-4)


@pytest.mark.parametrize("function", fg.activation.FUNCTIONS)
def test_activations(function):
    layer, x = fg.Activation(function), np.random.default_rng(0).standard_normal((70, 1030))
    y, tape = layer.forward(x)
    own, own_tape = layer.forward(array(np.float32(x)))
    close(own, y, 1e-6)
    close(layer.backward(own_tape, array(np.float32(x))).x, layer.backward(tape, x).x, 1e-5)


@pytest.mark.parametrize("precision", ["highest", "bfloat16", "float16"])
@pytest.mark.parametrize("weights", ["bfloat16", "float16", "int8"])
def test_small_weights(weights, precision):
    layer = fg.LSTM(40, 256, num_layers=2, bidirectional=True, seed=0)
    x = np.random.default_rng(0).standard_normal((16, 20, 40)).astype(np.float32)
    own = layer.replace(device="cuda", precision=precision).quantized(weights)
    close(own(x)[0], layer.quantized(weights)(x)[0], TOLERANCE[precision])


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
