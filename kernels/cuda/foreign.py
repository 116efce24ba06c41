"""Arrays of other libraries that lie on the device: seen where they are, in the order of their streams and ours."""

import ctypes

import numpy as np
from numba import cuda

from fastgate.kernels.cuda import dlpack, elementwise, streams, transfers
from fastgate.kernels.cuda.arrays import DeviceArray, empty
from fastgate.kernels.cuda.streams import SIMULATED


def is_on_device(value):
    """Whether it is an array in the memory of a GPU, as one of the two protocols tells."""
    if isinstance(value, DeviceArray) or hasattr(value, "__cuda_array_interface__"):
        return True
    kind = getattr(value, "__dlpack_device__", None)
    return callable(kind) and kind()[0] in (dlpack.CUDA, dlpack.CUDA_MANAGED)


def stream_of(value):
    """The stream that the array names as its own, else the default one."""
    if isinstance(value, DeviceArray):
        return value.stream
    number = getattr(value, "__cuda_array_interface__", {}).get("stream")
    return streams.external(number)


def view(value):
    """An array of Numba's, of any strides: this thread's stream waits for whoever writes there."""
    if isinstance(value, DeviceArray):
        transfers.wait_for(value.stream)
        return value.flat.reshape(value.shape)
    if hasattr(value, "__dlpack__"):
        taken = value.__dlpack__(stream=streams.address_of(streams.stream()))
        return _array(*dlpack.describe(taken), taken)
    interface = value.__cuda_array_interface__
    transfers.wait_for(stream_of(value))
    dtype = np.dtype(interface["typestr"])
    return _array(interface["data"][0], tuple(interface["shape"]), interface.get("strides"), dtype, value)


def with_three_axes(x):
    """An array of Numba's of at most three axes, and of any strides, with axes of one before them."""
    more = 3 - len(x.shape)
    if not more:
        return x
    if SIMULATED:
        return _fake(x._ary[(None,) * more])
    shape, strides = (1,) * more + tuple(x.shape), (0,) * more + tuple(x.strides)
    return _array(x.__cuda_array_interface__["data"][0], shape, strides, x.dtype, x)


def contiguous(x, dtype):
    """x, an array of Numba's of at most three axes and any strides: the same memory where it can be, else a copy"""
    if x.dtype == dtype and x.flags["C_CONTIGUOUS"]:
        return DeviceArray(x.reshape(x.size), x.shape)
    out = empty(x.shape, dtype)
    streams.over(elementwise.gather, out.size, with_three_axes(x), out.flat)
    return out


def to_host(value):
    """An array on the device as one of NumPy's."""
    if isinstance(value, DeviceArray):
        return value.copy_to_host()
    found = view(value)
    streams.synchronize()
    return np.array(found.copy_to_host())


def _fake(array):
    from numba.cuda.cudadrv.devicearray import FakeCUDAArray

    return FakeCUDAArray(array)


def _array(address, shape, strides, dtype, owner):
    if SIMULATED:
        strides = strides or np.empty(shape, dtype).strides
        extent = sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True)) + dtype.itemsize
        memory = (ctypes.c_char * (extent if 0 not in shape else 0)).from_address(address)
        found = _fake(np.ndarray(shape, dtype, memory, 0, strides))
        found.owner = owner
        return found
    description = {"shape": shape, "strides": strides, "data": (address, False), "typestr": dtype.str, "version": 3}
    return cuda.from_cuda_array_interface(description, owner=owner)
