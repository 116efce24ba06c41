"""The machine's roof: how fast a core multiplies and adds, and how fast it reads, if it does nothing else."""

from llvmlite import ir
from numba.core import types
from numba.core.extending import intrinsic

from fastgate.kernels.cpu.features import lanes
from fastgate.kernels.cpu.simd import data_pointer, llvm_vector, load_at, multiply_add, require_contiguous, store_at
from fastgate.kernels.jit import jit

INT64 = ir.IntType(64)
CHAINS = 12  # in flight at once: more than any core's latency times its units, and few enough to stay in registers


@jit
def multiply_and_add(values, rounds):
    """values (2+C,W): C vectors of v, a, b -> each v = v a + b, `rounds` times"""
    _multiply_and_add(values, rounds)


@jit
def read(values, out, rounds):
    """values (P,W), P a multiple of C -> out (C,W): the sum of all rows, `rounds` times over"""
    for _ in range(rounds):
        _read(values, out, values.shape[0] // out.shape[0])


def multiply_adds_per_round(dtype):
    """Of `multiply_and_add`."""
    return CHAINS * lanes(dtype)


@intrinsic
def _multiply_and_add(typingctx, values, rounds):
    require_contiguous(values)

    def codegen(context, builder, sig, args):
        vector = llvm_vector(values.dtype)
        at = _rows_of(builder, data_pointer(context, builder, sig.args[0], args[0]), vector)
        scale, shift = (load_at(builder, at(INT64(CHAINS + i)), vector) for i in range(2))

        def body(i, chains):
            return [multiply_add(builder, value, scale, shift) for value in chains]

        _loop(builder, vector, at, args[1], body)
        return context.get_dummy_value()

    return types.void(values, types.intp), codegen


@intrinsic
def _read(typingctx, values, out, groups):
    require_contiguous(values, out)

    def codegen(context, builder, sig, args):
        vector = llvm_vector(values.dtype)
        source, sums = (_rows_of(builder, data_pointer(context, builder, sig.args[i], args[i]), vector) for i in (0, 1))

        def body(i, chains):
            first = builder.mul(i, INT64(CHAINS))
            rows = [load_at(builder, source(builder.add(first, INT64(c))), vector) for c in range(CHAINS)]
            return [builder.fadd(value, row) for value, row in zip(chains, rows, strict=True)]

        _loop(builder, vector, sums, args[2], body)
        return context.get_dummy_value()

    return types.void(values, out, types.intp), codegen


def _rows_of(builder, pointer, vector):
    return lambda row: builder.gep(pointer, [builder.mul(row, INT64(vector.count))])


def _loop(b, vector, at, count, body):
    """Take CHAINS vectors from memory through `body` `count` times (at least once), in registers, and put them back."""
    start = [load_at(b, at(INT64(c)), vector) for c in range(CHAINS)]
    entry, loop, end = b.block, b.append_basic_block("loop"), b.append_basic_block("end")
    b.branch(loop)
    b.position_at_end(loop)
    i, chains = b.phi(INT64), [b.phi(vector) for _ in range(CHAINS)]
    following, results = b.add(i, INT64(1)), body(i, chains)
    i.add_incoming(INT64(0), entry)
    i.add_incoming(following, loop)
    for phi, first, later in zip(chains, start, results, strict=True):
        phi.add_incoming(first, entry)
        phi.add_incoming(later, loop)
    b.cbranch(b.icmp_signed("<", following, count), loop, end)
    b.position_at_end(end)
    for c, result in enumerate(results):
        store_at(b, result, at(INT64(c)))
