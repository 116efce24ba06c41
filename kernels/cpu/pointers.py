"""Vectors of any number of lanes at addresses, and inner products of sizes that the compiler knows.

For kernels that become part of somebody else's loop, where every word that is passed on counts: an array is ten of
them, an address one. `rows`, `columns`, `depth` and `lanes` are constants of the compiled code.
"""

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.errors import TypingError
from numba.core.extending import intrinsic

from fastgate.kernels.arithmetic import splat
from fastgate.kernels.cpu.simd import VectorType, llvm_vector, load_at, multiply_add, store_at

INT64 = ir.IntType(64)

# Products of one sum that follow each other in the code: all of them up to the first number, else so many at a time.
ALL_UNROLLED, UNROLLED = 16, 8


@intrinsic
def address_of(typingctx, array):
    """The address of the first element of an array of any strides."""
    if not array.aligned:
        raise TypingError(f"expected an array whose elements are aligned, got {array}")

    def codegen(context, builder, sig, args):
        return cgutils.create_struct_proxy(sig.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), codegen


@intrinsic
def moved(typingctx, pointer, offset):
    """The address so many elements further on."""

    def codegen(context, builder, sig, args):
        return builder.gep(args[0], [args[1]])

    return pointer(pointer, types.intp), codegen


@intrinsic(prefer_literal=True)
def load_lanes(typingctx, pointer, offset, lanes):
    """pointer[offset : offset + lanes]"""
    vector = VectorType(pointer.dtype, lanes.literal_value)

    def codegen(context, builder, sig, args):
        return load_at(builder, builder.gep(args[0], [args[1]]), llvm_vector(vector.dtype, vector.lanes))

    return vector(pointer, types.intp, lanes), codegen


@intrinsic
def store_lanes(typingctx, pointer, offset, value):
    """pointer[offset : offset + lanes] = value"""

    def codegen(context, builder, sig, args):
        store_at(builder, args[2], builder.gep(args[0], [args[1]]))

    return types.void(pointer, types.intp, value), codegen


@intrinsic(prefer_literal=True)
def scatter_lanes(typingctx, pointer, stride, value, count):
    """pointer[0], pointer[stride], ... = the first `count` lanes"""

    def codegen(context, builder, sig, args):
        for i in range(count.literal_value):
            lane = builder.extract_element(args[2], ir.IntType(32)(i))
            builder.store(lane, builder.gep(args[0], [builder.mul(args[1], INT64(i))]))
        return context.get_dummy_value()

    return types.void(pointer, types.intp, value, count), codegen


@intrinsic(prefer_literal=True)
def zero_lanes(typingctx, pointer, lanes):
    """A vector of zeros of the type at the address."""
    vector = VectorType(pointer.dtype, lanes.literal_value)

    def codegen(context, builder, sig, args):
        return ir.Constant(llvm_vector(vector.dtype, vector.lanes), None)

    return vector(pointer, lanes), codegen


@intrinsic(prefer_literal=True)
def load_tuple(typingctx, pointer, count, lanes):
    """`count` vectors, one behind the other"""
    vector = VectorType(pointer.dtype, lanes.literal_value)
    made = types.UniTuple(vector, count.literal_value)

    def codegen(context, builder, sig, args):
        kind = llvm_vector(vector.dtype, vector.lanes)
        places = (builder.gep(args[0], [INT64(i * vector.lanes)]) for i in range(made.count))
        return context.make_tuple(builder, made, [load_at(builder, place, kind) for place in places])

    return made(pointer, count, lanes), codegen


@intrinsic(prefer_literal=True)
def zero_tuple(typingctx, pointer, count, lanes):
    """`count` vectors of zeros of the type at the address."""
    made = types.UniTuple(VectorType(pointer.dtype, lanes.literal_value), count.literal_value)

    def codegen(context, builder, sig, args):
        return ir.Constant(context.get_value_type(made), None)

    return made(pointer, count, lanes), codegen


@intrinsic
def added(typingctx, first, second):
    """The sums of two tuples of vectors."""

    def codegen(context, builder, sig, args):
        pairs = ((builder.extract_value(args[0], i), builder.extract_value(args[1], i)) for i in range(first.count))
        return context.make_tuple(builder, first, [builder.fadd(x, y) for x, y in pairs])

    return first(first, second), codegen


@intrinsic(prefer_literal=True)
def inner_products(typingctx, rows, columns, depth, lanes, a, a_row, a_k, w, w_k, w_column):
    """tile[r][c] = sum over k < depth of a[r * a_row + k * a_k] * w[k * w_k + c * w_column : + lanes]

    Every element is one chain of multiply-adds in the order of k from zero on, as in `tile.py`: the same bits.
    """
    R, C, K, width = (kind.literal_value for kind in (rows, columns, depth, lanes))
    vector = VectorType(w.dtype, width)
    tile = types.UniTuple(types.UniTuple(vector, C), R)
    numbers = types.intp

    def codegen(context, builder, sig, args):
        a, a_row, a_k, w, w_k, w_column = args[4:]
        kind = llvm_vector(vector.dtype, width)
        lines = [builder.gep(a, [builder.mul(a_row, INT64(r))]) for r in range(R)]
        panels = [builder.gep(w, [builder.mul(w_column, INT64(c))]) for c in range(C)]

        def add(sums, k):
            values = [splat(builder, builder.load(builder.gep(line, [builder.mul(k, a_k)])), kind) for line in lines]
            later = list(sums)
            for c, panel in enumerate(panels):
                weights = load_at(builder, builder.gep(panel, [builder.mul(k, w_k)]), kind)
                for r, value in enumerate(values):
                    later[r * C + c] = multiply_add(builder, value, weights, sums[r * C + c])
            return later

        # Else LLVM would read all of `a` before the loop over panels that this stands in, and run out of registers.
        builder.asm(ir.FunctionType(ir.VoidType(), []), "", "~{memory}", [], True)
        sums = [ir.Constant(kind, None)] * (R * C)
        looped = 0 if K <= ALL_UNROLLED else K // UNROLLED * UNROLLED
        if looped:
            sums = _loop(builder, sums, looped, add)
        for k in range(looped, K):
            sums = add(sums, INT64(k))
        made = [context.make_tuple(builder, tile.dtype, sums[r * C : r * C + C]) for r in range(R)]
        return context.make_tuple(builder, tile, made)

    signature = tile(rows, columns, depth, lanes, a, numbers, numbers, w, numbers, numbers)
    return signature, codegen


def _loop(builder, sums, end, add):
    """`sums` after add(sums, k) for all k < end, UNROLLED at a time."""
    entry, loop, after = builder.block, *(builder.append_basic_block(name) for name in ("products", "summed"))
    builder.branch(loop)
    builder.position_at_end(loop)
    k, phis = builder.phi(INT64), [builder.phi(value.type) for value in sums]
    later = phis
    for step in range(UNROLLED):
        later = add(later, builder.add(k, INT64(step)))
    following = builder.add(k, INT64(UNROLLED))
    for phi, first, value in zip([k, *phis], [INT64(0), *sums], [following, *later], strict=True):
        phi.add_incoming(first, entry)
        phi.add_incoming(value, loop)
    builder.cbranch(builder.icmp_signed("<", following, INT64(end)), loop, after)
    builder.position_at_end(after)
    return later
