"""How every kernel is compiled and cached: the one place that knows Numba's options.

No fastmath flags: a fused multiply-add happens only where `fma` is written, so that the bits of a result depend
neither on how a batch was split nor on the height of a tile. What is not set here, Numba takes from whoever compiles
first, which may be a user's function, and the cache keeps it for everybody.
"""

import hashlib
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from numba import njit
from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile, NullCache
from numba.core.ccallback import CFunc
from numba.core.extending import register_jitable

# Without Numba's run time no kernel can allocate, and none counts references to its arrays, which callers hold anyway:
# three atomic increments and decrements took longer than a small product.
OPTIONS = {"nogil": True, "error_model": "numpy", "fastmath": False, "forceinline": False, "_nrt": False}

# Numba's own inlining would type every copy again, which made compilation five times slower.
INLINED = {"forceinline": True, "error_model": "numpy", "fastmath": False}


# Numba's own cache does not notice an edit in a callee of another file; every kernel source is in the key instead.
def source_hash(device):
    """Of what is common to all devices, and of what is this one's own."""
    folder = Path(__file__).parent
    sources = [*sorted(folder.glob("*.py")), *sorted((folder / device).glob("*.py"))]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()[:12]


SOURCE_HASH = source_hash("cpu")

CACHE_ENABLED = os.environ.get("FASTGATE_CACHE", "1") != "0"


def jit(function=None, *, variant="", inline=False, thin=False, allocates=False):
    """Compile a kernel. `variant` tells apart closures made by one factory.

    With `inline` it becomes part of the kernels that call it: for a thin layer over a large callee, which LLVM would
    otherwise optimise again at every level. With `thin` LLVM makes it part of its callers, be they a user's.
    """
    if function is None:
        return lambda f: jit(f, variant=variant, inline=inline, thin=thin, allocates=allocates)
    options = OPTIONS | {"_nrt": allocates} | ({"forceinline": True} if thin else {})
    dispatcher = njit(inline="always" if inline else "never", **options)(function)
    dispatcher._cache = _open_cache(function, variant)
    return dispatcher


def equation(function):
    """A plain Python function that compiled code on any device can call too, at no cost: LLVM inlines it."""
    return register_jitable(**INLINED)(function)


def layered(function):
    """Like `equation`, for a thin layer over large ones, which LLVM would optimise again at every level."""
    return njit(inline="always", **OPTIONS)(function)


def sealed(function, signature, *, variant=""):
    """Compile a kernel for one signature and no other, ever: a call with arguments of other types is a TypeError."""
    dispatcher = jit(function, variant=variant)
    dispatcher.compile(signature)
    dispatcher.disable_compile()
    return dispatcher


def callback(function, signature, *, variant=""):
    """Compile a function for C: a pointer to it holds its `address`. Callers need no lock of Python's."""
    made = CFunc(function, (signature.args, signature.return_type), {}, OPTIONS)
    made._cache = _open_cache(function, variant)
    made.compile()
    return made


def cache_directory():
    """Where compiled kernels are kept, or None when caching is off or nothing is writable."""
    cache = _open_cache(jit, "")
    return cache.cache_path if isinstance(cache, FunctionCache) else None


def _open_cache(function, variant):
    if CACHE_ENABLED:
        try:
            return _SourceCache(function, variant)
        except RuntimeError:  # nowhere to write: compile in every process
            pass
    return _NoCache()


class Announcement:
    """One line on stderr when the process compiles for the first time, for each kind of processor."""

    processor = "CPU"
    made: ClassVar = set()

    def load_overload(self, sig, target_context):
        found = super().load_overload(sig, target_context)
        if found is None and self.processor not in self.made:
            self.made.add(self.processor)
            kept = "once, then cached" if self.cache_path else "in every process: there is no cache"
            with suppress(AttributeError, OSError, ValueError):  # there may be no stderr, or a closed one
                sys.stderr.write(f"fastgate: compiling kernels for this {self.processor}, some seconds ({kept}) ...\n")
        return found


class _SourceCacheImpl(CompileResultCacheImpl):
    def get_filename_base(self, fullname, abiflags):
        return f"{super().get_filename_base(fullname, abiflags)}.{SOURCE_HASH}"


class _KeyedFile(IndexDataCacheFile):
    """Names a data file after its key. Numba counts, so that two processes can give two kernels the same name."""

    def save(self, key, data):
        name = self._data_name(int(hashlib.sha256(repr(key).encode()).hexdigest()[:12], 16))
        self._save_data(name, data)
        self._save_index(self._load_index() | {key: name})


class _SourceCache(Announcement, FunctionCache):
    _impl_class = _SourceCacheImpl

    def __init__(self, function, variant):
        super().__init__(function)
        self._variant = variant
        self._cache_file = _KeyedFile(self._cache_path, self._impl.filename_base, self._impl.locator.get_source_stamp())

    def _index_key(self, sig, codegen):
        # Numba would hash the closure's cells, in which a dispatcher differs in every process.
        return sig, codegen.magic_tuple(), self._variant


class _NoCache(Announcement, NullCache):
    pass
