"""Arrays on the device: always C-contiguous, shared with other libraries by two protocols, and with NumPy by copies.

Kernels take the `Memory` inside, flat, of which every view here is a piece.
"""

from math import prod
from threading import local

import numpy as np

from fastgate.kernels.cuda import dlpack, driver, elementwise, memory, moves, streams, transfers
from fastgate.kernels.cuda.memory import Lease, Memory
from fastgate.kernels.cuda.numpy_like import NumpyLike
from fastgate.kernels.cuda.prims import SIMULATED

_local = local()


class DeviceArray(NumpyLike):
    """An array in the memory of the GPU, C-contiguous.

    Other libraries take it without a copy, by ``__cuda_array_interface__`` (CuPy, Numba, ``torch.as_tensor``) or by
    DLPack (``torch.from_dlpack``, JAX). NumPy takes a copy: ``numpy.asarray(array)``. Arithmetic with numbers and with
    other arrays on the GPU runs there, as do those functions of NumPy that fastgate's own formulas need; shapes
    broadcast along the first or the last axes. There are ``array[...] = value`` and pieces along the first axis.

    Attributes
    ----------
    shape : tuple of int
    dtype : numpy.dtype
    """

    __slots__ = ("dtype", "flat", "is_locked", "shape", "stream")
    lies_there = True  # on the device, as is told without asking for its address

    def __init__(self, flat, shape, stream=None, *, is_locked=False):
        self.flat, self.shape, self.dtype, self.is_locked = flat, tuple(shape), flat.dtype, is_locked
        self.stream = streams.stream() if stream is None else stream  # where it is written

    @staticmethod
    def of(shape, dtype):
        """One that nothing has been written into."""
        return empty(shape, dtype)

    @staticmethod
    def copied(array):
        """One with the entries of an array of NumPy's."""
        return from_host(array)

    @property
    def ndim(self):
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self):
        """Number of entries."""
        return prod(self.shape)

    @property
    def nbytes(self):
        """Bytes of memory."""
        return self.size * self.dtype.itemsize

    @property
    def address(self):
        """Where it begins in the memory of the device."""
        return self.flat.address if self.size else 0

    @property
    def __cuda_array_interface__(self):
        """Version 3; who takes it waits for the stream that wrote it."""
        self.flat.give_away()
        data, kind, stream = (self.address, False), self.dtype.str, streams.address_of(self.stream)
        return {"shape": self.shape, "typestr": kind, "data": data, "strides": None, "stream": stream, "version": 3}

    def __dlpack_device__(self):
        if SIMULATED:
            return dlpack.CPU, 0
        owner = self.flat.owner
        return dlpack.CUDA, owner.home[0] if isinstance(owner, Lease) else driver.device_of(self.address)

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        if copy or (dl_device is not None and tuple(dl_device) != self.__dlpack_device__()):
            raise BufferError("a DeviceArray is given away where it is and without a copy")
        if stream == -1:
            self.flat.give_away()  # they do not say where they use it
        else:
            theirs = streams.external(stream)
            transfers.let_wait(theirs, self.stream)
            self.flat.use_at((self.__dlpack_device__()[1], theirs))
        return dlpack.capsule(self, *self.__dlpack_device__())

    def __array__(self, dtype=None, copy=None):
        if copy is False:
            raise ValueError("a DeviceArray lies on the GPU, and NumPy needs a copy of it")
        own = self.copy_to_host()
        return own if dtype is None else own.astype(dtype, copy=False)

    def copy_to_host(self):
        """A NumPy array with the same entries."""
        out = np.empty(self.shape, self.dtype)
        transfers.wait_for(self.stream)
        transfers.download(self.flat, out.reshape(-1))
        return out

    def locked(self):
        """The same memory, which cannot be written by way of this array or of pieces of it."""
        return self._piece(self.flat, self.shape, is_locked=True)

    def check_writable(self):
        """Raise if it is locked."""
        if self.is_locked:
            raise ValueError("assignment destination is read-only: a DeviceArray that others depend on; copy() is not")

    def _piece(self, flat, shape, *, is_locked=False):
        return DeviceArray(flat, shape, self.stream, is_locked=is_locked or self.is_locked)

    def copy(self):
        """Another array with the same entries."""
        out = empty(self.shape, self.dtype)
        out[...] = self
        return out

    def reshape(self, *shape):
        """The same memory with other axes; one length may be -1."""
        own = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple) else shape
        if -1 in own:
            rest = prod(length for length in own if length != -1)
            own = tuple(self.size // max(1, rest) if length == -1 else length for length in own)
        if prod(own) != self.size:
            raise ValueError(f"cannot reshape an array of shape {self.shape} into {tuple(own)}")
        return self._piece(self.flat, own)

    def __len__(self):
        return self.shape[0]

    def __bool__(self):
        if self.size != 1:
            raise ValueError(f"the truth value of an array of shape {self.shape} is ambiguous")
        return bool(self.copy_to_host().reshape(()))

    def __getitem__(self, key):
        """A piece along the first axis, by an integer or a slice without steps; `...` is all of it. Of a matrix copies:
        of columns, `[:, first:last]`, or of one entry of each row, ``array[numpy.arange(len(array)), columns]``.
        """
        if key is Ellipsis or (isinstance(key, tuple) and not key):
            return self
        if self._is_entry_of_rows(key):
            out = empty((self.shape[0],), self.dtype)
            transfers.wait_for(self.stream)
            streams.over(moves.pick, out.size, self.flat, key[1].flat, out.flat, self.shape[1])
            return out
        if (columns := self._columns(key)) is not None:
            out = empty((self.shape[0], columns.stop - columns.start), self.dtype)
            _copy_columns(self, columns.start, out, 0, *out.shape)
            return out
        if isinstance(key, tuple) and len(key) == 2 and key[0] in (Ellipsis, slice(None)):
            if key[1] is None and self.ndim == 1:
                return self.reshape(*self.shape, 1)
            key = key[1] if self.ndim == 1 else key
        each = prod(self.shape[1:])
        if isinstance(key, slice):
            first, last, step = key.indices(self.shape[0])
            if step == 1:
                last = max(first, last)
                return self._piece(self.flat[first * each : last * each], (last - first, *self.shape[1:]))
        elif isinstance(key, (int, np.integer)) and not isinstance(key, bool):
            if not -len(self) <= key < len(self):
                raise IndexError(f"index {key} is out of range for a DeviceArray of shape {self.shape}")
            first = range(len(self))[key]
            return self._piece(self.flat[first * each : (first + 1) * each], self.shape[1:])
        raise TypeError("a DeviceArray gives pieces along its first axis; numpy.asarray(array) can be indexed by more")

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __setitem__(self, key, value):
        """Entries from an array of the same shape on either side, or one number for all."""
        self.write_here()
        if self._is_entry_of_rows(key):
            transfers.wait_for(value.stream)
            streams.over(moves.place, len(value), value.flat, key[1].flat, self.flat, self.shape[1], len(value))
            return
        if (columns := self._columns(key)) is not None:
            own, shape = value, (self.shape[0], columns.stop - columns.start)
            if not (isinstance(own, DeviceArray) and (own.shape, own.dtype) == (shape, self.dtype)):
                own = empty(shape, self.dtype)
                own[...] = value
            _copy_columns(own, 0, self, columns.start, *shape)
            return
        target = self[key]
        if isinstance(value, DeviceArray):
            if value.shape != target.shape:
                raise ValueError(f"cannot write an array of shape {value.shape} into one of {target.shape}")
            convert(value, target)
        elif np.ndim(value):
            own = np.ascontiguousarray(np.broadcast_to(np.asarray(value, self.dtype), target.shape))
            transfers.upload(own.reshape(-1), target.flat)
        else:
            number = self.dtype.type(value)
            if len(bits := set(number.tobytes())) == 1:
                transfers.set_bytes(target.flat, bits.pop())
            else:
                kind = np.dtype(f"i{self.dtype.itemsize}")  # which launches take for every dtype
                streams.over(elementwise.fill, target.size, target.flat.view(kind), number.view(kind), target.size)

    def write_here(self):
        """It is written on this thread's stream, after what was written before; who reads it waits for that."""
        self.check_writable()
        transfers.wait_for(self.stream)
        self.stream = streams.stream()

    def _is_entry_of_rows(self, key):
        is_pair = isinstance(key, tuple) and len(key) == 2 and self.ndim == 2
        return is_pair and isinstance(key[1], DeviceArray) and np.array_equal(key[0], np.arange(self.shape[0]))

    def _columns(self, key):
        """Which columns of a matrix are asked for, if some are."""
        if self.ndim != 2 or not isinstance(key, tuple) or len(key) != 2 or key[0] not in (Ellipsis, slice(None)):
            return None
        first, last, step = key[1].indices(self.shape[1]) if isinstance(key[1], slice) else (0, 0, 0)
        return slice(first, max(first, last)) if step == 1 else None

    def __reduce__(self):
        return from_host, (self.copy_to_host(),)

    def __repr__(self):
        return f"DeviceArray(shape={self.shape}, dtype={self.dtype})"


def _copy_columns(x, x_at, out, out_at, rows, columns):
    """x (M,_)[:, x_at:] -> out (M,_)[:, out_at:], so many columns"""
    transfers.wait_for(x.stream)
    places = x_at, x.shape[1], out.flat, out_at, out.shape[1]
    streams.over(moves.columns, rows * columns, x.flat, *places, columns, rows * columns)


def empty(shape, dtype):
    """An array that nothing has been written into."""
    shape, dtype, stream = (shape,) if isinstance(shape, int) else tuple(shape), np.dtype(dtype), streams.stream()
    size = prod(shape)
    lease, others = memory.take(size * dtype.itemsize, stream)
    for other in others:
        transfers.let_wait(stream, other)
    return DeviceArray(Memory(lease.block.address, (size,), dtype, lease), shape, stream)


def zeros(shape, dtype):
    array = empty(shape, dtype)
    array[...] = 0
    return array


def scratch(purpose, shape, dtype):
    """As `empty`, but the memory that this thread has had for this purpose before, on this stream."""
    kept, key = _local.__dict__, (purpose, np.dtype(dtype), streams.stream(), driver.device_number())
    size = prod(shape)
    if key not in kept or kept[key].size < size:
        kept[key] = empty(1 << max(0, size - 1).bit_length(), dtype)
    return DeviceArray(kept[key].flat[:size], shape)


def from_host(array):
    """A copy of a NumPy array."""
    out = empty(array.shape, array.dtype)
    out[...] = array
    return out


def on_device(array):
    """The array itself where it lies there, or a copy."""
    return array if isinstance(array, DeviceArray) else from_host(array)


def convert(x, out):
    """x -> out, an array as large, perhaps of another dtype"""
    transfers.wait_for(x.stream)
    if x.dtype == out.dtype:
        transfers.copy(x.flat, out.flat)
    else:
        streams.over(elementwise.convert, x.size, x.flat, out.flat, x.size)
