"""Arrays that end (or begin) exactly at a page that may not be touched: a stray vector access kills the process."""

import ctypes
import mmap

import numpy as np

from fastgate.kernels.cpu.simd import load, store
from fastgate.kernels.jit import jit

PROT_NONE, PROT_READ_WRITE = 0, mmap.PROT_READ | mmap.PROT_WRITE
_kept: list[mmap.mmap] = []
_libc = ctypes.CDLL(None, use_errno=True)


def _between_guards(nbytes):
    """Address and size of whole pages of at least `nbytes`, with a forbidden page on either side; never given back."""
    page = mmap.PAGESIZE
    pages = -(-nbytes // page) * page
    memory = mmap.mmap(-1, pages + 2 * page, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=PROT_READ_WRITE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    _kept.append(memory)
    for guard in (address, address + page + pages):
        if _libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(page), PROT_NONE):
            raise OSError(ctypes.get_errno(), "mprotect")
    return address + page, pages


def guarded(array, side):
    """A copy of `array` that ends right before a forbidden page ("end"), or starts right after one ("start")."""
    array = np.ascontiguousarray(array)
    address, pages = _between_guards(max(array.nbytes, 1))
    start = address + (pages - array.nbytes if side == "end" else 0)
    buffer = (ctypes.c_char * max(array.nbytes, 1)).from_address(start)
    copy = np.frombuffer(buffer, array.dtype, array.size).reshape(array.shape)
    copy[...] = array
    return copy


@jit
def copy_vector(source, source_column, out, out_column):
    """source (1,N)[0, source_column:] -> out (1,N)[0, out_column:], one vector, wherever that is"""
    store(out, 0, out_column, load(source, 0, source_column))
