"""The recurrence with a launch for every step, or for each part of one: any size, any dtype, every cell. The reference.

Flat arrays, whose shapes stand in the kernels' docstrings. s counts the steps in the order they are computed in, t is
their time: s, or from the end in a reverse direction. A row runs where t < lengths. h has `size` units: H, unless the
cell is projected. Masks are (B,G,size), of a masked cell; W_hr is (size,H), of a projected one.
"""

from functools import cache

import numpy as np
from numba import cuda, float32, float64

from fastgate.kernels.arithmetic import fma
from fastgate.kernels.cuda import streams


def forward(
    cell, H, size, xw, W, own, lengths, h, c, saved, keeps_saved, y, y_strides, reverse, T, B, operand, masks, W_hr
):  # fmt: skip
    """xw (T,B,H,G)  W (H,G,size)  own (H,P)  lengths (B)  h (T+1,B,size)[0]  c (T+1,B,H)[0], or (1,B,H)
    -> h  c  saved (T,B,H,S), or (1,B,H,S)  y, by its strides of t and b and the place of its first column

    scratch operand (B,H), of a cell of two phases
    """
    keeps_c = int(c.shape[0] > B * H)
    step, reset, project = _forward_kernels(cell, H, size, str(xw.dtype))
    for s in range(T):
        t = T - 1 - s if reverse else s
        if reset is not None:
            streams.over(reset, B * H, xw, W, lengths, h, saved, operand, masks, s, s * keeps_saved, t, B)
        streams.over(
            step, B * H, xw, W, own, lengths, h, c, saved, operand, masks, y, *y_strides, s, s * keeps_saved,
            s * keeps_c, (s + 1) * keeps_c, t, B,
        )  # fmt: skip
        if project is not None:
            streams.over(project, B * size, saved, W_hr, lengths, h, y, *y_strides, s, s * keeps_saved, t, B)


def backward(
    cell, H, size, W, peepholes, dy, dy_strides, lengths, h, c, saved, da, dh, dc, reverse, T, B, masks, W_hr, shown
):  # fmt: skip
    """W (H,G,size)  peepholes (H,P)  dy, by its strides of t and b and the place of its first column  lengths (B)
    h (T+1,B,size)  c (T+1,B,H)  saved (T,B,H,S)  dh (B,size) and dc (B,H) of the end
    -> da (T,B,H,R)  dh, dc of the start  shown (T,B,size), of a projected cell: the gradient of its h
    """
    units, reset, product, show = _backward_kernels(cell, H, size, str(da.dtype))
    for s in reversed(range(T)):
        t = T - 1 - s if reverse else s
        if show is not None:
            streams.over(show, B * size, dy, *dy_strides, lengths, dh, shown, s, t, B)
        streams.over(
            units, B * H, dy, *dy_strides, peepholes, lengths, h, c, saved, W_hr, shown, da, dh, dc, s, t, B
        )  # fmt: skip
        if reset is not None:
            streams.over(reset, B * H, W, lengths, h, saved, masks, da, dh, s, t, B)
        streams.over(product, B * size, W, lengths, masks, da, dh, s, t, B)


@cache
def _forward_kernels(cell, H, size, dtype):
    real, zero = (float32, np.float32(0)) if dtype == "float32" else (float64, np.float64(0))
    G, S, P, places, is_reset = cell.gates, cell.saved, cell.own, max(1, cell.saved), cell.reset is not None
    has_memory, is_masked, is_projected = cell.memory, cell.is_masked, cell.is_projected
    first_gate, cell_forward, cell_reset = cell.phases[-1][0], cell.forward, cell.reset

    @cuda.jit
    def step(xw, W, own, lengths, h, c, saved, operand, masks, y, y_t, y_b, y_at, s, s_saved, s_c, s_c_next, t, B):
        """xw (T,B,H,G)  W (H,G,size)  own (H,P)  lengths (B)  h (T+1,B,size)[s]  c[s_c]  masks (B,G,size)
        -> h[s+1] and y, which a projection writes later  c  saved
        """
        x, u, kept = cuda.local.array(G, real), cuda.local.array(G, real), cuda.local.array(places, real)
        for i in range(cuda.grid(1), B * H, cuda.gridsize(1)):
            n, unit = i // H, i % H
            before, at_c = s * B * H + i, s_c * B * H + i
            h_next = zero if is_projected else h[before]
            shown = zero
            if t < lengths[n]:
                at = (t * B * H + n * H + unit) * G
                for g in range(first_gate, G):
                    x[g], u[g] = xw[at + g], zero
                for k in range(size):
                    value = operand[n * H + k] if is_reset else h[(s * B + n) * size + k]
                    for g in range(first_gate, G):
                        part = value * masks[(n * G + g) * size + k] if is_masked else value
                        u[g] = fma(W[(unit * G + g) * size + k], part, u[g])
                at = (s_saved * B * H + i) * S
                if is_reset:
                    for j in range(S):
                        kept[j] = saved[at + j]
                c_before = c[at_c] if has_memory else h_next
                h_next, c_next = cell_forward(x, u, own[unit * P : (unit + 1) * P], h_next, c_before, kept)
                for j in range(S):
                    saved[at + j] = kept[j]
                if has_memory:
                    c[s_c_next * B * H + i] = c_next
                shown = h_next
            elif has_memory:
                c[s_c_next * B * H + i] = c[at_c]
            if not is_projected:
                h[before + B * H] = h_next
                y[t * y_t + n * y_b + y_at + unit] = shown

    @cuda.jit
    def reset(xw, W, lengths, h, saved, operand, masks, s, s_saved, t, B):
        """xw (T,B,H,G)  W (H,G,H)  lengths (B)  h (T+1,B,H)[s]  masks (B,G,H) -> saved  operand (B,H)"""
        x, u, kept = cuda.local.array(G, real), cuda.local.array(G, real), cuda.local.array(places, real)
        for i in range(cuda.grid(1), B * H, cuda.gridsize(1)):
            n, unit = i // H, i % H
            if t < lengths[n]:
                at = (t * B * H + n * H + unit) * G
                for g in range(first_gate):
                    x[g], u[g] = xw[at + g], zero
                for k in range(H):
                    value = h[(s * B + n) * H + k]
                    for g in range(first_gate):
                        part = value * masks[(n * G + g) * H + k] if is_masked else value
                        u[g] = fma(W[(unit * G + g) * H + k], part, u[g])
                operand[i] = cell_reset(x, u, h[s * B * H + i], kept)
                at = (s_saved * B * H + i) * S
                for j in range(S):
                    saved[at + j] = kept[j]

    @cuda.jit
    def project(saved, W_hr, lengths, h, y, y_t, y_b, y_at, s, s_saved, t, B):
        """saved (T,B,H,S), its last  W_hr (size,H)  lengths (B)  h (T+1,B,size)[s] -> h[s+1]  y"""
        for i in range(cuda.grid(1), B * size, cuda.gridsize(1)):
            n, k = i // size, i % size
            before = s * B * size + i
            h_next, shown = h[before], zero
            if t < lengths[n]:
                for unit in range(H):
                    shown = fma(W_hr[k * H + unit], saved[((s_saved * B + n) * H + unit) * S + S - 1], shown)
                h_next = shown
            h[before + B * size] = h_next
            y[t * y_t + n * y_b + y_at + k] = shown

    return step, reset if is_reset else None, project if is_projected else None


@cache
def _backward_kernels(cell, H, size, dtype):
    real, zero = (float32, np.float32(0)) if dtype == "float32" else (float64, np.float64(0))
    G, S, R, P, is_reset = cell.gates, cell.saved, cell.gradients, len(cell.peepholes), cell.reset is not None
    has_memory, is_masked, is_projected = cell.memory, cell.is_masked, cell.is_projected
    places, recurrent, gates_of_h = max(1, S), cell.recurrent, cell.phases[0]
    cell_backward, reset_backward = cell.backward, cell.reset_backward

    @cuda.jit
    def show(dy, y_t, y_b, y_at, lengths, dh, shown, s, t, B):
        """dy  lengths (B)  dh (B,size) -> shown (T,B,size)[s], 0 where nothing runs  dh, 0 where something does"""
        for i in range(cuda.grid(1), B * size, cuda.gridsize(1)):
            n, k = i // size, i % size
            shown[s * B * size + i] = 0
            if t < lengths[n]:
                shown[s * B * size + i] = dh[i] + dy[t * y_t + n * y_b + y_at + k]
                dh[i] = 0

    @cuda.jit
    def units(dy, y_t, y_b, y_at, peepholes, lengths, h, c, saved, W_hr, shown, da, dh, dc, s, t, B):
        """dy  peepholes (H,P)  lengths (B)  h, c (T+1,B,H)  saved (T,B,H,S)[s]  dh, dc (B,H)
        -> da (T,B,H,R)[s]  dc  dh but for W; of a projected cell h and dh are others, and shown (T,B,size) is read
        """
        kept, own_da = cuda.local.array(places, real), cuda.local.array(R, real)
        for i in range(cuda.grid(1), B * H, cuda.gridsize(1)):
            n, unit = i // H, i % H
            before, after, at = s * B * H + i, (s + 1) * B * H + i, (s * B * H + i) * R
            for r in range(R):
                own_da[r] = zero
            if t < lengths[n]:
                for j in range(S):
                    kept[j] = saved[before * S + j]
                own = peepholes[unit * P : (unit + 1) * P]
                if is_projected:
                    h_prev = h_next = dh_next = zero
                    for k in range(size):
                        dh_next = fma(shown[(s * B + n) * size + k], W_hr[k * H + unit], dh_next)
                else:
                    h_prev, h_next = h[before], h[after]
                    dh_next = dh[i] + dy[t * y_t + n * y_b + y_at + unit]
                if has_memory:
                    c_prev, c_next, dc_next = c[before], c[after], dc[i]
                else:
                    c_prev = c_next = dc_next = zero
                dh_prev, dc_prev = cell_backward(kept, own, h_prev, c_prev, h_next, c_next, dh_next, dc_next, own_da)
                if not is_projected:
                    dh[i] = dh_prev
                if has_memory:
                    dc[i] = dc_prev
            for r in range(R):
                da[at + r] = own_da[r]

    @cuda.jit
    def reset(W, lengths, h, saved, masks, da, dh, s, t, B):
        """W (H,G,H)  lengths (B)  h (T+1,B,H)[s]  saved (T,B,H,S)[s]  masks (B,G,H)  da (T,B,H,R)[s] of the last gate
        -> da of the others  dh
        """
        kept, own_da = cuda.local.array(places, real), cuda.local.array(R, real)
        for i in range(cuda.grid(1), B * H, cuda.gridsize(1)):
            n, unit = i // H, i % H
            before = s * B * H + i
            if t < lengths[n]:
                d_operand = zero
                for k in range(H):
                    d_operand = fma(da[((s * B + n) * H + k) * R + R - 1], W[(k * G + G - 1) * H + unit], d_operand)
                if is_masked:
                    d_operand *= masks[(n * G + G - 1) * H + unit]
                for j in range(S):
                    kept[j] = saved[before * S + j]
                for r in range(R):
                    own_da[r] = da[before * R + r]
                dh[i] += reset_backward(kept, h[before], d_operand, own_da)
                for r in range(R - 1):
                    da[before * R + r] = own_da[r]

    @cuda.jit
    def product(W, lengths, masks, da, dh, s, t, B):
        """W (H,G,size)  lengths (B)  masks (B,G,size)  da (T,B,H,R)[s] -> dh (B,size) += da @ W, gate by gate masked"""
        for i in range(cuda.grid(1), B * size, cuda.gridsize(1)):
            n, k = i // size, i % size
            if t < lengths[n]:
                total = dh[i]
                for unit in range(H):
                    for g in gates_of_h:
                        part = da[((s * B + n) * H + unit) * R + recurrent[g]]
                        if is_masked:
                            part *= masks[(n * G + g) * size + k]
                        total = fma(part, W[(unit * G + g) * size + k], total)
                dh[i] = total

    return units, reset if is_reset else None, product, show if is_projected else None
