"""The recurrence with a launch for every step, or for each half of one: any size, any dtype, every cell. The reference.

Flat arrays, whose shapes stand in the kernels' docstrings. s counts the steps in the order they are computed in, t is
their time: s, or from the end in a reverse direction. A row runs where t < lengths.
"""

from functools import cache

import numpy as np
from numba import cuda, float32, float64

from fastgate.kernels.arithmetic import fma
from fastgate.kernels.cuda import streams


def forward(cell, H, xw, W, b_q, lengths, h, c, saved, keeps_saved, y, y_strides, reverse, T, B, operand):
    """xw (T,B,H,G)  W (H,G,H)  b_q (H)  lengths (B)  h (T+1,B,H)[0]  c (T+1,B,H)[0], or (1,B,H)
    -> h  c  saved (T,B,H,S), or (1,B,H,S)  y, by its strides of t and b and the place of its first column

    scratch operand (B,H), of a cell of two phases
    """
    keeps_c = int(c.shape[0] > B * H)
    step, reset = _forward_kernels(cell, H, str(xw.dtype))
    for s in range(T):
        t = T - 1 - s if reverse else s
        if reset is not None:
            streams.over(reset, B * H, xw, W, lengths, h, saved, operand, s, s * keeps_saved, t, B)
        streams.over(
            step, B * H, xw, W, b_q, lengths, h, c, saved, operand, y, *y_strides, s, s * keeps_saved, s * keeps_c,
            (s + 1) * keeps_c, t, B,
        )  # fmt: skip


def backward(cell, H, W, dy, dy_strides, lengths, h, c, saved, da, dh, dc, reverse, T, B):
    """W (H,G,H)  dy, by its strides of t and b and the place of its first column  lengths (B)  h, c (T+1,B,H)
    saved (T,B,H,S)  dh, dc (B,H) of the end -> da (T,B,H,R)  dh, dc of the start
    """
    units, reset, product = _backward_kernels(cell, H, str(da.dtype))
    for s in reversed(range(T)):
        t = T - 1 - s if reverse else s
        streams.over(units, B * H, dy, *dy_strides, lengths, h, c, saved, da, dh, dc, s, t, B)
        if reset is not None:
            streams.over(reset, B * H, W, lengths, h, saved, da, dh, s, t, B)
        streams.over(product, B * H, W, lengths, da, dh, s, t, B)


@cache
def _forward_kernels(cell, H, dtype):
    real, zero = (float32, np.float32(0)) if dtype == "float32" else (float64, np.float64(0))
    G, S, places, has_memory, is_reset = cell.gates, cell.saved, max(1, cell.saved), cell.memory, cell.reset is not None
    first_gate, cell_forward, cell_reset = cell.phases[-1][0], cell.forward, cell.reset

    @cuda.jit
    def step(xw, W, b_q, lengths, h, c, saved, operand, y, y_t, y_b, y_at, s, s_saved, s_c, s_c_next, t, B):
        """xw (T,B,H,G)  W (H,G,H)  b_q (H)  lengths (B)  h (T+1,B,H)[s]  c[s_c]  -> h[s+1]  c  saved  y"""
        x, u, own = cuda.local.array(G, real), cuda.local.array(G, real), cuda.local.array(places, real)
        for i in range(cuda.grid(1), B * H, cuda.gridsize(1)):
            n, unit = i // H, i % H
            before, at_c = s * B * H + i, s_c * B * H + i
            h_next = h[before]
            shown = zero
            if t < lengths[n]:
                at = (t * B * H + n * H + unit) * G
                for g in range(first_gate, G):
                    x[g], u[g] = xw[at + g], zero
                for k in range(H):
                    value = operand[n * H + k] if is_reset else h[(s * B + n) * H + k]
                    for g in range(first_gate, G):
                        u[g] = fma(W[(unit * G + g) * H + k], value, u[g])
                at = (s_saved * B * H + i) * S
                if is_reset:
                    for j in range(S):
                        own[j] = saved[at + j]
                c_before = c[at_c] if has_memory else h_next
                h_next, c_next = cell_forward(x, u, b_q[unit], h_next, c_before, own)
                for j in range(S):
                    saved[at + j] = own[j]
                if has_memory:
                    c[s_c_next * B * H + i] = c_next
                shown = h_next
            elif has_memory:
                c[s_c_next * B * H + i] = c[at_c]
            h[before + B * H] = h_next
            y[t * y_t + n * y_b + y_at + unit] = shown

    @cuda.jit
    def reset(xw, W, lengths, h, saved, operand, s, s_saved, t, B):
        """xw (T,B,H,G)  W (H,G,H)  lengths (B)  h (T+1,B,H)[s] -> saved  operand (B,H)"""
        x, u, own = cuda.local.array(G, real), cuda.local.array(G, real), cuda.local.array(places, real)
        for i in range(cuda.grid(1), B * H, cuda.gridsize(1)):
            n, unit = i // H, i % H
            if t < lengths[n]:
                at = (t * B * H + n * H + unit) * G
                for g in range(first_gate):
                    x[g], u[g] = xw[at + g], zero
                for k in range(H):
                    for g in range(first_gate):
                        u[g] = fma(W[(unit * G + g) * H + k], h[(s * B + n) * H + k], u[g])
                operand[i] = cell_reset(x, u, h[s * B * H + i], own)
                at = (s_saved * B * H + i) * S
                for j in range(S):
                    saved[at + j] = own[j]

    return step, reset if is_reset else None


@cache
def _backward_kernels(cell, H, dtype):
    real, zero = (float32, np.float32(0)) if dtype == "float32" else (float64, np.float64(0))
    G, S, R, has_memory, is_reset = cell.gates, cell.saved, cell.gradients, cell.memory, cell.reset is not None
    places, recurrent, gates_of_h = max(1, S), cell.recurrent, cell.phases[0]
    cell_backward, reset_backward = cell.backward, cell.reset_backward

    @cuda.jit
    def units(dy, y_t, y_b, y_at, lengths, h, c, saved, da, dh, dc, s, t, B):
        """dy  lengths (B)  h, c (T+1,B,H)  saved (T,B,H,S)[s]  dh, dc (B,H) -> da (T,B,H,R)[s]  dh but for W  dc"""
        own, own_da = cuda.local.array(places, real), cuda.local.array(R, real)
        for i in range(cuda.grid(1), B * H, cuda.gridsize(1)):
            n, unit = i // H, i % H
            before, at = s * B * H + i, (s * B * H + i) * R
            for r in range(R):
                own_da[r] = zero
            if t < lengths[n]:
                for j in range(S):
                    own[j] = saved[before * S + j]
                dh_next, after = dh[i] + dy[t * y_t + n * y_b + y_at + unit], before + B * H
                if has_memory:
                    dh[i], dc[i] = cell_backward(own, h[before], c[before], h[after], c[after], dh_next, dc[i], own_da)
                else:
                    dh[i], _ = cell_backward(own, h[before], h[before], h[after], h[after], dh_next, dh_next, own_da)
            for r in range(R):
                da[at + r] = own_da[r]

    @cuda.jit
    def reset(W, lengths, h, saved, da, dh, s, t, B):
        """W (H,G,H)  lengths (B)  h (T+1,B,H)[s]  saved (T,B,H,S)[s]  da (T,B,H,R)[s] of the last gate
        -> da of the others  dh
        """
        own, own_da = cuda.local.array(places, real), cuda.local.array(R, real)
        for i in range(cuda.grid(1), B * H, cuda.gridsize(1)):
            n, unit = i // H, i % H
            before = s * B * H + i
            if t < lengths[n]:
                d_operand = zero
                for k in range(H):
                    d_operand = fma(da[((s * B + n) * H + k) * R + R - 1], W[(k * G + G - 1) * H + unit], d_operand)
                for j in range(S):
                    own[j] = saved[before * S + j]
                for r in range(R):
                    own_da[r] = da[before * R + r]
                dh[i] += reset_backward(own, h[before], d_operand, own_da)
                for r in range(R - 1):
                    da[before * R + r] = own_da[r]

    @cuda.jit
    def product(W, lengths, da, dh, s, t, B):
        """W (H,G,H)  lengths (B)  da (T,B,H,R)[s] -> dh (B,H) += da @ W"""
        for i in range(cuda.grid(1), B * H, cuda.gridsize(1)):
            n, unit = i // H, i % H
            if t < lengths[n]:
                total = dh[i]
                for k in range(H):
                    for g in gates_of_h:
                        total = fma(da[((s * B + n) * H + k) * R + recurrent[g]], W[(k * G + g) * H + unit], total)
                dh[i] = total

    return units, reset if is_reset else None, product
