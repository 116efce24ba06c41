"""Memory of the GPU: pieces of it, as kernels take them, and a pool from which what is given back is taken again.

The driver takes long to allocate, and waits for the GPU when it frees; in a loop neither happens. Memory belongs to
the stream that it was taken on: who takes it next on that stream comes after whoever had it. Other streams that used
it meanwhile are remembered, and waited for.
"""

from math import prod

import numpy as np

from fastgate.kernels.cuda import driver

SMALLEST = 512  # bytes; every piece of the pool starts at a multiple of what the driver aligns to
_shelves = {}  # (device, stream), bytes -> blocks that nobody has
_leaving = []  # blocks that only the driver can free, by a thread that has a device: who lets go need not have one


class Memory:
    """An array (shape) in the memory of the device, with strides in bytes; None where it is C-contiguous.

    `owner` is whatever must live as long.
    """

    __slots__ = ("address", "dtype", "owner", "shape", "strides")

    def __init__(self, address, shape, dtype, owner, strides=None):
        self.address, self.shape, self.dtype, self.owner, self.strides = address, shape, dtype, owner, strides

    @classmethod
    def of(cls, interface, owner):
        """What the CUDA array interface describes."""
        shape, dtype, strides = tuple(interface["shape"]), np.dtype(interface["typestr"]), interface.get("strides")
        if strides is not None and (0 in shape or tuple(strides) == c_strides(shape, dtype)):
            strides = None
        return cls(interface["data"][0] or 0, shape, dtype, owner, strides and tuple(strides))

    @property
    def size(self):
        return prod(self.shape)

    @property
    def ndim(self):
        return len(self.shape)

    @property
    def flags(self):
        """As NumPy's, but only whether it is C-contiguous."""
        return {"C_CONTIGUOUS": self.strides is None}

    @property
    def __cuda_array_interface__(self):
        data = self.address, False
        return {
            "shape": self.shape, "typestr": self.dtype.str, "data": data, "strides": self.strides, "version": 3,
        }  # fmt: skip

    def __getitem__(self, piece):
        """A slice of one that has one axis."""
        first, last, _ = piece.indices(self.shape[0])
        address = self.address + first * self.dtype.itemsize
        return Memory(address, (max(0, last - first),), self.dtype, self.owner)

    def reshape(self, *shape):
        """The same memory with other axes; -1 for a single one."""
        assert self.strides is None
        return Memory(self.address, (self.size,) if shape == (-1,) else shape, self.dtype, self.owner)

    def view(self, dtype):
        """As numbers of another type of the same size."""
        return Memory(self.address, self.shape, dtype, self.owner, self.strides)

    def use_at(self, home):
        """Work that is queued there, (device, stream), reads or writes it."""
        owner = self.owner
        if type(owner) is Lease and owner.home != home:
            owner.use_at(home)

    def give_away(self):
        """To somebody whose streams nobody knows here."""
        if type(self.owner) is Lease:
            self.owner.is_known_elsewhere = True

    def on_host(self):
        """As NumPy's: where the device is simulated."""
        return driver.on_host(self.address, self.shape, self.dtype, self.strides)


def c_strides(shape, dtype):
    return tuple(dtype.itemsize * prod(shape[axis + 1 :]) for axis in range(len(shape)))


class _Block:
    """What the driver gave, and who has used it besides its own stream."""

    __slots__ = ("address", "memory", "others", "shelf")

    def __init__(self, size, shelf):
        self.memory, self.address = _allocated(size)
        self.shelf, self.others = shelf, set()


class Lease:
    """A block in somebody's hands: the owner of all pieces of it. It goes back when none of them is left."""

    __slots__ = ("block", "home", "is_known_elsewhere")

    def __init__(self, block, home):
        self.block, self.home = block, home  # device, stream
        self.is_known_elsewhere = False  # to somebody whose streams are not: then only the driver can free it

    def use_at(self, home):
        """It is used there, too."""
        if home[0] != self.home[0]:
            raise ValueError(
                f"expected arrays on the current GPU, number {home[0]}, got one on number {self.home[0]}: layers and"
                " arrays stay where they were made; see numba.cuda.gpus"
            )
        self.block.others.add(home[1])

    def __del__(self, leaving=_leaving):
        (leaving if self.is_known_elsewhere else self.block.shelf).append(self.block)


def take(size, stream):
    """A `Lease` of so many bytes, and the streams that this one has to wait for before it writes there."""
    home = driver.device_number(), stream
    _leaving.clear()
    shelf = _shelves.setdefault((home, _rounded(size)), [])
    try:
        block = shelf.pop()
    except IndexError:
        block = _Block(_rounded(size), shelf)
    others, block.others = block.others, set()
    return Lease(block, home), others


def _rounded(size):
    """So that sizes that differ a little are one: at most an eighth more."""
    unit = max(SMALLEST, 1 << max(0, size.bit_length() - 4))
    return max(1, -(-size // unit)) * unit


def _allocated(size):
    try:
        return driver.allocate(size)
    except driver.Full:
        release()
    try:
        return driver.allocate(size)
    except driver.Full:
        free, whole = driver.room()
        raise MemoryError(
            f"the GPU has no room for {size / 1e6:,.1f} MB: {free / 1e6:,.1f} of its {whole / 1e6:,.1f} MB are free"
        ) from None


def release():
    """Give what nobody has back to the driver, for others to use; it waits for the GPU."""
    for shelf in (_leaving, *_shelves.values()):
        shelf.clear()
    driver.free_what_nobody_holds()
