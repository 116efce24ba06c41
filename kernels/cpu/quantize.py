"""Weights stored small for inference, and how a tile reads them: the dtype of the panels alone tells the format.

    uint16  bfloat16, the upper half of a float32; rows two by two, alternating element by element
    int16   the bits of a float16
    int8    integers, to be multiplied by one float32 for each column: its scale

A product with integers is summed up first and scaled once, at the end of its chain. Scales lie in front of each panel,
in its first SCALE_ROWS rows, so that panels of int8 have the shape (N,SCALE_ROWS+K,lanes). All values are rounded to
nearest even; rounding what is rounded already changes nothing.
"""

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.extending import intrinsic

from fastgate.kernels import memory
from fastgate.kernels.arithmetic import constant
from fastgate.kernels.cpu.features import FEATURES, IS_ARM
from fastgate.kernels.cpu.simd import load_at
from fastgate.kernels.jit import jit

FORMATS = ("bfloat16", "float16", "int8")
SCALE_ROWS = 4  # bytes of a float32 over those of an int8
LARGEST = 127  # so that the integers are symmetric
SMALLEST_SCALE = np.float32(2.0**-100)  # far from where float32 loses digits
HAS_FLOAT16 = IS_ARM or bool({"f16c", "avx512f"} & FEATURES)

# ------------------------------------------------------------------------------------------------------------- in NumPy


def quantize_weights(weights, storage):
    """Packed weights with panels (N,K,lanes) of float32 -> the same with small ones"""
    return weights._replace(W_ih=_encode_panels(weights.W_ih, storage), W_hh=_encode_panels(weights.W_hh, storage))


def rounded(weight, storage):
    """weight (R,K) -> (R,K) as the format holds it, in float32; not finite where it cannot"""
    with np.errstate(over="ignore", invalid="ignore"):
        if storage == "bfloat16":
            return (_encode_bfloat16(weight).astype(np.uint32) << 16).view(np.float32)
        if storage == "float16":
            return weight.astype(np.float16).astype(np.float32)
        integers, scales = _encode_int8(weight[:, :, None])
        return (integers * scales[:, None])[:, :, 0]


def _encode_panels(panels, storage):
    N, K, lanes = panels.shape
    if storage == "bfloat16":
        encoded = memory.empty(panels.shape, np.dtype(np.uint16))
        encoded[...] = _encode_bfloat16(panels)
        pairs = encoded[:, : K // 2 * 2].reshape(N, K // 2, 2, lanes)
        encoded[:, : K // 2 * 2] = pairs.swapaxes(2, 3).reshape(N, -1, lanes)
        return encoded
    if storage == "float16":
        encoded = memory.empty(panels.shape, np.dtype(np.int16))
        encoded[...] = panels.astype(np.float16).view(np.int16)
        return encoded
    integers, scales = _encode_int8(panels)
    encoded = memory.empty((N, SCALE_ROWS + K, lanes), np.dtype(np.int8))
    encoded[:, :SCALE_ROWS] = scales.view(np.int8).reshape(N, SCALE_ROWS, lanes)
    encoded[:, SCALE_ROWS:] = integers
    return encoded


def _encode_bfloat16(values):
    bits = np.ascontiguousarray(values).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def _encode_int8(panels):
    """panels (N,K,lanes) -> integers (N,K,lanes) in float32, scales (N,lanes)"""
    scales = np.abs(panels).max(axis=1, initial=0) / np.float32(LARGEST)
    # Sixteen digits, rounded up: an integer times such a scale is exact.
    scales = (scales.view(np.uint32) + 0xFF & ~np.uint32(0xFF)).view(np.float32)
    scales = np.maximum(scales, SMALLEST_SCALE)
    return np.rint(panels / scales[:, None]), scales


# ------------------------------------------------------------------------------------------------------ inside the tile


def has_scales(dtype):
    """Of a Numba type."""
    return dtype == types.int8


@jit(inline=True)
def depth_of(panels):
    """panels (N,K,lanes), or with rows of scales before those of weights -> K"""
    return panels.shape[1] - scale_rows_of(panels)


@intrinsic
def scale_rows_of(typingctx, panels):
    """How many rows of each panel are no weights: a constant of the compiled code."""
    count = SCALE_ROWS if has_scales(panels.dtype) else 0

    def codegen(context, builder, sig, args):
        return context.get_constant(types.intp, count)

    return types.intp(panels), codegen


def rows_together(dtype):
    """How many rows of a panel whose elements have this Numba type are stored as one group; fewer may be left over."""
    return 2 if dtype == types.uint16 else 1


def load_half(builder, pointer, part, vector):
    """One row of a pair of bfloat16 that starts at `pointer`: a half of every word, got by a shift or a mask."""
    words = ir.VectorType(ir.IntType(32), vector.count)
    both = builder.load(builder.bitcast(pointer, words.as_pointer()), align=2)
    half = builder.and_(both, constant(words, -(1 << 16))) if part else builder.shl(both, constant(words, 16))
    return builder.bitcast(half, vector)


def load_weights(builder, pointer, dtype, vector):
    """One row of a panel whose elements have the Numba type `dtype`; integers without their scale."""
    if isinstance(dtype, types.Float):
        return load_at(builder, pointer, vector)
    integers = ir.VectorType(ir.IntType(32), vector.count)
    stored = ir.VectorType(ir.IntType(dtype.bitwidth), vector.count)
    loaded = builder.load(builder.bitcast(pointer, stored.as_pointer()), align=dtype.bitwidth // 8)
    if has_scales(dtype):
        return builder.sitofp(builder.sext(loaded, integers), vector)
    if dtype == types.uint16:
        return builder.bitcast(builder.shl(builder.zext(loaded, integers), constant(integers, 16)), vector)
    if HAS_FLOAT16:
        return builder.fpext(builder.bitcast(loaded, ir.VectorType(ir.HalfType(), vector.count)), vector)
    # The exponent of a float16 is too small by 112 once its bits are shifted to where float32 has them.
    widened = builder.sext(loaded, integers)
    shifted = builder.shl(builder.and_(widened, constant(integers, 0x7FFF)), constant(integers, 13))
    size = builder.fmul(builder.bitcast(shifted, vector), constant(vector, 2.0**112))
    sign = builder.and_(widened, constant(integers, -(2**31)))
    return builder.bitcast(builder.or_(builder.bitcast(size, integers), sign), vector)


def load_scales(builder, pointer, vector):
    """Those of the panel whose first weights are at `pointer`."""
    first = builder.gep(pointer, [ir.Constant(ir.IntType(64), -SCALE_ROWS * vector.count)])
    return builder.load(builder.bitcast(first, vector.as_pointer()), align=1)
