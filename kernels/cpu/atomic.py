"""Atomic operations on an array of int64, and waiting: what workers that share one sequence need."""

import sys

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.extending import intrinsic

from fastgate.kernels.cpu.features import IS_ARM
from fastgate.kernels.cpu.simd import element_pointer
from fastgate.kernels.jit import jit

INT64 = ir.IntType(64)
ORDER = "seq_cst"


@intrinsic
def atomic_load(typingctx, array, row):
    """array[row, 0]"""

    def codegen(context, builder, sig, args):
        pointer = element_pointer(context, builder, sig.args[0], *args, INT64(0))
        return builder.load_atomic(pointer, ORDER, 8)

    return types.int64(array, types.intp), codegen


@intrinsic
def atomic_store(typingctx, array, row, value):
    """array[row, 0] = value"""

    def codegen(context, builder, sig, args):
        pointer = element_pointer(context, builder, sig.args[0], *args[:2], INT64(0))
        builder.store_atomic(args[2], pointer, ORDER, 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.int64), codegen


@intrinsic
def atomic_add(typingctx, array, row, value):
    """array[row, 0] += value"""

    def codegen(context, builder, sig, args):
        pointer = element_pointer(context, builder, sig.args[0], *args[:2], INT64(0))
        builder.atomic_rmw("add", pointer, args[2], ORDER)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.int64), codegen


@intrinsic
def atomic_advance(typingctx, array, row, value):
    """Whether array[row, 0] was `value` and is now value + 1."""

    def codegen(context, builder, sig, args):
        pointer = element_pointer(context, builder, sig.args[0], *args[:2], INT64(0))
        result = builder.cmpxchg(pointer, args[2], builder.add(args[2], INT64(1)), ORDER, ORDER)
        return builder.extract_value(result, 1)

    return types.boolean(array, types.intp, types.int64), codegen


@intrinsic
def pause(typingctx):
    """Tell the processor that this is a loop that waits."""

    def codegen(context, builder, sig, args):
        kinds, args = ([ir.IntType(32)], [ir.IntType(32)(1)]) if IS_ARM else ([], [])  # hint 1: yield
        name = "llvm.aarch64.hint" if IS_ARM else "llvm.x86.sse2.pause"
        function = ir.FunctionType(ir.VoidType(), kinds)
        builder.call(cgutils.get_or_insert_function(builder.module, function, name), args)
        return context.get_dummy_value()

    return types.void(), codegen


# Only POSIX has the function; elsewhere a worker that waits long goes on spinning.
_sched_yield = types.ExternalFunction("sched_yield", types.int32()) if sys.platform != "win32" else None


@jit
def give_way():
    """Let another thread have this core, if one waits for it."""
    if _sched_yield is not None:
        _sched_yield()
    else:
        pause()
