"""Arrays of other libraries that lie on the device: seen where they are, in the order of their streams and ours."""

from fastgate.kernels.cuda import dlpack, driver, elementwise, streams, transfers
from fastgate.kernels.cuda.arrays import DeviceArray, empty
from fastgate.kernels.cuda.memory import Memory, c_strides


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
    """Its `Memory`, of any strides: this thread's stream waits for whoever writes there."""
    if isinstance(value, DeviceArray):
        transfers.wait_for(value.stream)
        return value.flat.reshape(*value.shape)
    if hasattr(value, "__dlpack__"):
        taken = value.__dlpack__(stream=streams.address_of(streams.stream()))
        address, shape, strides, dtype = dlpack.describe(taken)
        interface, owner = {"data": (address, False), "shape": shape, "strides": strides, "typestr": dtype.str}, taken
    else:
        interface, owner = value.__cuda_array_interface__, value
        transfers.wait_for(stream_of(value))
    found = Memory.of(interface, owner)
    own, theirs = driver.device_number(), driver.device_of(found.address)
    if own != theirs:
        raise ValueError(f"expected an array on the current GPU, number {own}, got one on number {theirs}")
    return found


def with_three_axes(x):
    """A `Memory` of at most three axes, and of any strides, with axes of one before them."""
    more = 3 - x.ndim
    strides = x.strides or c_strides(x.shape, x.dtype)
    return Memory(x.address, (1,) * more + x.shape, x.dtype, x.owner, (0,) * more + strides)


def contiguous(x, dtype):
    """x, a `Memory` of at most three axes and any strides: the same memory where it can be, else a copy"""
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
    return contiguous(found, found.dtype).copy_to_host()
