"""DLPack: memory that a library gives away without a copy. The structures are those of its C header."""

import atexit
import ctypes
import math

import numpy as np

CPU, CUDA, CUDA_MANAGED = 1, 2, 13  # kinds of devices
NAME, VERSIONED = b"dltensor", b"dltensor_versioned"
CODES = {"i": 0, "u": 1, "f": 2, "b": 6}  # of dtypes


class Device(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_int32), ("number", ctypes.c_int32))


class DataType(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", Device),
        ("ndim", ctypes.c_int32),
        ("dtype", DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),  # in entries; none: C-contiguous
        ("byte_offset", ctypes.c_uint64),
    )


DELETER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Managed(ctypes.Structure):
    _fields_ = (("tensor", Tensor), ("context", ctypes.c_void_p), ("deleter", DELETER))


_api = ctypes.pythonapi
_new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, DELETER)(("PyCapsule_New", _api))
_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_IsValid", _api))
_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_GetPointer", _api))
_pointer_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_GetPointer", _api))

_given_away = {}  # address of a structure -> it, its shape and the array: until its taker calls the deleter


@DELETER
def _delete(address):
    _given_away.pop(address, None)


@DELETER
def _delete_untaken(capsule):
    """A taker renames the capsule; nobody has taken one that still has its name."""
    if _is_valid(capsule, NAME):
        _delete(_pointer_of(capsule, NAME))


@atexit.register
def _leave():
    """Who still has memory may give it up when Python is no more: there is then nobody to tell."""
    for managed, *_ in _given_away.values():
        managed.deleter = DELETER()
    for kept in (_given_away, _delete, _delete_untaken):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))


def capsule(array, kind, number):
    """Of a `DeviceArray`, which lives at least as long."""
    shape = (ctypes.c_int64 * max(1, array.ndim))(*array.shape)
    dtype = DataType(CODES[array.dtype.kind], 8 * array.dtype.itemsize, 1)
    tensor = Tensor(array.address, Device(kind, number), array.ndim, dtype, shape, None, 0)
    managed = Managed(tensor, None, _delete)
    address = ctypes.addressof(managed)
    _given_away[address] = managed, shape, array
    return _new(address, NAME, _delete_untaken)


def describe(taken):
    """Address, shape, strides in bytes and dtype of a capsule, which owns the memory as long as it lives."""
    try:
        address = _pointer(taken, NAME)
    except ValueError:
        raise BufferError("expected a capsule of DLPack that nobody has taken") from None
    tensor = Managed.from_address(address).tensor
    letters = {code: letter for letter, code in CODES.items()}
    if tensor.dtype.code not in letters or tensor.dtype.lanes != 1:
        raise BufferError(f"a dtype of DLPack's code {tensor.dtype.code} is not known here")
    dtype = np.dtype(f"{letters[tensor.dtype.code]}{tensor.dtype.bits // 8}")
    shape = tuple(tensor.shape[: tensor.ndim])
    if tensor.strides:
        strides = tuple(dtype.itemsize * stride for stride in tensor.strides[: tensor.ndim])
    else:
        strides = tuple(dtype.itemsize * math.prod(shape[axis + 1 :]) for axis in range(tensor.ndim))
    return (tensor.data or 0) + tensor.byte_offset, shape, strides, dtype
