"""The recurrence of one direction or of both, by the kernels that `plan.py` chooses, or step by step.

D is the number of directions; bit d of `reverse` says whether direction d begins at the end.
"""

import numpy as np

from fastgate.kernels.cuda import arrays, elementwise, steps, streams
from fastgate.kernels.cuda.plan import plan_for
from fastgate.kernels.cuda.prims import SIMULATED, UNSET

HAS_PLANS = not SIMULATED  # Numba's simulator knows neither warps nor blocks that run at the same time


def choice(which, cell, H, B, dtype, precision, keeps, directions=1):
    """What is best for "forward" or "backward"; None where only steps can be."""
    if not HAS_PLANS or cell.is_masked or cell.is_projected:
        return None
    plan = plan_for(cell, H, B, dtype=str(dtype), precision=precision, keeps=keeps, directions=directions)
    found = getattr(plan, which)
    return None if found.program is None else found


def is_better_together(*sizes):
    """Whether two directions should share one launch."""
    both, one = choice(*sizes, directions=2), choice(*sizes)
    return both is not None and (one is None or both.microseconds < 2 * one.microseconds)


def forward(
    cell, precision, xw, W, own, lengths, h, c, saved, y, y_strides, reverse, *, keeps, masks, W_hr
):  # fmt: skip
    """xw (D,T,B,H,G)  W (D,H,G,size)  own (D,H,P)  lengths (B)  h (D,T+1,B,size)[:,0]
    c (D,T+1,B,H)[:,0], or (D,1,B,H)  masks (B,G,size)  W_hr (size,H), these two empty unless the cell has them
    -> h  c  saved (D,T,B,H,S), or (D,1,B,H,S)  y, by its strides of t and b and the place of its first column

    `size` is that of h: H, unless the cell is projected. Steps are of one direction alone.
    """
    D, T, B, H, _ = xw.shape
    best, has_two = choice("forward", cell, H, B, xw.dtype, precision, keeps, D), cell.reset is not None
    if best is None:
        operand = arrays.scratch("operand", (B, H if has_two else 0), xw.dtype)
        steps.forward(
            cell, H, h.shape[-1], xw.flat, W.flat, own.flat, lengths.flat, h.flat, c.flat, saved.flat, int(keeps),
            y.flat, y_strides, reverse, T, B, operand.flat, masks.flat, W_hr.flat,
        )  # fmt: skip
        return
    operand = arrays.scratch("operand", (D, T, B, H if has_two else 0), xw.dtype)
    unset(operand)
    for states in h:
        unset(states[1:])
    read, written = (xw.flat, W.flat, own.flat, lengths.flat), (h.flat, c.flat, operand.flat, saved.flat, y.flat)
    _launch(best, (*read, *written, *y_strides, error_flag().flat, reverse, T, B))


def backward(
    cell, precision, W, W_T, peepholes, dy, dy_strides, lengths, h, c, saved, da, dh, dc, reverse, *, masks, W_hr, shown
):  # fmt: skip
    """W (D,H,G,size)  W_T (D,size,H,G)  peepholes (D,H,P)  dy, by its strides of t and b and the place of its first
    column  lengths (B)  h (D,T+1,B,size)  c (D,T+1,B,H)  saved (D,T,B,H,S)  dh (D,B,size), dc (D,B,H) of the end
    -> da (D,T,B,H,R)  dh, dc of the start  shown (T,B,size), of a projected cell: the gradient of its h
    """
    D, T, B, H, _ = da.shape
    best = choice("backward", cell, H, B, da.dtype, precision, True, D)
    states = lengths.flat, h.flat, c.flat, saved.flat, da.flat, dh.flat, dc.flat
    if best is None:
        steps.backward(
            cell, H, h.shape[-1], W.flat, peepholes.flat, dy.flat, dy_strides, *states, reverse, T, B, masks.flat,
            W_hr.flat, shown.flat,
        )  # fmt: skip
        return
    unset(da)
    _launch(best, (W_T.flat, peepholes.flat, dy.flat, *dy_strides, *states, error_flag().flat, reverse, T, B))


def _launch(best, arguments):
    best.program.launch(best.grid, arguments, streams.stream())


def unset(array):
    """Every bit 1, which no arithmetic gives: what blocks wait for is not there yet."""
    kind = np.dtype(f"i{array.dtype.itemsize}")
    streams.over(elementwise.fill, array.size, array.flat.view(kind), kind.type(UNSET), array.size)


def error_flag():
    """(1,) of this thread: kernels write 1 there if they have waited in vain. `streams.synchronize` looks at it."""
    if not hasattr(streams.local_state, "error"):
        streams.local_state.error = arrays.zeros((1,), np.dtype(np.int32))
    return streams.local_state.error
