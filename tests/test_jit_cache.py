"""Compiled kernels are kept on disk, found again by the next process, and never after a source has changed."""

import inspect
import os
import sys

import numpy as np
import pytest
from kernel_tools import ROOT, copy_package, run_python
from numba.core import caching, config
from numba.core.registry import cpu_target

from fastgate.kernels import jit as jit_module
from fastgate.kernels.jit import jit

ANNOUNCEMENT = "fastgate: compiling kernels"
# One kernel, which calls none: a second and a half, most of it imports.
COMPILE_ONE = """
import numpy as np
from fastgate.kernels.jit import SOURCE_HASH, cache_directory
from fastgate.kernels.cpu.rows import copy_rows
for dtype in (np.float32, np.float64):
    source, out = np.ones((2, 3), dtype), np.zeros((2, 4), dtype)
    copy_rows(source, 0, out, 0, 3, 2)
    assert out.sum() == 6
print(SOURCE_HASH, cache_directory())
"""
USE_A_LAYER = """
import numpy as np, fastgate as fg
layer = fg.LSTM(1, 1, seed=0)
y, state, tape = layer.forward(np.ones((1, 2, 1)))
layer.backward(tape, y)
layer.step(np.ones((1, 1)))
layer(np.ones((1, 2, 1)))
"""
WITHOUT_NUMBA_DIRECTORY = ("NUMBA_CACHE_DIR", "FASTGATE_CACHE", "NUMBA_CACHE_LOCATOR_CLASSES")


def compiled_files(folder):
    """path -> time of the last change"""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.nb?")}


@pytest.fixture
def package(tmp_path):
    return copy_package(tmp_path)


def run(code, root, **environment):
    return run_python(code, root=root, unset=WITHOUT_NUMBA_DIRECTORY, **environment)


def test_a_second_process_compiles_nothing(package):
    first = run(COMPILE_ONE, package)
    kept = compiled_files(package)
    second = run(COMPILE_ONE, package)
    assert first.stderr.count(ANNOUNCEMENT) == 1  # for two compilations
    assert "once, then cached" in first.stderr
    assert second.stderr == ""
    assert second.stdout == first.stdout
    assert len(kept) == 3  # one index, two signatures
    assert compiled_files(package) == kept


def test_a_second_process_compiles_nothing_for_a_whole_layer():
    """The drivers are closures over other kernels, which Numba's own key would take for new ones in every process."""
    run(USE_A_LAYER, ROOT)
    kept = compiled_files(ROOT / "kernels")
    assert run(USE_A_LAYER, ROOT).stderr == ""
    assert compiled_files(ROOT / "kernels") == kept


def test_an_edit_of_any_source_compiles_anew(package):
    """Also of a file that the compiled one does not import: which one it might is not worth finding out."""
    first = run(COMPILE_ONE, package)
    kept = compiled_files(package)
    with open(package / "kernels" / "equations.py", "a", encoding="utf-8") as file:
        file.write("# edited\n")
    second = run(COMPILE_ONE, package)
    assert second.stdout.split()[0] != first.stdout.split()[0]
    assert ANNOUNCEMENT in second.stderr
    added = compiled_files(package).keys() - kept.keys()
    assert len(added) == len(kept)
    assert all(second.stdout.split()[0] in path.name for path in added)


def test_an_edit_of_a_callee_changes_the_result(package):
    """What Numba's own cache gets wrong: the driver's file stays, a function that it inlines changes."""
    code = """
    import numpy as np
    from fastgate.kernels.cpu import features
    from fastgate.kernels import equations
    from fastgate.kernels.cpu.rnn import make_steps
    _, step = make_steps(equations.rnn_relu_cell, equations.rnn_relu_cell_vjp, "relu")
    Hp = features.padded(1, np.dtype(np.float64))
    dy, dh, h, da, none = np.ones((1, 1)), np.zeros((1, Hp)), np.ones((2, Hp)), np.zeros((1, 1)), np.zeros((0, Hp))
    panels = np.zeros((1, 1, Hp))
    step(dy, 0, np.zeros(1, int), dh, none, none, 0, none, 0, h, 0, 1, none, da, panels, 0, 1, 1, none)
    print(da[0, 0])
    """
    assert run(code, package).stdout.split() == ["1.0"]
    path = package / "kernels" / "equations.py"
    source = path.read_text(encoding="utf-8")
    assert source.count("da = dh * slope(h)") == 1
    path.write_text(source.replace("da = dh * slope(h)", "da = dh * slope(h) * 3.0"), encoding="utf-8")
    assert run(code, package).stdout.split() == ["3.0"]


def test_caching_can_be_turned_off(package):
    done = run(COMPILE_ONE, package, FASTGATE_CACHE="0")
    assert done.stdout.split()[1] == "None"
    assert compiled_files(package) == {}
    assert done.stderr.count(ANNOUNCEMENT) == 1
    assert "in every process" in done.stderr


# Root may write anywhere, unless it gives up that right; everybody else needs nothing here.
WITHOUT_PRIVILEGE = """
import ctypes, os
if os.geteuid() == 0:
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()
    assert libc.capget(header, sets) == 0
    for effective_or_permitted in (0, 1):
        sets[effective_or_permitted] &= ~(1 << 1)  # CAP_DAC_OVERRIDE
    assert libc.capset(header, sets) == 0
"""


@pytest.mark.skipif(sys.platform != "linux", reason="takes rights away as Linux does")
def test_works_where_nothing_is_writable(package):
    folders = [package, *(path for path in package.rglob("*") if path.is_dir() and not path.is_symlink())]
    try:
        for folder in folders:
            os.chmod(folder, 0o555)
        done = run(WITHOUT_PRIVILEGE + COMPILE_ONE, package, HOME=str(package), XDG_CACHE_HOME=str(package))
    finally:
        for folder in folders:
            os.chmod(folder, 0o755)
    assert done.stdout.split()[1] == "None"
    assert compiled_files(package) == {}
    assert done.stderr.count(ANNOUNCEMENT) == 1
    assert "then cached" not in done.stderr  # it will not be


def test_works_where_numba_finds_no_directory(package):
    """The same on any system: none of Numba's locators accepts the file."""
    code = "from numba.core.caching import CacheImpl\nCacheImpl._locator_classes = []\n"
    assert run(code + COMPILE_ONE, package).stdout.split()[1] == "None"


def test_the_directory_can_be_chosen(package, tmp_path_factory):
    chosen = tmp_path_factory.mktemp("chosen")
    done = run_python(COMPILE_ONE, root=package, unset=("FASTGATE_CACHE",), NUMBA_CACHE_DIR=str(chosen))
    assert done.stdout.split()[1].startswith(str(chosen))
    assert compiled_files(package) == {}
    assert len(compiled_files(chosen)) == 3


# What follows looks inside, at the parts of Numba that the cache is built on.


def make_kernel(number, variant):
    @jit(variant=variant)
    def kernel(out):
        """out (1)"""
        out[0] = number

    return kernel


def result_of(kernel):
    out = np.zeros(1)
    kernel(out)
    return out[0]


@pytest.fixture
def own_directory(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    return tmp_path


@pytest.mark.skipif(not jit_module.CACHE_ENABLED, reason="FASTGATE_CACHE=0")
def test_variants_of_one_factory_are_kept_apart(own_directory):
    assert [result_of(make_kernel(n, f"variant {n}")) for n in (1.0, 2.0)] == [1.0, 2.0]
    kept = compiled_files(own_directory)
    assert [result_of(make_kernel(n, f"variant {n}")) for n in (2.0, 1.0)] == [2.0, 1.0]
    assert compiled_files(own_directory) == kept


@pytest.mark.skipif(not jit_module.CACHE_ENABLED, reason="FASTGATE_CACHE=0")
def test_two_processes_that_compile_at_the_same_time_do_not_mix_up_their_kernels(own_directory, monkeypatch):
    """Both have read an index without entries; the second then writes its file between the two writes of the first."""
    first, second = make_kernel(1.0, "first"), make_kernel(2.0, "second")
    index, write = second._cache._cache_file, second._cache._cache_file._save_data

    def late(name, data):
        monkeypatch.setattr(first._cache._cache_file, "_load_index", dict)
        result_of(first)
        write(name, data)

    monkeypatch.setattr(index, "_save_data", late)
    result_of(second)
    assert result_of(make_kernel(1.0, "first")) == 1.0
    assert result_of(make_kernel(2.0, "second")) == 2.0


@pytest.mark.skipif(not jit_module.CACHE_ENABLED, reason="FASTGATE_CACHE=0")
def test_a_key_holds_signature_cpu_and_variant(own_directory):
    key = make_kernel(1.0, "some variant")._cache._index_key("signature", cpu_target.target_context.codegen())
    assert key == ("signature", cpu_target.target_context.codegen().magic_tuple(), "some variant")


def test_numba_still_has_what_the_cache_overrides():
    """Private names: when one of these moves, caching fails silently or goes stale, so this must fail loudly."""
    assert list(inspect.signature(caching.CompileResultCacheImpl.get_filename_base).parameters) == [
        "self",
        "fullname",
        "abiflags",
    ]
    assert list(inspect.signature(caching.Cache._index_key).parameters) == ["self", "sig", "codegen"]
    assert list(inspect.signature(caching.Cache.load_overload).parameters) == ["self", "sig", "target_context"]
    assert caching.FunctionCache._impl_class is caching.CompileResultCacheImpl
    assert "self._impl_class(" in inspect.getsource(caching.Cache.__init__)
    assert "self.get_filename_base(" in inspect.getsource(caching.CacheImpl.__init__)
    for method in (caching.Cache._load_overload, caching.Cache._save_overload):
        assert "self._index_key(" in inspect.getsource(method)
