"""The register tile: up to TILE_ROWS x TILE_COLUMNS vectors that stay in registers over a whole inner product.

    out[r, c] = start[r, c] + (sum over k of a[r, k] * w[k, c])

`r` is a row, `c` a vector of columns. Every element is one chain of multiply-adds in the order of k, whatever the size
of the tile: this is what makes results independent of how rows are split. The chain begins at zero and `start` is added
last, so that a long sum taken in chunks loses no more than each chunk does.
"""

from llvmlite import ir
from numba.core import types
from numba.core.extending import intrinsic

from fastgate.kernels.arithmetic import splat
from fastgate.kernels.cpu.features import TILE_COLUMNS, TILE_ROWS
from fastgate.kernels.cpu.simd import data_pointer, llvm_vector, load_at, multiply_add, require_contiguous, store_at

INT64 = ir.IntType(64)


@intrinsic
def multiply_tile(
    typingctx,
    rows,
    columns,
    depth,
    out,
    out_at,
    out_row,
    start,
    start_at,
    start_row,
    a,
    a_at,
    a_row,
    a_k,
    w,
    w_at,
    w_column,
):
    """Compute one tile of `rows` x `columns` vectors; `*_at` are offsets and the others strides, in elements.

    Columns of `out` and `start` are adjacent vectors; w[k, c] is the vector at w_at + k * lanes + c * w_column.
    """
    require_contiguous(out, start, a, w)
    sizes = types.intp
    signature = types.void(
        sizes, sizes, sizes, out, sizes, sizes, start, sizes, sizes, a, sizes, sizes, sizes, w, sizes, sizes
    )

    def codegen(context, builder, sig, args):
        rows, columns, depth = args[:3]
        pointers = [data_pointer(context, builder, sig.args[i], args[i]) for i in (3, 6, 9, 13)]
        operands = _Operands(builder, llvm_vector(out.dtype), pointers, args)
        done = builder.append_basic_block("tiles_done")
        size = builder.add(builder.mul(rows, INT64(TILE_COLUMNS + 1)), columns)
        switch = builder.switch(size, done)
        for r in range(1, TILE_ROWS + 1):
            for c in range(1, TILE_COLUMNS + 1):
                block = builder.append_basic_block(f"tile_{r}x{c}")
                switch.add_case(INT64(r * (TILE_COLUMNS + 1) + c), block)
                builder.position_at_end(block)
                _emit_tile(builder, operands, depth, r, c)
                builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return signature, codegen


class _Operands:
    """Addresses of the tile's elements."""

    def __init__(self, builder, vector, pointers, args):
        self.builder, self.vector = builder, vector
        self.out, self.start, self.a, self.w = pointers
        self.out_at, self.out_row = args[4:6]
        self.start_at, self.start_row = args[7:9]
        self.a_at, self.a_row, self.a_k = args[10:13]
        self.w_at, self.w_column = args[14:16]

    def address(self, pointer, at, stride, index, extra=0):
        b = self.builder
        return b.gep(pointer, [b.add(b.add(at, b.mul(stride, INT64(index))), INT64(extra))])

    def of_out(self, r, c):
        return self.address(self.out, self.out_at, self.out_row, r, c * self.vector.count)

    def of_start(self, r, c):
        return self.address(self.start, self.start_at, self.start_row, r, c * self.vector.count)

    def of_a(self, r):
        return self.address(self.a, self.a_at, self.a_row, r)

    def of_w(self, c):
        return self.address(self.w, self.w_at, self.w_column, c)


def _emit_tile(b, at, depth, rows, columns):
    cells = [(r, c) for r in range(rows) for c in range(columns)]
    a, w = [at.of_a(r) for r in range(rows)], [at.of_w(c) for c in range(columns)]
    zero = ir.Constant(at.vector, None)
    entry = b.block
    loop, end = b.append_basic_block("products"), b.append_basic_block("store")
    b.cbranch(b.icmp_signed(">", depth, INT64(0)), loop, end)

    b.position_at_end(loop)
    k = b.phi(INT64)
    sums = [b.phi(at.vector) for _ in cells]
    splats = [splat(b, b.load(b.gep(row, [b.mul(k, at.a_k)])), at.vector) for row in a]
    products = [None] * len(cells)
    for c in range(columns):
        panel = load_at(b, b.gep(w[c], [b.mul(k, INT64(at.vector.count))]), at.vector)
        for r in range(rows):
            products[r * columns + c] = multiply_add(b, splats[r], panel, sums[r * columns + c])
    following = b.add(k, INT64(1))
    k.add_incoming(INT64(0), entry)
    k.add_incoming(following, loop)
    for phi, later in zip(sums, products, strict=True):
        phi.add_incoming(zero, entry)
        phi.add_incoming(later, loop)
    b.cbranch(b.icmp_signed("<", following, depth), loop, end)

    b.position_at_end(end)
    totals = [b.phi(at.vector) for _ in cells]
    for phi, all_products in zip(totals, products, strict=True):
        phi.add_incoming(zero, entry)
        phi.add_incoming(all_products, loop)
    for (r, c), total in zip(cells, totals, strict=True):
        store_at(b, b.fadd(load_at(b, at.of_start(r, c), at.vector), total), at.of_out(r, c))
