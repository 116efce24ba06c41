"""What all tests share: unset memory holds NaN, and PyTorch is optional."""

import os
import signal
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import pytest

from fastgate import _arrays, _step, _weights, layer_norm, linear
from fastgate.kernels import cpu, memory
from fastgate.kernels.cpu import direction


def pytest_configure():
    """In the background of a shell Ctrl-C is ignored, here and in what tests start; but some press it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class _Poisoned(ModuleType):
    """NumPy, except that memory nobody has written yet holds NaN."""

    def __getattr__(self, name):
        return getattr(np, name)

    @staticmethod
    def empty(*args, **options):
        return _fill(np.empty(*args, **options))

    @staticmethod
    def empty_like(*args, **options):
        return _fill(np.empty_like(*args, **options))


def _fill(array):
    if array.dtype.kind == "f":
        array[...] = np.nan
    return array


def _with_poison(method):
    """What is made ready asks for scratch memory once, and uses it again and again."""

    def run(self, *args):
        for array in self.scratch:
            _fill(array)
        return method(self, *args)

    return run


@pytest.fixture(scope="session", autouse=True)
def nan_in_unset_memory():
    """Whatever is read before it is written, and whatever is never written, turns a comparison red."""
    allocate, scratch = memory.empty, memory.scratch
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "empty", lambda shape, dtype: _fill(allocate(shape, dtype)))
        patch.setattr(memory, "scratch", lambda purpose, shape, dtype: _fill(scratch(purpose, shape, dtype)))
        for kind, method in ((direction.Forward, "_run"), (direction.Backward, "__call__")):
            patch.setattr(kind, method, _with_poison(getattr(kind, method)))
        patch.setattr(cpu, "scratch", memory.scratch)
        patch.setattr(cpu, "empty", _Poisoned.empty)
        for module in (_arrays, _step, _weights, layer_norm, linear):  # not np itself: Numba compiles calls of it
            patch.setattr(module, "np", _Poisoned("numpy"))
        patch.setattr(_step, "empty", _Poisoned.empty)
        yield


@pytest.fixture(scope="session")
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed: parity with it is not tested")


@pytest.fixture(scope="session")
def keras(torch):
    os.environ.setdefault("KERAS_BACKEND", "torch")
    os.environ.setdefault("NPROC", "1")  # Keras may import JAX, which takes its threads then: those of test_peers
    keras = pytest.importorskip("keras", reason="Keras is not installed: parity with it is not tested")
    if keras.backend.backend() != "torch":
        pytest.skip("Keras runs on JAX in this process, for the tests of peers; alone these tests run it on PyTorch")
    return keras


@pytest.fixture
def output_of(capsys, tmp_path):
    """Runs a program of fastgate.examples in its small version, with its picture where there is matplotlib."""

    def run(program, *arguments):
        path = tmp_path / "result.png"
        drawn = ["--plot", str(path)] if find_spec("matplotlib") else []
        assert program.main([*map(str, arguments), "--quick", *drawn]) == 0
        output = capsys.readouterr().out
        if drawn:
            assert f"picture in {path}" in output
            assert path.read_bytes().startswith(b"\x89PNG")
        return output

    return run


ENOUGH = 50 * 2**20  # bytes for whatever a small file says


@pytest.fixture
def little_memory():
    """Every request for memory beyond `ENOUGH` fails, whoever makes it, where the system can do that."""
    resource = pytest.importorskip("resource", reason="the system has no limits of memory")
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            used = int(statm.read().split()[0]) * resource.getpagesize()
    except FileNotFoundError:
        pytest.skip("the system does not say how much memory a process has")
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + ENOUGH, before[1]))
    yield ENOUGH
    resource.setrlimit(resource.RLIMIT_AS, before)
