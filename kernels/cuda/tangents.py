"""Forward-mode derivatives of a recurrence, with a launch for every step, or for each half of one.

A cell acts on each unit by itself and has few outputs, so that its reverse, with a one for one output and zeros for the
others, gives all of its Jacobian: no equation is written again. The tape of the run determines it. Arrays and steps are
those of `steps.py`; where a name begins with d they are of tangents.
"""

from functools import cache

import numpy as np
from numba import cuda, float32, float64

from fastgate.kernels.arithmetic import fma
from fastgate.kernels.cuda import streams, transfers
from fastgate.kernels.cuda.direction import _Direction
from fastgate.kernels.cuda.operands import operands
from fastgate.kernels.cuda.products import product
from fastgate.kernels.cuda.weights import pack_weights
from fastgate.kernels.jit import equation


class Tangent(_Direction):
    """Of one direction of one layer, what its `Forward` has recorded being given."""

    def __call__(self, weights, trace, moves, x, dx, dy, d_start, d_end):
        """x, dx (T,B,I)  moves: W_ih (G*H,I), W_hh (G*H,H), b_ih, b_hh (G*H), `Extras`; or None where no parameter does
        states d_start (N,B,H) -> dy (T,B,D*H), its columns of this direction  d_end
        """
        T, B, H, G = self.T, self.B, self.H, self.cell.gates
        transfers.wait_for(weights.W_hh.stream)
        dxw, of_rows = self.scratch("xw", T, B, H, G), (T * B, H * G, self.I)
        how = {"b_across": True, "precision": self.precision}
        W, own_weights, reset = weights.W_hh, weights.own, self.cell.reset is not None
        dW, d_own = W, own_weights
        operand, d_operand = self.scratch("operand", T, B, 0), self.scratch("d_operand", B, H * reset)
        if moves:
            own = pack_weights(self.kind, *moves)
            dW, d_own = own.W_hh, own.own
            product(x.flat, own.W_ih.flat, dxw.flat, *of_rows, bias=own.bias.flat, **how)
            if reset:
                *_, (_, operand) = operands(self.cell, trace, None, self.schedule.lengths, self.reverse)
        product(dx.flat, weights.W_ih.flat, dxw.flat, *of_rows, added=bool(moves), **how)
        dh, dc = self.scratch("dh", 2, B, H), self.scratch("dc", 1, B, H if self.cell.memory else 0)
        moving = (dh, dc) if self.cell.memory else (dh,)
        for state, own_state in zip(moving, d_start, strict=True):
            state[0][...] = own_state[self.state]
        width = dy.shape[2]
        run(
            _kernels(self.cell, H, bool(moves), self.kind.has_candidate_bias, str(self.dtype)), H,
            [array.flat for array in (
                dxw, W, dW, own_weights, d_own, self.schedule.lengths, *trace.arrays(), operand
            )],
            [array.flat for array in (dh, dc, d_operand, dy)], (B * width, width, self.reverse * H), self.reverse, T, B,
        )  # fmt: skip
        for state, its_end, slot in zip(moving, d_end, (T % 2, 0), strict=False):
            its_end[self.state][...] = state[slot]


def run(kernels, H, read, written, y_strides, reverse, T, B):
    """read: dxw (T,B,H,G), W, dW (H,G,H), own, d_own (H,P), lengths (B), h, c, saved, operand (T,B,H) of two phases
    written: dh (2,B,H)[0], dc (B,H), d_operand (B,H), dy by its strides of t and b and the place of its first column
    -> dh[T % 2]  dc  dy
    """
    step, reset = kernels
    for s in range(T):
        t = T - 1 - s if reverse else s
        if reset is not None:
            streams.over(reset, B * H, *read, *written, s, t, B)
        streams.over(step, B * H, *read, *written, *y_strides, s, t, B)


@cache
def _kernels(cell, H, moves, has_candidate_bias, dtype):
    """`moves`: whether parameters do."""
    real, number = (float32, np.float32) if dtype == "float32" else (float64, np.float64)
    zero, one = number(0), number(1)
    G, S, R, has_memory, is_reset = cell.gates, cell.saved, cell.gradients, cell.memory, cell.reset is not None
    places, recurrent, first_gate = max(1, S), cell.recurrent, cell.phases[-1][0]
    P, peepholes = cell.own, cell.peepholes or (0,)
    last = peepholes[-1]
    cell_backward, reset_backward = cell.backward, cell.reset_backward

    @equation
    def move_gates(first, last, dxw, at, W, dW, d_own, unit, values, row, tangents, d_row, a):
        """What moves the pre-activations of a unit's gates first to last, in `a` by the places of da"""
        for g in range(first, last):
            total = zero
            for k in range(H):
                total = fma(W[(unit * G + g) * H + k], tangents[d_row + k], total)
                if moves:
                    total = fma(dW[(unit * G + g) * H + k], values[row + k], total)
            if moves and has_candidate_bias and g == G - 1:
                total += d_own[unit]
            a[g] += dxw[at + g]
            a[recurrent[g]] += total

    @equation
    def derivative(dh_next, dc_next, saved, mine, h_prev, c_prev, h_next, c_next, dh, dc, a, da):
        """Of h, or of c: with a one for it and a zero for the other"""
        for r in range(R):
            da[r] = zero
        dh_prev, dc_prev = cell_backward(saved, mine, h_prev, c_prev, h_next, c_next, dh_next, dc_next, da)
        if is_reset:
            dh_prev += reset_backward(saved, h_prev, zero, da)
        total = dh_prev * dh + dc_prev * dc
        for r in range(R):
            total = fma(da[r], a[r], total)
        return total

    @cuda.jit
    def step(
        dxw, W, dW, own, d_own, lengths, h, c, saved, operand, dh, dc, d_operand, dy, y_t, y_b, y_at, s, t, B
    ):  # fmt: skip
        """dxw (T,B,H,G)  W, dW (H,G,H)  own, d_own (H,P)  lengths (B)  h, c (T+1,B,H)  saved (T,B,H,S)
        operand (T,B,H)  d_operand (B,H)  dh (2,B,H)[s % 2]  dc (B,H) -> dh[1 - s % 2]  dc  dy
        """
        kept, a, da = cuda.local.array(places, real), cuda.local.array(R, real), cuda.local.array(R, real)
        for i in range(cuda.grid(1), B * H, cuda.gridsize(1)):
            n, unit = i // H, i % H
            before, after, now = s * B * H + i, (s + 1) * B * H + i, s % 2 * B * H
            moved, shown = dh[now + i], zero
            if t < lengths[n]:
                at = (t * B * H + i) * G
                for r in range(R):
                    a[r] = dxw[at + r] if r < first_gate else zero  # `reset` has left them there
                for j in range(S):
                    kept[j] = saved[before * S + j]
                if is_reset:
                    row, d_row = (s * B + n) * H, n * H
                    move_gates(first_gate, G, dxw, at, W, dW, d_own, unit, operand, row, d_operand, d_row, a)
                else:
                    row, d_row = (s * B + n) * H, now + n * H
                    move_gates(first_gate, G, dxw, at, W, dW, d_own, unit, h, row, dh, d_row, a)
                mine = own[unit * P : (unit + 1) * P]
                if moves and P and has_memory:
                    for p in range(P):
                        seen = c[after] if peepholes[p] == last else c[before]
                        a[peepholes[p]] = fma(d_own[unit * P + p], seen, a[peepholes[p]])
                if has_memory:
                    states = h[before], c[before], h[after], c[after], moved, dc[i]
                    moved = derivative(one, zero, kept, mine, *states, a, da)
                    dc[i] = derivative(zero, one, kept, mine, *states, a, da)
                else:
                    moved = derivative(one, zero, kept, mine, h[before], zero, h[after], zero, moved, zero, a, da)
                shown = moved
            dh[B * H - now + i] = moved
            dy[t * y_t + n * y_b + y_at + unit] = shown

    @cuda.jit
    def reset(dxw, W, dW, own, d_own, lengths, h, c, saved, operand, dh, dc, d_operand, dy, s, t, B):
        """dxw (T,B,H,G)  W, dW (H,G,H)  own, d_own (H,P)  lengths (B)  h (T+1,B,H)  saved (T,B,H,S)  dh (2,B,H)[s % 2]
        -> d_operand (B,H)  dxw, all that moves the gates of the first phase
        """
        kept, a, da = cuda.local.array(places, real), cuda.local.array(R, real), cuda.local.array(R, real)
        for i in range(cuda.grid(1), B * H, cuda.gridsize(1)):
            n, unit = i // H, i % H
            before, at, now = s * B * H + i, (t * B * H + i) * G, s % 2 * B * H
            if t < lengths[n]:
                for r in range(R):
                    a[r], da[r] = zero, zero
                for j in range(S):
                    kept[j] = saved[before * S + j]
                move_gates(0, first_gate, dxw, at, W, dW, d_own, unit, h, (s * B + n) * H, dh, now + n * H, a)
                total = reset_backward(kept, h[before], one, da) * dh[now + i]
                for g in range(first_gate):
                    dxw[at + g] = a[g]
                    total = fma(da[g], a[g], total)
                d_operand[i] = total

    return step, reset if is_reset else None
