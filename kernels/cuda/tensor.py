"""Tensor cores: products of a warp, and numbers as they take them. Inline PTX, made like that of `prims.py`.

Fragments lie in threads as PTX says for mma.m16n8k8 and m16n8k16; words are int32, of one TF32 or two 16-bit numbers.
"""

import numpy as np
from llvmlite import ir
from numba.core import types

from fastgate.kernels.cuda.prims import FLOAT32, INT32, instruction, of_many_threads, primitive


def _word(bits):
    return np.uint32(bits).view(np.int32)


def _as_bfloat16(x):
    if x != x:
        return 0x7FFF
    bits = int(np.float32(x).view(np.uint32))
    return bits + 0x7FFF + (bits >> 16 & 1) >> 16 & 0xFFFF


def _as_float16(x):
    return int(np.float32(x).astype(np.float16).view(np.uint16))


@primitive(instruction("cvt.rna.tf32.f32 $0, $1;", INT32), types.int32)
def to_tf32(x):
    """x rounded to 10 digits of mantissa."""
    return _word(int(np.float32(x).view(np.uint32)) + 0x1000 & 0xFFFFE000)


@primitive(instruction("cvt.rn.bf16x2.f32 $0, $1, $2;", INT32), types.int32)
def pack_bfloat16(high, low):
    """Two bfloat16 in a word."""
    return _word(_as_bfloat16(high) << 16 | _as_bfloat16(low))


@primitive(instruction("cvt.rn.f16x2.f32 $0, $1, $2;", INT32), types.int32)
def pack_float16(high, low):
    """Two float16 in a word."""
    return _word(_as_float16(high) << 16 | _as_float16(low))


TO_BFLOAT16_AND_BACK = "{ .reg .b16 h, zero; mov.b16 zero, 0; cvt.rn.bf16.f32 h, $1; mov.b32 $0, {zero, h}; }"


@primitive(instruction(TO_BFLOAT16_AND_BACK, FLOAT32), types.float32)
def round_bfloat16(x):
    """The bfloat16 next to x, as float32."""
    return np.uint32(_as_bfloat16(x) << 16).view(np.float32)


def _mma(kind):
    text = f"mma.sync.aligned.{kind} {{$0,$1,$2,$3}},{{$4,$5,$6,$7}},{{$8,$9}},{{$10,$11,$12,$13}};"
    emit = instruction(text, ir.LiteralStructType([FLOAT32] * 4), together=True)
    return primitive(emit, types.UniTuple(types.float32, 4))


@_mma("m16n8k8.row.col.f32.tf32.tf32.f32")
def mma_tf32(a0, a1, a2, a3, b0, b1, c0, c1, c2, c3):
    """A (16,8) . B (8,8) + C (16,8)"""
    of_many_threads()


@_mma("m16n8k16.row.col.f32.bf16.bf16.f32")
def mma_bfloat16(a0, a1, a2, a3, b0, b1, c0, c1, c2, c3):
    """A (16,16) . B (16,8) + C (16,8)"""
    of_many_threads()


@_mma("m16n8k16.row.col.f32.f16.f16.f32")
def mma_float16(a0, a1, a2, a3, b0, b1, c0, c1, c2, c3):
    """A (16,16) . B (16,8) + C (16,8)"""
    of_many_threads()
