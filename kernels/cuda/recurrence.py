"""The recurrence of one direction, by the kernels that `plan.py` chooses, or step by step."""

import numpy as np

from fastgate.kernels.cuda import arrays, elementwise, steps, streams
from fastgate.kernels.cuda.plan import plan_for
from fastgate.kernels.cuda.prims import SIMULATED, UNSET

HAS_PLANS = not SIMULATED  # Numba's simulator knows neither warps nor blocks that run at the same time


def plan(cell, H, B, dtype, precision, keeps):
    return plan_for(cell, H, B, dtype=str(dtype), precision=precision, keeps=keeps)


def forward(cell, precision, xw, W, b_q, lengths, h, c, saved, y, y_strides, reverse, *, keeps):
    """xw (T,B,H,G)  W (H,G,H)  b_q (H)  lengths (B)  h (T+1,B,H)[0]  c (T+1,B,H)[0], or (1,B,H)
    -> h  c  saved (T,B,H,S), or (1,B,H,S)  y, by its strides of t and b and the place of its first column
    """
    T, B, H, _ = xw.shape
    own = plan(cell, H, B, xw.dtype, precision, keeps).forward if HAS_PLANS else None
    has_two = cell.reset is not None
    if own is None or own.program is None:
        operand = arrays.scratch("operand", (B, H if has_two else 0), xw.dtype)
        steps.forward(
            cell, H, xw.flat, W.flat, b_q.flat, lengths.flat, h.flat, c.flat, saved.flat, int(keeps), y.flat, y_strides,
            reverse, T, B, operand.flat,
        )  # fmt: skip
        return
    operand = arrays.scratch("operand", (T, B, H if has_two else 0), xw.dtype)
    unset(h[1:])
    unset(operand)
    read, written = (xw.flat, W.flat, b_q.flat, lengths.flat), (h.flat, c.flat, operand.flat, saved.flat, y.flat)
    _launch(own, (*read, *written, *y_strides, error_flag().flat, reverse, T, B))


def backward(cell, precision, W, W_T, dy, dy_strides, lengths, h, c, saved, da, dh, dc, reverse):
    """W (H,G,H)  W_T (H,H,G)  dy, by its strides of t and b and the place of its first column  lengths (B)
    h, c (T+1,B,H)  saved (T,B,H,S)  dh, dc (B,H) of the end -> da (T,B,H,R)  dh, dc of the start
    """
    T, B, H, _ = da.shape
    own = plan(cell, H, B, da.dtype, precision, True).backward if HAS_PLANS else None
    states = lengths.flat, h.flat, c.flat, saved.flat, da.flat, dh.flat, dc.flat
    if own is None or own.program is None:
        steps.backward(cell, H, W.flat, dy.flat, dy_strides, *states, reverse, T, B)
        return
    unset(da)
    _launch(own, (W_T.flat, dy.flat, *dy_strides, *states, error_flag().flat, reverse, T, B))


def _launch(choice, arguments):
    choice.program.launch(choice.grid, arguments, streams.stream())


def unset(array):
    """Every bit 1, which no arithmetic gives: what blocks wait for is not there yet."""
    kind = np.dtype(f"i{array.dtype.itemsize}")
    streams.over(elementwise.fill, array.size, array.flat.view(kind), kind.type(UNSET), array.size)


def error_flag():
    """(1,) of this thread: kernels write 1 there if they have waited in vain. `streams.synchronize` looks at it."""
    if not hasattr(streams.local_state, "error"):
        streams.local_state.error = arrays.zeros((1,), np.dtype(np.int32))
    return streams.local_state.error
