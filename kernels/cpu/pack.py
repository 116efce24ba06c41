"""Weight layouts: panels hold a matrix as the tile reads it, one vector of columns after the other.

`rows` says which row of the weight is meant, -1 none: zeros (see `layout.py`). Padding is in the packed weights, never
in the user's arrays. In training weights are packed at every step, so this has to be fast.
"""

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.extending import intrinsic

from fastgate.kernels.cpu.simd import (
    element_pointer,
    lanes_of,
    llvm_vector,
    load_at,
    require_contiguous,
    store,
    store_at,
)
from fastgate.kernels.cpu.tail import load_some
from fastgate.kernels.jit import jit

INT64, INT32 = ir.IntType(64), ir.IntType(32)


@jit
def pack_forward(weight, rows, panels):
    """weight (G*H,K)  rows (N*lanes) -> panels (N,K,lanes), to compute a @ weight[rows].T"""
    width, (count, depth, _) = lanes_of(weight), panels.shape
    flat = panels.reshape((count, depth * width))
    whole = depth // width * width
    for panel in range(count):
        for k in range(0, whole, width):
            _transpose(weight, rows, panel * width, k, flat, panel)
        for lane in range(width):
            row = rows[panel * width + lane]
            for k in range(whole, depth):
                panels[panel, k, lane] = weight[row, k] if row >= 0 else 0.0


@jit
def pack_backward(weight, rows, panels):
    """weight (G*H,N)  rows (K) -> panels (Np/lanes,K,lanes), to compute da @ weight[rows]"""
    width, (count, depth, _) = lanes_of(weight), panels.shape
    flat = panels.reshape((count, depth * width))
    for panel in range(count):
        first = panel * width
        for k in range(depth):
            store(flat, panel, k * width, load_some(weight, rows[k], first, weight.shape[1] - first))


@jit
def add_bias(b, rows, starts, bias):
    """b (G*H)  rows (S,C)  starts (S) -> bias (S,M)[:, starts:] += b[rows]"""
    for s in range(rows.shape[0]):
        for column in range(rows.shape[1]):
            row = rows[s, column]
            if row >= 0:
                bias[s, starts[s] + column] += b[row]


@intrinsic
def _transpose(typingctx, weight, rows, first, k, flat, panel):
    """weight (G*H,K)[rows[first : first+lanes], k : k+lanes] -> flat (N,K*lanes)[panel, k*lanes:], transposed"""
    require_contiguous(weight, rows, flat)

    def codegen(context, builder, sig, args):
        weight_kind, rows_kind, *_, flat_kind, _ = sig.args
        source, chosen, first, k, target, panel = args
        vector = llvm_vector(weight.dtype)
        width = vector.count
        index = cgutils.create_struct_proxy(rows_kind)(context, builder, chosen).data
        lines = []
        for lane in range(width):
            row = builder.load(builder.gep(index, [builder.add(first, INT64(lane))]))
            exists = builder.icmp_signed(">=", row, INT64(0))
            at = element_pointer(context, builder, weight_kind, source, builder.select(exists, row, INT64(0)), k)
            lines.append(builder.select(exists, load_at(builder, at, vector), vector(None)))
        for lane, line in enumerate(_transposed(builder, lines)):
            column = builder.mul(builder.add(k, INT64(lane)), INT64(width))
            store_at(builder, line, element_pointer(context, builder, flat_kind, target, panel, column))
        return context.get_dummy_value()

    return types.void(weight, rows, types.intp, types.intp, flat, types.intp), codegen


def _transposed(builder, lines):
    """A square of vectors, transposed by exchanging halves, quarters, ... of pairs of them."""
    lines, width = list(lines), len(lines)
    distance = width // 2
    while distance:
        low = [j if not j & distance else width + j - distance for j in range(width)]
        high = [j + distance if not j & distance else width + j for j in range(width)]
        for i in range(width):
            if not i & distance:
                pair = lines[i], lines[i + distance]
                lines[i], lines[i + distance] = (
                    builder.shuffle_vector(*pair, ir.Constant(ir.VectorType(INT32, width), mask))
                    for mask in (low, high)
                )
        distance //= 2
    return lines
