"""The register tile: up to TILE_ROWS x TILE_COLUMNS vectors that stay in registers over a whole inner product.

    out[r, c] = start[r, c] + (sum over k of a[r, k] * w[k, c])

`r` is a row, `c` a vector of columns. Every element is one chain of multiply-adds in the order of k, whatever the size
of the tile: this is what makes results independent of how rows are split. The chain begins at zero and `start` is added
last, so that a long sum taken in chunks loses no more than each chunk does. Where w has scales, they multiply the sum
just before.
"""

from llvmlite import ir
from numba.core import types
from numba.core.extending import intrinsic

from fastgate.kernels.arithmetic import splat
from fastgate.kernels.cpu.features import TILE_COLUMNS, TILE_ROWS
from fastgate.kernels.cpu.quantize import has_scales, load_half, load_scales, load_weights, rows_together
from fastgate.kernels.cpu.simd import data_pointer, llvm_vector, load_at, multiply_add, require_contiguous, store_at

INT64 = ir.IntType(64)

# Steps of k at a time in a tile of one row: several cache lines of each panel, which is faster where panels lie a power
# of two apart and compete for the cache.
UNROLLED = 4


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

    Columns of `out` and `start` are adjacent vectors; w[k, c] is the vector at w_at + k * lanes + c * w_column. The
    type of w may be any of `quantize.py`; scales, if it has any, lie before w_at.
    """
    require_contiguous(out, start, a, w)
    sizes = types.intp
    signature = types.void(
        sizes, sizes, sizes, out, sizes, sizes, start, sizes, sizes, a, sizes, sizes, sizes, w, sizes, sizes
    )

    def codegen(context, builder, sig, args):
        rows, columns, depth = args[:3]
        firsts = [
            builder.gep(data_pointer(context, builder, sig.args[i], args[i]), [args[i + 1]]) for i in (3, 6, 9, 13)
        ]
        operands = [depth, firsts[0], args[5], firsts[1], args[8], firsts[2], args[11], args[12], firsts[3], args[15]]
        done = builder.append_basic_block("tiles_done")
        size = builder.add(builder.mul(rows, INT64(TILE_COLUMNS + 1)), columns)
        switch = builder.switch(size, done)
        for r in range(1, TILE_ROWS + 1):
            for c in range(1, TILE_COLUMNS + 1):
                block = builder.append_basic_block("tile")
                switch.add_case(INT64(r * (TILE_COLUMNS + 1) + c), block)
                builder.position_at_end(block)
                builder.call(_tile_function(builder.module, llvm_vector(out.dtype), w.dtype, r, c), operands)
                builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return signature, codegen


def _tile_function(module, vector, weight, rows, columns):
    """One size of tile, a function: inside its caller the addresses of all sizes would compete for registers."""
    name = f"tile_{rows}x{columns}_{vector.element}" + ("" if isinstance(weight, types.Float) else f"_{weight}")
    if name in module.globals:
        return module.globals[name]
    pointer = vector.element.as_pointer()
    w_pointer = pointer if isinstance(weight, types.Float) else ir.IntType(weight.bitwidth).as_pointer()
    kinds = [INT64, pointer, INT64, pointer, INT64, pointer, INT64, INT64, w_pointer, INT64]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)
    function.linkage = "internal"
    function.attributes.add("noinline")
    function.attributes.add("optsize")  # or LLVM unrolls every loop again: slower to compile, and no faster
    depth, out, out_row, start, start_row, a, a_row, a_k, w, w_column = function.args

    b = ir.IRBuilder(function.append_basic_block("entry"))
    loop = _Products(b, vector, weight, rows, columns)
    loop.a, loop.a_k = [b.gep(a, [b.mul(a_row, INT64(r))]) for r in range(rows)], a_k
    loop.w = [b.gep(w, [b.mul(w_column, INT64(c))]) for c in range(columns)]
    begin = INT64(0)
    for steps in sorted({UNROLLED if rows == 1 else 1, rows_together(weight), 1}, reverse=True):
        end = b.sub(depth, b.urem(depth, INT64(steps)))
        loop.emit(begin, end, steps)
        begin = end
    scales = [load_scales(b, panel, vector) for panel in loop.w] if has_scales(weight) else []
    for i, total in enumerate(loop.sums):
        r, c = divmod(i, columns)
        column = INT64(c * vector.count)
        before = load_at(b, b.gep(start, [b.add(b.mul(start_row, INT64(r)), column)]), vector)
        scaled = multiply_add(b, total, scales[c], before) if scales else b.fadd(before, total)
        store_at(b, scaled, b.gep(out, [b.add(b.mul(out_row, INT64(r)), column)]))
    b.ret_void()
    return function


class _Products:
    """The inner loop, `sums` being those so far, and addresses those of the first elements."""

    def __init__(self, builder, vector, weight, rows, columns):
        self.builder, self.vector, self.weight, self.rows, self.columns = builder, vector, weight, rows, columns
        self.sums = [ir.Constant(vector, None)] * (rows * columns)

    def emit(self, begin, end, steps):
        """Add the products of `begin` <= k < `end`, `steps` of them at a time."""
        b, starts, entry = self.builder, self.sums, self.builder.block
        loop, after = b.append_basic_block("products"), b.append_basic_block("after")
        b.cbranch(b.icmp_signed("<", begin, end), loop, after)

        b.position_at_end(loop)
        k = b.phi(INT64)
        phis = [b.phi(self.vector) for _ in starts]
        sums = phis
        for step in range(steps):
            sums = self._multiply_adds(k, step, steps, sums)
        following = b.add(k, INT64(steps))
        b.cbranch(b.icmp_signed("<", following, end), loop, after)

        b.position_at_end(after)
        self.sums = [b.phi(self.vector) for _ in starts]
        for phi, value_at_entry, value in zip([k, *phis], [begin, *starts], [following, *sums], strict=True):
            phi.add_incoming(value_at_entry, entry)
            phi.add_incoming(value, loop)
        for phi, value_at_entry, value in zip(self.sums, starts, sums, strict=True):
            phi.add_incoming(value_at_entry, entry)
            phi.add_incoming(value, loop)

    def _multiply_adds(self, k, step, steps, sums):
        b, columns = self.builder, self.columns
        together = rows_together(self.weight) if steps > 1 else 1
        part = step % together
        if part and self.rows > 2:
            # Both rows of a group at a time would not fit in the registers: they are read once more.
            b.asm(ir.FunctionType(ir.VoidType(), []), "", "~{memory}", [], True)
        own_k, group = b.add(k, INT64(step)), b.add(k, INT64(step - part))
        later = list(sums)
        splats = [splat(b, b.load(b.gep(row, [b.mul(own_k, self.a_k)])), self.vector) for row in self.a]
        for c, panel in enumerate(self.w):
            first = b.gep(panel, [b.mul(group, INT64(self.vector.count))])
            if together == 2:
                w = load_half(b, first, part, self.vector)
            else:
                w = load_weights(b, first, self.weight, self.vector)
            for r in range(self.rows):
                later[r * columns + c] = multiply_add(b, splats[r], w, sums[r * columns + c])
        return later
