"""Compiled kernels on disk, as `kernels/jit.py` keeps those of the CPU: by their sources, and what was compiled in.

numba-cuda's own cache would not notice an edit in another file, nor recognise a closure in another process: what a
factory's closure holds is spelled out here instead, functions by their code.
"""

import hashlib
from contextlib import suppress
from functools import cache
from types import CodeType, FunctionType, ModuleType

import numba_cuda
from numba.cuda.core.caching import IndexDataCacheFile, NullCache
from numba.cuda.dispatcher import CUDACache, CUDACacheImpl

from fastgate.kernels import jit

SOURCE_HASH = jit.source_hash("cuda")


def open_cache(function):
    """For the kernel that is made of a function."""
    if jit.CACHE_ENABLED:
        with suppress(RuntimeError):  # nowhere to write: compile in every process
            return _SourceCache(function)
    return _NoCache()


class _Announcement(jit.Announcement):
    processor = "GPU"


class _SourceCacheImpl(CUDACacheImpl):
    def get_filename_base(self, fullname, abiflags):
        return f"{super().get_filename_base(fullname, abiflags)}.{SOURCE_HASH}"


class _KeyedFile(IndexDataCacheFile):
    save = jit._KeyedFile.save


class _SourceCache(_Announcement, CUDACache):
    _impl_class = _SourceCacheImpl

    def __init__(self, function):
        super().__init__(function)
        self._cache_file = _KeyedFile(self._cache_path, self._impl.filename_base, self._impl.locator.get_source_stamp())
        self._compiled_in = fingerprint(function)

    def _index_key(self, sig, codegen):
        return sig, codegen.magic_tuple(), numba_cuda.__version__, self._compiled_in


class _NoCache(_Announcement, NullCache):
    pass


def fingerprint(function):
    """The same for functions that are compiled to the same, in every process, as long as the sources are."""
    return hashlib.sha256(repr(spelled(function, {})).encode()).hexdigest()


def spelled(value, seen):
    """A value as text and tuples that say all of it; `seen` numbers the functions that have been spelled already."""
    if isinstance(value, tuple | list):
        return type(value).__name__, *(spelled(part, seen) for part in value)
    if isinstance(value, CodeType):
        return value.co_name, value.co_code, value.co_names, spelled(value.co_consts, seen)
    if isinstance(value, ModuleType):
        return value.__name__
    function = getattr(value, "_defn", getattr(value, "py_func", getattr(value, "__wrapped__", value)))
    if not isinstance(function, FunctionType):  # a number, a type, what C has made
        return type(value).__name__, repr(value)
    if function in seen:
        return seen[function]
    seen[function] = len(seen)
    held = [cell.cell_contents for cell in function.__closure__ or ()]
    return spelled(function.__code__, seen), spelled(held, seen), spelled(function.__defaults__, seen)


@cache
def cached(dispatcher):
    """numba-cuda's dispatcher, keeping what it compiles on disk."""
    dispatcher._cache = open_cache(dispatcher.py_func)
    return dispatcher
