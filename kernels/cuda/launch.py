"""How kernels are compiled and launched: what numba-cuda does with every argument anew is done here once for each type.

Its own launches take 30 to 60 microseconds of the host, as long as a layer of some units takes altogether.
"""

from ctypes import c_bool, c_double, c_float, c_int8, c_int16, c_int32, c_int64, c_uint8, c_uint16, c_uint32, c_uint64
from functools import lru_cache
from math import prod

import numpy as np
from numba import cuda

from fastgate.kernels.cuda import driver
from fastgate.kernels.cuda.memory import Memory, c_strides
from fastgate.kernels.cuda.prims import HAS_NUMBA_CUDA, SIMULATED

if HAS_NUMBA_CUDA:
    from cuda.core import LaunchConfig
    from cuda.core import launch as start
    from numba.core import types
    from numba.cuda.cudadrv.driver import _to_core_stream
    from numba.np.numpy_support import from_dtype

    from fastgate.kernels.cuda.cache import cached

NUMBERS = {
    **{np.float32: c_float, np.float64: c_double, np.bool_: c_bool},
    **{np.int8: c_int8, np.int16: c_int16, np.int32: c_int32, np.int64: c_int64},
    **{np.uint8: c_uint8, np.uint16: c_uint16, np.uint32: c_uint32, np.uint64: c_uint64},
}
_compiled = {}  # kernel, device, kinds of arguments -> what `_compile` gives


def run(kernel, grid, threads, arguments, stream=0, shared=0):
    """Queue a kernel, as `cuda.jit` makes it, on `grid` blocks; arguments are `Memory` and numbers, in its order."""
    if SIMULATED:
        kernel[grid, threads, stream, shared](*map(as_numba, arguments))
        return
    own, values = _prepared(kernel, arguments, stream)
    start(_core_stream(stream), _config(grid, threads, shared, False), own.kernel, *values)


def as_numba(argument):
    """`Memory` as an array of Numba's own, the memory known to others from now on; other arguments as they are."""
    if not isinstance(argument, Memory):
        return argument
    if not SIMULATED:
        argument.give_away()
        return cuda.as_cuda_array(argument)
    from numba.cuda.cudadrv.devicearray import FakeCUDAArray

    found = FakeCUDAArray(argument.on_host())
    found.owner = argument.owner
    return found


def _prepared(kernel, arguments, stream):
    """The compiled kernel for such arguments, and these as the driver takes them."""
    home = driver.device_number(), stream
    kinds, values = [kernel, home[0]], []
    for argument in arguments:
        kind = type(argument)
        if kind is int:
            values.append(argument)
        elif kind in NUMBERS:
            values.append(NUMBERS[kind](argument))
        else:
            if kind is not Memory:
                argument = Memory.of(argument.__cuda_array_interface__, argument)
            argument.use_at(home)
            shape, dtype, strides = argument.shape, argument.dtype, argument.strides
            kind = dtype, len(shape), strides is None
            # Numba's array: two pointers that kernels do not use, size, bytes of each, and where, how long, how far.
            values += (0, 0, argument.size, dtype.itemsize, argument.address, *shape)
            values += strides or c_strides(shape, dtype)
        kinds.append(kind)
    key = tuple(kinds)
    own = _compiled.get(key)
    if own is None:
        own = _compiled[key] = _compile(kernel, kinds[2:])
    return own, values


def _compile(kernel, kinds):
    """numba-cuda's function, loaded on the current device."""
    return cached(kernel).compile(tuple(map(_type_of, kinds)))._codelibrary.get_cufunc()


def _type_of(kind):
    if kind is int:
        return types.int64
    if kind in NUMBERS:
        return from_dtype(np.dtype(kind))
    dtype, axes, is_contiguous = kind
    return types.Array(from_dtype(dtype), axes, "C" if is_contiguous else "A")


@lru_cache(maxsize=1024)
def _config(grid, threads, shared, cooperative, cluster=1):
    options = {"block": threads, "shmem_size": shared, "is_cooperative": cooperative}
    if cluster == 1:
        return LaunchConfig(grid=grid, **options)
    return LaunchConfig(grid=(grid[0] // cluster, *grid[1:]), cluster=(cluster, 1, 1), **options)  # a grid of clusters


@lru_cache(maxsize=128)
def _core_stream(stream):
    return _to_core_stream(stream)


class DoesNotFit(Exception):
    """The current device runs only `at_once` blocks of a program at the same time."""

    def __init__(self, at_once):
        super().__init__(f"{at_once} blocks run at once")
        self.at_once = at_once


NOT_FITTING = "COOPERATIVE_LAUNCH_TOO_LARGE", "INVALID_CLUSTER_SIZE", "LAUNCH_OUT_OF_RESOURCES", "INVALID_VALUE"


class Program:
    """A kernel, with the size of its blocks; compiled when first launched.

    Parameters
    ----------
    function
        Plain Python, as it is before compilation.
    threads
        In a block.
    shared
        Bytes of dynamic shared memory of a block.
    cluster
        How many blocks write into one another's shared memory.
    cooperative
        Whether all blocks of the grid wait for one another: where they do not fit at once, the launch is an error.
    words
        Of 4 bytes, that a thread keeps in registers all the time.
    """

    def __init__(self, function, threads, *, shared=0, cluster=1, cooperative=True, words=0):
        self.function, self.threads, self.shared, self.words = function, threads, shared, words
        self.cluster, self.cooperative = cluster, cooperative
        self._dispatcher = None
        self._at_once = {}  # by compiled function: blocks that run at once

    @property
    def dispatcher(self):
        """What Numba makes of the function."""
        if self._dispatcher is None:
            options = {} if SIMULATED else {"launch_bounds": (self.threads, 1)}
            self._dispatcher = cuda.jit(**options)(self.function)
        return self._dispatcher

    def blocks_together(self, grid):
        """How many blocks must run at the same time."""
        return prod(grid) if self.cooperative else self.cluster

    def launch(self, grid, arguments, stream=0):
        """Run it on `grid` blocks with these arguments, `Memory` and numbers. `DoesNotFit` if that cannot be."""
        if SIMULATED:
            run(self.dispatcher, grid, self.threads, arguments, stream, self.shared)
            return
        own, values = _prepared(self.dispatcher, arguments, stream)
        together = self.blocks_together(grid)
        at_once = self._at_once.get(own)
        try:
            if at_once is None:
                driver.allow_shared_memory(own, self.shared)
                at_once = driver.blocks_at_once(own, self.threads, self.shared, self.cluster)
                self._at_once[own] = at_once
            if at_once < together:
                raise DoesNotFit(at_once)
            config = _config(grid, self.threads, self.shared, self.cooperative, self.cluster)
            start(_core_stream(stream), config, own.kernel, *values)
        except Exception as error:
            if any(name in str(error) for name in NOT_FITTING):
                raise DoesNotFit(together - 1) from error
            raise
