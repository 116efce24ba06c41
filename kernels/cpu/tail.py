"""Vectors of which only the first `count` lanes exist: where the units of a gate end, and another gate's begin."""

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.extending import intrinsic

from fastgate.kernels.arithmetic import splat
from fastgate.kernels.cpu.features import FEATURES
from fastgate.kernels.cpu.simd import (
    VectorType,
    element_bytes,
    element_pointer,
    llvm_vector,
    load_at,
    require_contiguous,
    store_at,
)

# With AVX-512 a mask costs nothing; elsewhere it does, and whole vectors do without.
MASKS_ARE_FREE = "avx512f" in FEATURES


@intrinsic
def load_some(typingctx, array, row, column, count):
    """array[row, column : column + count], at most a vector of it, and zeros in the lanes behind"""
    require_contiguous(array)
    vector = VectorType(array.dtype)

    def codegen(context, builder, sig, args):
        kind, count = llvm_vector(array.dtype), args[3]
        pointer = element_pointer(context, builder, sig.args[0], *args[:3])

        def masked():
            return _call_masked(builder, "load", kind, kind, [pointer], _mask(builder, kind, count), kind(None))

        if MASKS_ARE_FREE:
            return masked()
        result = cgutils.alloca_once(builder, kind)
        with builder.if_else(_is_whole(builder, kind, count)) as (whole, part):
            with whole:
                builder.store(load_at(builder, pointer, kind), result)
            with part:
                builder.store(masked(), result)
        return builder.load(result)

    return vector(array, types.intp, types.intp, types.intp), codegen


@intrinsic
def store_some(typingctx, array, row, column, value, count):
    """array[row, column : column + count] = value, at most a vector of it; nothing behind is touched"""
    require_contiguous(array)

    def codegen(context, builder, sig, args):
        value, count = args[3:]
        pointer = element_pointer(context, builder, sig.args[0], *args[:3])

        def masked():
            _call_masked(
                builder, "store", ir.VoidType(), value.type, [value, pointer], _mask(builder, value.type, count)
            )

        if MASKS_ARE_FREE:
            masked()
        else:
            with builder.if_else(_is_whole(builder, value.type, count)) as (whole, part):
                with whole:
                    store_at(builder, value, pointer)
                with part:
                    masked()
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, value, types.intp), codegen


def _is_whole(builder, vector, count):
    return builder.icmp_signed(">=", count, count.type(vector.count))


def _mask(builder, vector, count):
    """The first `count` lanes."""
    lanes = ir.VectorType(count.type, vector.count)
    return builder.icmp_signed("<", lanes(list(range(vector.count))), splat(builder, count, lanes))


def _call_masked(builder, name, result, vector, operands, mask, *otherwise):
    """LLVM's masked load or store; the last operand is the address."""
    pointer = builder.bitcast(operands[-1], vector.as_pointer())
    alignment = ir.IntType(32)(element_bytes(vector))
    operands = [*operands[:-1], pointer, alignment, mask, *otherwise]
    element = "f32" if vector.element == ir.FloatType() else "f64"
    kind = ir.FunctionType(result, [operand.type for operand in operands])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.{name}.v{vector.count}{element}.p0")
    return builder.call(function, operands)
