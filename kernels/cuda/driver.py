"""What is asked of the driver by way of numba-cuda, in one place; under the simulators, of the host."""

import ctypes
import os
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import cuda

from fastgate.kernels.cuda.prims import HAS_NUMBA_CUDA, SIMULATED

if HAS_NUMBA_CUDA:
    from numba.cuda.cudadrv.devices import get_context
    from numba.cuda.cudadrv.driver import binding, driver

_begun = []  # the process that first used the GPU


def device_number():
    """Of this thread's current device."""
    if SIMULATED:
        return 0
    if os.getpid() not in _begun:
        if _begun:
            raise RuntimeError(
                "this process was forked from one that had used the GPU, which no child can: start it by 'spawn', as"
                " multiprocessing.get_context('spawn') does, or use the GPU only after forking"
            )
        get_context()
        _begun.append(os.getpid())
    error, number = binding.cuCtxGetDevice()
    if error:  # the thread is new
        number = get_context().device.id
    return int(number)


class Facts(NamedTuple):
    """Of a device."""

    multiprocessors: int
    shared: int  # bytes of a block
    has_clusters: bool
    clock: float  # MHz
    has_tensor_cores: bool  # that take TF32 and bfloat16


@lru_cache
def facts_of(number):
    """Of the device of this number, the current one."""
    device = cuda.get_current_device()
    shared, clock = device.MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, device.CLOCK_RATE / 1e3
    capability = device.compute_capability
    return Facts(device.MULTIPROCESSOR_COUNT, shared, capability >= (9, 0), clock, capability >= (8, 0))


def has_tensor_cores():
    """Whether the current device has those that take TF32 and bfloat16."""
    return SIMULATED or facts_of(device_number()).has_tensor_cores


def driver_version():
    """The newest CUDA that the driver knows."""
    return "none" if SIMULATED else ".".join(map(str, driver.get_version()))


# ------------------------------------------------------------------------------------------------------------- memory


class Full(Exception):
    """The driver has no more memory."""


def allocate(size):
    """So many bytes, and their address: what is returned first holds them."""
    if SIMULATED:
        memory = np.empty(size, np.uint8)
        return memory, memory.ctypes.data
    try:
        memory = get_context().memalloc(size)
    except Exception as error:
        if "OUT_OF_MEMORY" in str(error):
            raise Full from error
        raise
    return memory, int(memory.device_pointer)


def free_what_nobody_holds():
    """numba-cuda does not free at once what is let go."""
    if not SIMULATED:
        get_context().memory_manager.deallocations.clear()


def room():
    """Bytes of the current device: that are free, and all."""
    return (0, 0) if SIMULATED else tuple(get_context().get_memory_info())


def shared_flag():
    """(1,) int32 that kernels write and the host reads, without a copy: as the host sees it, and its address there."""
    if SIMULATED:
        flag = np.zeros(1, np.int32)
        return flag, flag.ctypes.data
    flag = cuda.mapped_array(1, np.int32, portable=True)
    flag[0] = 0
    return flag, flag.device_ctypes_pointer.value


def on_host(address, shape, dtype, strides=None):
    """NumPy's array of that memory of the host."""
    if 0 in shape:
        return np.empty(shape, dtype)
    strides = strides or np.empty(shape, dtype).strides
    extent = sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True)) + dtype.itemsize
    return np.ndarray(shape, dtype, (ctypes.c_char * extent).from_address(address), 0, strides)


def copy_to_device(address, host, stream):
    """host, C-contiguous -> the memory from there on"""
    if SIMULATED:
        ctypes.memmove(address, host.ctypes.data, host.nbytes)
        return
    device_number()
    driver.cuMemcpyHtoDAsync(address, host.ctypes.data, host.nbytes, handle_of(stream))


def copy_to_host(address, host, stream):
    """the memory from there on -> host, C-contiguous"""
    if SIMULATED:
        ctypes.memmove(host.ctypes.data, address, host.nbytes)
        return
    device_number()
    driver.cuMemcpyDtoHAsync(host.ctypes.data, address, host.nbytes, handle_of(stream))


def copy_on_device(source, target, size, stream):
    """So many bytes from one address to another"""
    if SIMULATED:
        ctypes.memmove(target, source, size)
    else:
        device_number()
        driver.cuMemcpyDtoDAsync(target, source, size, handle_of(stream))


def set_bytes(address, byte, size, stream):
    """So many bytes from there on"""
    if SIMULATED:
        ctypes.memset(address, byte, size)
        return
    device_number()
    if (address | size) % 4 == 0:
        driver.cuMemsetD32Async(address, byte * 0x01010101, size // 4, handle_of(stream))
    else:
        driver.cuMemsetD8Async(address, byte, size, handle_of(stream))


def handle_of(stream):
    return int(stream) if stream else 0


def device_of(address):
    """The number of the device on which that memory lies."""
    if SIMULATED or not address:
        return device_number()
    device_number()
    return int(driver.cuPointerGetAttribute(binding.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, address))


# --------------------------------------------------------------------------------------------------- what runs at once


def allow_shared_memory(function, size):
    """More than the 48 KB that a block has without asking (numba-cuda's issue 94)."""
    attribute = binding.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    driver.cuKernelSetAttribute(attribute, size, function.handle, device_number())


def blocks_at_once(function, threads, shared, cluster):
    """How many of such blocks the current device runs at once, as the driver says: a part of a GPU has fewer."""
    own = binding.CUfunction(int(function.handle))
    if cluster == 1:
        each = driver.cuOccupancyMaxActiveBlocksPerMultiprocessor(own, threads, shared)
        return each * facts_of(device_number()).multiprocessors
    config, attribute = binding.CUlaunchConfig(), binding.CUlaunchAttribute()
    config.gridDimX, config.gridDimY, config.gridDimZ = cluster, 1, 1
    config.blockDimX, config.blockDimY, config.blockDimZ = threads, 1, 1
    config.sharedMemBytes = shared
    attribute.id = binding.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION
    attribute.value.clusterDim.x, attribute.value.clusterDim.y, attribute.value.clusterDim.z = cluster, 1, 1
    config.attrs, config.numAttrs = [attribute], 1
    return cluster * driver.cuOccupancyMaxActiveClusters(own, config)
