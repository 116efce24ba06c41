"""Arguments that stay the same from call to call, given to a kernel as one array of words.

Each array passed from Python costs some 50 ns, and a small step has as much to pass as to compute. A word is a number,
or an array's address or length; whoever keeps the words must keep the arrays.
"""

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array
from numba.np.numpy_support import as_dtype

from fastgate.kernels.cpu.simd import require_contiguous

INT64 = ir.IntType(64)
NUMBER, INDEX = (0, types.int64), (1, types.int64)
MATRIX = 2, None  # of the dtype of an array that the kernel names


class Fixed:
    """Such arguments of one kernel: their dimensions and types, in the order in which it reads them."""

    def __init__(self, *kinds):
        self.kinds, self.reader = kinds, _reader(kinds)
        self.columns = sum(1 + ndim for ndim, _ in kinds)

    def words(self, rows):
        """Arguments of each row, numbers and C-contiguous arrays -> words (L,n), to be read row by row"""
        return np.array(
            [[word for pair in zip(self.kinds, row, strict=True) for word in _words(*pair)] for row in rows]
        )


def _words(kind, argument):
    ndim, dtype = kind
    if not ndim:
        return (int(argument),)
    assert argument.ndim == ndim
    assert argument.flags.c_contiguous
    assert dtype is None or argument.dtype == as_dtype(dtype)
    return argument.__array_interface__["data"][0], *argument.shape


def _reader(kinds):
    @intrinsic
    def read(typingctx, words, row, like):
        """words (L,n)[row] -> tuple of the numbers and arrays; those of no dtype of their own have that of `like`"""
        require_contiguous(words)
        found = [types.Array(dtype or like.dtype, ndim, "C") if ndim else dtype for ndim, dtype in kinds]

        def codegen(context, builder, sig, args):
            table = cgutils.create_struct_proxy(sig.args[0])(context, builder, args[0])
            columns = cgutils.unpack_tuple(builder, table.shape, 2)[1]
            at, values = builder.mul(args[1], columns), []
            for kind in found:
                count = 1 + kind.ndim if isinstance(kind, types.Array) else 1
                places = (builder.gep(table.data, [builder.add(at, INT64(i))]) for i in range(count))
                word, *shape = (builder.load(place) for place in places)
                values.append(_array_of(context, builder, kind, word, shape) if shape else word)
                at = builder.add(at, INT64(count))
            return context.make_tuple(builder, sig.return_type, values)

        return types.Tuple(found)(words, types.intp, like), codegen

    return read


def _array_of(context, builder, kind, word, shape):
    address = builder.inttoptr(word, context.get_data_type(kind.dtype).as_pointer())
    return array_at(context, builder, kind, address, shape)


def array_at(context, builder, kind, address, shape):
    """A C-contiguous array of memory that somebody else keeps, as a value of LLVM."""
    array = make_array(kind)(context, builder)
    itemsize = INT64(context.get_abi_sizeof(context.get_data_type(kind.dtype)))
    strides = [itemsize]
    for length in reversed(shape[1:]):
        strides.insert(0, builder.mul(strides[0], length))
    populate_array(array, address, shape, strides, itemsize, meminfo=None)
    return array._getvalue()
