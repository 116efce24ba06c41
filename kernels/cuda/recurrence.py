"""The recurrence of one direction or of both, by the kernels that `plan.py` chooses, or step by step.

D is the number of directions; bit d of `reverse` says whether direction d begins at the end.
"""

from fastgate.kernels.cuda import arrays, steps, streams, transfers
from fastgate.kernels.cuda.launch import DoesNotFit
from fastgate.kernels.cuda.plan import Device, plan_for, refuse
from fastgate.kernels.cuda.prims import SIMULATED, UNSET

HAS_PLANS = not SIMULATED  # Numba's simulator knows neither warps nor blocks that run at the same time


def choice(which, cell, H, B, dtype, precision, keeps, directions=1):
    """What is best for "forward" or "backward" on the current device; None where only steps can be."""
    if not HAS_PLANS or cell.is_masked or cell.is_projected:
        return None
    options = {"precision": precision, "keeps": keeps, "directions": directions, "device": Device.here()}
    found = getattr(plan_for(cell, H, B, dtype=str(dtype), **options), which)
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

    `size` is that of h: H, unless the cell is projected, which has a direction for itself; as one with masks has.
    """
    (D, T, B, H, _), size = xw.shape, h.shape[-1]
    if not T * B:
        return
    has_two = cell.reset is not None

    def arguments():
        operand = arrays.scratch("operand", (D, T, B, H if has_two else 0), xw.dtype)
        unset(operand)
        for states in h:
            unset(states[1:])
        read, written = (xw.flat, W.flat, own.flat, lengths.flat), (h.flat, c.flat, operand.flat, saved.flat, y.flat)
        return *read, *written, *y_strides, streams.error_flag(), reverse, T, B

    if _at_once(("forward", cell, H, B, xw.dtype, precision, keeps, D), arguments):
        return
    y_t, y_b, y_at = y_strides
    operand = arrays.scratch("operand", (B, H if has_two else 0), xw.dtype)
    for d in range(D):
        parts = xw[d].flat, W[d].flat, own[d].flat, lengths.flat, h[d].flat, c[d].flat, saved[d].flat
        place = (y_t, y_b, y_at + d * size), reverse >> d & 1
        steps.forward(cell, H, size, *parts, int(keeps), y.flat, *place, T, B, operand.flat, masks.flat, W_hr.flat)


def backward(
    cell, precision, W, W_T, peepholes, dy, dy_strides, lengths, h, c, saved, da, dh, dc, reverse, *, masks, W_hr, shown
):  # fmt: skip
    """W (D,H,G,size)  W_T (D,size,H,G)  peepholes (D,H,P)  dy, by its strides of t and b and the place of its first
    column  lengths (B)  h (D,T+1,B,size)  c (D,T+1,B,H)  saved (D,T,B,H,S)  dh (D,B,size), dc (D,B,H) of the end
    -> da (D,T,B,H,R)  dh, dc of the start  shown (T,B,size), of a projected cell: the gradient of its h
    """
    (D, T, B, H, _), size = da.shape, h.shape[-1]
    if not T * B:
        return

    def arguments():
        unset(da)
        states = lengths.flat, h.flat, c.flat, saved.flat, da.flat, dh.flat, dc.flat
        return W_T.flat, peepholes.flat, dy.flat, *dy_strides, *states, streams.error_flag(), reverse, T, B

    if _at_once(("backward", cell, H, B, da.dtype, precision, True, D), arguments):
        return
    y_t, y_b, y_at = dy_strides
    h, c, saved = (part.reshape(D, *part.shape[-n:]) for part, n in ((h, 3), (c, 3), (saved, 4)))
    for d in range(D):
        states = (part[d].flat for part in (h, c, saved, da, dh, dc))
        place, extras = (y_t, y_b, y_at + d * size), (masks.flat, W_hr.flat, shown.flat)
        own = W[d].flat, peepholes[d].flat, dy.flat, place, lengths.flat
        steps.backward(cell, H, size, *own, *states, reverse >> d & 1, T, B, *extras)


def _at_once(sizes, arguments):
    """Whether all steps were computed in one launch, by the best program that the device can run now."""
    streams.check_progress()
    while (own := choice(*sizes)) is not None:
        try:
            own.program.launch(own.grid, arguments(), streams.stream())
            return True
        except DoesNotFit as error:  # a part of a GPU, or one that others use, too: nothing has run
            refuse(own, error.at_once)
    return False


def unset(array):
    """Every bit 1, which no arithmetic gives: what blocks wait for is not there yet."""
    transfers.set_bytes(array.flat, UNSET & 0xFF)
