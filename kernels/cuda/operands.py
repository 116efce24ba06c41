"""What sums over rows are of, behind the recurrence, where that is not h itself: the operands of each gate's product,
and what only some cells have, peepholes and a projection.
"""

from functools import cache

from numba import cuda

from fastgate.kernels.cuda import arrays, streams
from fastgate.kernels.cuda.products import COLUMN_PARTS, product, sum_rows
from fastgate.kernels.cuda.recurrent_dropout import masked
from fastgate.kernels.cuda.weights import separate


def operands(cell, trace, masks, lengths, reverse):
    """Of each product of a step: its gates, and (T,B,size) of all steps by which W was multiplied, in scratch memory"""
    for number, gates in enumerate(cell.phases):
        operand = _of_saved(cell, trace, lengths, reverse, 0, times_h=True) if number else trace.h[:-1]
        if cell.is_masked:
            for gate in gates:
                yield (gate,), masked(operand, masks, gate)
        else:
            yield gates, operand


def peephole_gradient(cell, da, c, lay, out):
    """da (T,B,H,R)  c (T+1,B,H) -> out (P,H); of each sequence (N,P,H), as whose rows `lay` lays those of a step"""
    T, B, H, R = da.shape
    gates, samples = cell.peepholes, out.shape[0] if out.ndim > 2 else 1
    seen = arrays.scratch("seen", (T, B, H, len(gates)), da.dtype)
    sums = arrays.scratch("sums of seen", (samples, H, len(gates), 1), da.dtype)
    parts = arrays.scratch("parts", (COLUMN_PARTS, sums.size), da.dtype)
    streams.over(_seen(gates, R), T * B * H, da.flat, c.flat, seen.flat, T * B * H, B * H)
    own = lay("seen", seen)
    sum_rows(own.flat, sums.flat, own.size // max(1, sums.size), sums.size, parts.flat)
    separate(sums, tuple(range(len(gates))), out)


def projection_gradient(cell, shown, trace, lengths, reverse, precision, lay, out):
    """shown (T,B,size), the gradient of h -> out (size,H); of each sequence (N,size,H), like `peephole_gradient`"""
    m = lay("m", _of_saved(cell, trace, lengths, reverse, cell.saved - 1, times_h=False))
    own, samples = lay("shown", shown), out.shape[0] if out.ndim > 2 else 1
    depth = own.shape[0] * own.shape[1] // max(1, samples)
    product(
        own.flat, m.flat, out.flat, *out.shape[-2:], depth, a_across=True, precision=precision, batch=samples
    )  # fmt: skip


def _of_saved(cell, trace, lengths, reverse, place, *, times_h):
    """(T,B,H) of what is saved at this place, or that times h; zero where no row ran"""
    T, B, H, _ = trace.saved.shape
    out = arrays.scratch("of saved", (T, B, H), trace.saved.dtype)
    read = trace.saved.flat, trace.h.flat, lengths.flat
    streams.over(_take_saved(cell.saved, place, times_h), out.size, *read, out.flat, T, B, H, reverse)
    return out


@cache
def _take_saved(S, place, times_h):
    @cuda.jit
    def kernel(saved, h, lengths, out, T, B, H, reverse):
        """saved (T,B,H,S)  h (T+1,B,H)  lengths (B) -> out (T,B,H)"""
        for i in range(cuda.grid(1), T * B * H, cuda.gridsize(1)):
            s, n = i // (B * H), i // H % B
            out[i] = 0
            if (T - 1 - s if reverse else s) < lengths[n]:
                out[i] = saved[i * S + place] * h[i] if times_h else saved[i * S + place]

    return kernel


@cache
def _seen(gates, R):
    *_, last = gates
    P = len(gates)

    @cuda.jit
    def kernel(da, c, out, size, of_step):
        """da (T,N,R)  c (T+1,N) -> out (T,N,P), the gradient of each gate times what of c it sees"""
        for i in range(cuda.grid(1), size, cuda.gridsize(1)):
            for p in range(P):
                out[i * P + p] = da[i * R + gates[p]] * c[i + of_step if gates[p] == last else i]

    return kernel
