"""Arrays that lie on the device go in and come out without a copy, and NumPy's ufuncs run there."""

import copy
import gc
import pickle
import subprocess
import sys

import numpy as np
import pytest
from numba import cuda as numba_cuda

import fastgate as fg
from fastgate import _device_border, _stack
from fastgate.cuda import DeviceArray, array, device_step, on_stream
from fastgate.kernels import cuda
from fastgate.kernels.cuda import dlpack, transfers
from fastgate.kernels.cuda.streams import SIMULATED

pytestmark = pytest.mark.usefixtures("device")

rng = np.random.default_rng(0)


class WithInterface:
    """Another library's array, perhaps a view of every second row, by the CUDA array interface."""

    def __init__(self, array, each=1):
        whole = array.__cuda_array_interface__
        strides = np.empty(array.shape, array.dtype).strides
        shape = (-(-array.shape[0] // each), *array.shape[1:])
        self.__cuda_array_interface__ = whole | {"shape": shape, "strides": (strides[0] * each, *strides[1:])}
        self.owner = array


class WithDLPack:
    """Another library's array, by DLPack; `streams` are those that it was asked to wait for."""

    def __init__(self, array):
        self.array, self.streams = array, []

    def __dlpack_device__(self):
        return dlpack.CUDA, 0

    def __dlpack__(self, stream=None):
        self.streams.append(stream)
        return self.array.__dlpack__(stream=stream)


@pytest.mark.parametrize("batch_first", [True, False])
def test_arrays_of_others(batch_first):
    layer = fg.LSTM(2, 3, seed=0, batch_first=batch_first, dtype="float64", device="cuda")
    x = rng.standard_normal((4, 3, 2))
    y, (h, _) = layer(x)
    own = cuda.from_host(x)
    given = WithDLPack(own)
    for other in (own, WithInterface(own), given):
        found, (own_h, _) = layer(other)
        assert isinstance(found, DeviceArray)
        np.testing.assert_array_equal(np.asarray(found), y)
        np.testing.assert_array_equal(own_h.copy_to_host(), h)
    assert given.streams == [1]  # the default one
    halves = layer(WithInterface(own, each=2), (WithInterface(cuda.from_host(h[:, ::2] if batch_first else h)), None))[
        0
    ]
    start = (h[:, ::2] if batch_first else h, np.zeros_like(h[:, ::2] if batch_first else h))
    np.testing.assert_array_equal(np.asarray(halves), layer(x[::2], start)[0])
    as_float32, _ = layer(cuda.from_host(x.astype(np.float32)))
    np.testing.assert_allclose(np.asarray(as_float32), y, rtol=0, atol=1e-6)


def test_training_stays_on_the_device():
    layer = fg.GRU(2, 3, num_layers=2, seed=0, dtype="float64", device="cuda")
    x, dy = rng.standard_normal((2, 4, 2)), rng.standard_normal((2, 4, 3))
    y, h, tape = layer.forward(x)
    expected = layer.backward(tape, dy, h)
    own_y, own_h, own_tape = layer.forward(cuda.from_host(x))
    found = layer.backward(own_tape, cuda.from_host(dy), own_h)
    for part, other in ((own_y, y), (found.x, expected.x), (found.state, expected.state)):
        assert isinstance(part, DeviceArray)
        np.testing.assert_array_equal(np.asarray(part), other)
    for gradients in (found, expected):  # parameters are where they are, whatever x was
        assert isinstance(gradients.params.flat, DeviceArray)
        assert isinstance(gradients.params["weight_hh_l0"], DeviceArray)
    out = cuda.empty((2, 4, 3), np.dtype("float64"))
    assert layer(cuda.from_host(x), out=out)[0] is out
    np.testing.assert_array_equal(np.asarray(out), y)


def test_no_copy_where_none_is_needed():
    x = cuda.from_host(rng.standard_normal((3, 4, 2)))
    layer = fg.RNN(2, 3, batch_first=False, dtype="float64", device="cuda")
    _, _, tape = layer.forward(x, copy=False)
    assert tape.records[0].x.address == x.address
    _, _, tape = layer.forward(x)
    assert tape.records[0].x.address != x.address


def test_capsules_own_what_they_show():
    array = cuda.from_host(np.arange(6.0).reshape(2, 3))
    before = len(dlpack._given_away)
    capsule = array.__dlpack__()
    address, shape, strides, dtype = dlpack.describe(capsule)
    assert (address, shape, strides, dtype) == (array.address, (2, 3), (24, 8), np.float64)
    del array
    assert len(dlpack._given_away) == before + 1
    del capsule
    gc.collect()
    assert len(dlpack._given_away) == before
    if SIMULATED:
        taken = np.from_dlpack(cuda.from_host(np.arange(3, dtype=np.int32)))
        np.testing.assert_array_equal(taken, [0, 1, 2])
    with pytest.raises(BufferError, match="without a copy"):
        cuda.from_host(np.zeros(2)).__dlpack__(copy=True)


@pytest.mark.skipif(not SIMULATED, reason="NumPy takes nothing of a GPU")
def test_who_takes_may_outlive_python():
    kept = "array(numpy.ones(9)).__dlpack__(), numpy.from_dlpack(array(numpy.ones(9)))"
    program = f"import sys, numpy; from fastgate.cuda import array; sys.kept = {kept}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_arithmetic_rounds_as_numpy_does():
    for dtype in (np.float32, np.float64):
        a, b = (rng.uniform(0.5, 2, 7).astype(dtype) for _ in range(2))
        x, y = cuda.from_host(a), cuda.from_host(b)
        for own, expected in (
            (x + y * 0.3 - 1 / x, a + b * dtype(0.3) - 1 / a),
            (np.sqrt(x) / y, np.sqrt(a) / b),
            (-np.square(x), -np.square(a)),
            (np.maximum(x, 1.0), np.maximum(a, 1.0)),
        ):
            assert own.dtype == dtype
            np.testing.assert_array_equal(np.asarray(own), expected)
        x *= 0.1
        np.testing.assert_array_equal(np.asarray(x), a * dtype(0.1))
    with pytest.raises(TypeError):
        np.sin(x)
    for own, other in ((x, x[:3]), (x[:6].reshape(3, 2), x[:6].reshape(3, 1, 2))):
        with pytest.raises(ValueError, match="shape"):
            own + other


def test_pieces_copies_and_pickles():
    host = np.arange(12.0).reshape(3, 4)
    array = cuda.from_host(host)
    for own, expected in ((array[1], host[1]), (array[-2:], host[-2:]), (array.reshape(2, -1), host.reshape(2, -1))):
        np.testing.assert_array_equal(np.asarray(own), expected)
    array[1] = 5
    array[2][...] = np.array([1, 2, 3, 4], np.int64)
    np.testing.assert_array_equal(np.asarray(array)[1:], [[5] * 4, [1, 2, 3, 4]])
    for twin in (copy.deepcopy(array), pickle.loads(pickle.dumps(array)), array.copy()):
        assert twin.address != array.address
        np.testing.assert_array_equal(np.asarray(twin), np.asarray(array))
    with pytest.raises(TypeError, match="first axis"):
        array[:, 0]


def test_what_an_array_can_be_made_of():
    for host in (np.array(3.0), np.array(0), np.zeros((2, 0)), np.arange(3.0).astype(">f4"), np.ones((2, 3)).T):
        own = array(host)
        assert (own.shape, own.dtype) == (host.shape, host.dtype.newbyteorder("="))
        np.testing.assert_array_equal(np.asarray(own), host)
    for wrong in ("abc", np.array([None]), np.ones(2) * 1j):
        with pytest.raises(TypeError, match="x: expected an array of real numbers"):
            array(wrong)


@pytest.mark.parametrize("entries", [0, 1, 3, 4, 11])
def test_large_copies_go_piece_by_piece(entries, monkeypatch):
    monkeypatch.setattr(transfers, "PIECE", 32)  # four numbers
    monkeypatch.delattr(transfers._here, "pinned", raising=False)
    host = rng.standard_normal(entries)
    array = cuda.from_host(host)
    np.testing.assert_array_equal(array.copy_to_host(), host)
    monkeypatch.delattr(transfers._here, "pinned", raising=False)


@pytest.mark.parametrize("batch_first", [True, False])
def test_long_runs_go_stretch_by_stretch(batch_first, monkeypatch):
    layer = fg.LSTM(2, 3, num_layers=2, seed=0, batch_first=batch_first, dtype="float64", device="cuda")
    x = rng.standard_normal((2, 7, 2) if batch_first else (7, 2, 2))
    state = rng.standard_normal((2, 2, 2, 3))
    y, (h, c) = layer(x, tuple(state))
    monkeypatch.setattr(_device_border, "STRETCH", 100)  # three steps
    calls = []
    run = _stack.forward
    monkeypatch.setattr(_stack, "forward", lambda *args: calls.append(args) or run(*args))
    own, (own_h, own_c) = layer(x, tuple(state))
    assert len(calls) == 3
    for part, expected in ((own, y), (own_h, h), (own_c, c)):
        assert type(part) is np.ndarray
        np.testing.assert_array_equal(part, expected)


def test_streams_of_the_user():
    layer = fg.GRU(2, 3, seed=0, dtype="float64", device="cuda")
    x = rng.standard_normal((2, 4, 2))
    y, h, tape = layer.forward(x)
    expected = layer.backward(tape, y, h)
    own = numba_cuda.stream()
    with on_stream(own):
        found_y, found_h, found_tape = layer.forward(array(x))
        assert found_y.stream is own
    assert found_y[1:].stream is own
    found = layer.backward(found_tape, found_y, found_h)  # on the default one, which waits
    assert found.x.stream == 0
    np.testing.assert_array_equal(np.asarray(found_y), y)
    np.testing.assert_array_equal(np.asarray(found.x), expected.x)
    with on_stream(1):  # the default one has this address
        assert array(x).stream == 0


@pytest.mark.usefixtures("device")
def test_parameters_are_read_only_there_too():
    layer = fg.Linear(3, 2, seed=0, device="cuda")
    before = np.asarray(layer.params.flat)
    for own in (layer.params.flat, layer.params.flat[1:], layer.params["weight"], layer.params["weight"].reshape(-1)):
        with pytest.raises(ValueError, match="read-only"):
            own[...] = 1
        with pytest.raises(ValueError, match="read-only"):
            own *= 2
    np.testing.assert_array_equal(layer.params.flat, before)
    own = layer.params.flat.copy()
    own *= 2
    layer.params.flat = own
    np.testing.assert_array_equal(layer.params.flat, before * 2)


@pytest.mark.usefixtures("device")
def test_what_is_refused_is_named():
    x = array(np.ones((2, 3), np.float32))
    for wrong in (None, "abc", np.ones(2, complex), np.ones(2, np.longdouble)):
        with pytest.raises(TypeError, match="x: expected"):
            array(wrong)
    for stream in ("a", 1.5, None, True, -1):
        with pytest.raises(TypeError, match="stream: expected"), on_stream(stream):
            pass
    with pytest.raises(ValueError, match="ambiguous"):
        bool(x == x)
    with pytest.raises(IndexError, match="index 2 is out of range"):
        x[2]
    with pytest.raises(TypeError, match=r"numpy\.subtract of a DeviceArray and an array of NumPy's"):
        x - np.ones((2, 3))
    with pytest.raises(TypeError, match=r"numpy\.power is not computed so on the GPU"):
        x**2
    assert np.asarray(array(3.0)) == 3.0
    assert x.mean() == 1.0
    quantized = fg.LSTM(2, 3).quantized("int8")
    assert quantized.to("cpu") is quantized
    with pytest.raises(TypeError, match=r"layer\.to\('cuda'\)\.quantized\('int8'\)"):
        fg.Sequential(quantized).to("cuda")
    with pytest.raises(ValueError, match="weights='int8'"):
        device_step(quantized)
