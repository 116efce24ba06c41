"""What a kernel finds in place of `numba.cuda` and of the primitives that many threads run together."""

from collections import ChainMap

import numpy as np
from greenlet import getcurrent
from numba.core import types
from numba.np import numpy_support

from fastgate.kernels.cuda import prims, tensor


def dtype_of(kind):
    return np.dtype(numpy_support.as_dtype(kind) if isinstance(kind, types.Type) else kind)


def unwritten(count, kind):
    """NaN, or -1."""
    return np.full(max(count, 0) * dtype_of(kind).itemsize, 0xFF, np.uint8).view(dtype_of(kind))


class Shared:
    @staticmethod
    def array(count, kind):
        if count:
            raise NotImplementedError("shared memory of a size known beforehand: use what the launch gives")
        return getcurrent().block.shared.view(dtype_of(kind))


class Local:
    @staticmethod
    def array(count, kind):
        return unwritten(count, kind)


class Namespace:
    """Of one launch."""

    shared, local = Shared, Local

    def __init__(self, grid, size):
        self.gridDim, self.blockDim = grid, size

    @property
    def threadIdx(self):
        return getcurrent().index

    @property
    def blockIdx(self):
        return getcurrent().block.index

    def syncthreads(self):
        thread = getcurrent()
        thread.block.group.meet(thread, "syncthreads")

    def syncwarp(self, mask=0xFFFFFFFF):
        of_warp("syncwarp")

    def shfl_xor_sync(self, mask, value, distance):
        return of_warp("shfl_xor_sync", value)[getcurrent().lane ^ distance]


def of_warp(place, value=None):
    thread = getcurrent()
    return thread.warp.meet(thread, place, value)


# ------------------------------------------------------------------------------------ primitives that know their thread


def poll1(registers, j, array, i):
    getcurrent().wait(None)  # others may run before the memory is read
    registers[j] = array[i]


def publish1(array, i, registers, j):
    getcurrent().wait(None)
    array[i] = registers[j]


def one_by_one(move, memory_first=False):
    """Of 16 bytes each number is whole, but not all of them together: others may run in between."""

    def moved(to, first_to, source, first_source):
        prims.assert_aligned(*(to, first_to) if memory_first else (source, first_source))
        for e in range(prims.width(source.dtype)):
            move(to, first_to + e, source, first_source + e)

    return moved


def cluster_arrive():
    pass  # together with the wait, which follows at once in all our kernels


def cluster_wait():
    thread = getcurrent()
    thread.block.cluster.group.meet(thread, "cluster_wait")


def cluster_rank():
    return getcurrent().block.number


def store_remote(shared, i, rank, value):
    getcurrent().block.cluster.blocks[rank].shared.view(shared.dtype)[i] = value


def halves(word, kind):
    """The two 16-bit numbers of a word, the lower first."""
    bits = int(word) & 0xFFFFFFFF
    if kind == "float16":
        return np.array([bits & 0xFFFF, bits >> 16], np.uint16).view(np.float16).astype(np.float64)
    return np.array([bits << 16 & 0xFFFFFFFF, bits & 0xFFFF0000], np.uint32).view(np.float32).astype(np.float64)


def tf32(word):
    return float(np.int32(word).view(np.uint32).astype(np.uint32).__and__(np.uint32(0xFFFFE000)).view(np.float32))


def product_of_warp(kind):
    """mma.m16n8k8 for TF32 and m16n8k16 for the 16-bit types: which fragments lie where is PTX's."""

    def mma(*fragments):
        brought = of_warp(f"mma of {kind}", fragments)
        if brought.made is None:
            K = 8 if kind == "tf32" else 16
            A, B, D = np.empty((16, K)), np.empty((K, 8)), np.empty((16, 8))
            for lane, values in brought.items():
                group, q = divmod(lane, 4)
                D[group, 2 * q : 2 * q + 2], D[group + 8, 2 * q : 2 * q + 2] = values[6:8], values[8:10]
                if kind == "tf32":
                    A[group, q], A[group + 8, q], A[group, q + 4], A[group + 8, q + 4] = map(tf32, values[:4])
                    B[q, group], B[q + 4, group] = map(tf32, values[4:6])
                else:
                    words = [halves(word, kind) for word in values[:6]]
                    for word, row, column in zip(words, (0, 8, 0, 8), (0, 0, 8, 8), strict=False):
                        A[group + row, column + 2 * q : column + 2 * q + 2] = word
                    B[2 * q : 2 * q + 2, group], B[2 * q + 8 : 2 * q + 10, group] = words[4:]
            brought.made = (A @ B + D).astype(np.float32)
        group, q = divmod(getcurrent().lane, 4)
        return *brought.made[group, 2 * q : 2 * q + 2], *brought.made[group + 8, 2 * q : 2 * q + 2]

    return mma


OF_THREADS = {
    prims.poll1: poll1,
    prims.poll16: one_by_one(poll1),
    prims.publish1: publish1,
    prims.publish16: one_by_one(publish1, memory_first=True),
    prims.cluster_arrive: cluster_arrive,
    prims.cluster_wait: cluster_wait,
    prims.cluster_rank: cluster_rank,
    prims.store_remote: store_remote,
    tensor.mma_tf32: product_of_warp("tf32"),
    tensor.mma_bfloat16: product_of_warp("bfloat16"),
    tensor.mma_float16: product_of_warp("float16"),
}
MEANINGS = ChainMap(OF_THREADS, prims.MEANINGS)  # the latter grows with the kernels that are made
