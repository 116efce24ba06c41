"""One direction of one layer, forward and backward: the products of whole sequences, and the recurrence between them.

Everything lies as inside (`rows.py`): step by step, all sequences of a step together, zeros where nothing runs.
"""

from typing import Any, NamedTuple

from numba import cuda

from fastgate.kernels.cuda import arrays, recurrence, streams
from fastgate.kernels.cuda.products import COLUMN_PARTS, product, sum_rows
from fastgate.kernels.cuda.weights import separate


class Trace(NamedTuple):
    """What forward leaves for backward: states (T+1,B,H), c empty if the cell has none, and what it saves (T,B,H,S)."""

    h: Any
    c: Any
    saved: Any

    def arrays(self):
        return self


class _Direction:
    """`state` is the row of this direction in the states of the stack."""

    def __init__(self, cell, direction, schedule, slices, input_size, H, size, dtype, state=0):
        self.kind, self.cell, self.precision = cell, cell.of(dtype), cell.precision
        self.reverse, self.schedule, self.I, self.H = direction, schedule, input_size, H
        self.dtype, self.state = dtype, state
        self.T, self.B = schedule.steps, schedule.batch

    def strides(self, y):
        """Of y (T,B,D*H): from step to step, from sequence to sequence, and where this direction's columns begin."""
        width = y.shape[2]
        return y.shape[1] * width, width, self.reverse * self.H

    def scratch(self, name, *shape):
        return arrays.scratch(name, shape, self.dtype)


class Forward(_Direction):
    """x (T,B,I) -> y (T,B,D*H), its columns of this direction"""

    def __call__(self, weights, x, y, start, end):
        """x (T,B,I)  states start (N,B,H) -> y (T,B,D*H)  end"""
        c_steps = 1 if self.cell.memory else 0
        h, c = self.scratch("h", self.T + 1, self.B, self.H), self.scratch("c", c_steps, self.B, self.H)
        self._run(weights, x, y, start, end, h, c, self.scratch("saved", 1, self.B, self.H, self.cell.saved), False)

    def record(self, weights, x, y, start, end, dropout=None):
        """x (T,B,I)  states start (N,B,H) -> y (T,B,D*H)  end, and a trace"""
        c_steps = self.T + 1 if self.cell.memory else 0
        h, c = (arrays.empty((count, self.B, self.H), self.dtype) for count in (self.T + 1, c_steps))
        saved = arrays.empty((self.T, self.B, self.H, self.cell.saved), self.dtype)
        self._run(weights, x, y, start, end, h, c, saved, True)
        return Trace(h, c, saved)

    def _run(self, weights, x, y, start, end, h, c, saved, keeps):
        T, B, H, rows, columns = self.T, self.B, self.H, self.T * self.B, self.H * self.cell.gates
        xw = self.scratch("xw", T, B, H, self.cell.gates)
        product(
            x.flat, weights.W_ih.flat, xw.flat, rows, columns, self.I,
            bias=weights.bias.flat, b_across=True, precision=self.precision,
        )  # fmt: skip
        states = (h, c) if self.cell.memory else (h,)
        for state, own in zip(states, start, strict=True):
            state[0][...] = own[self.state]
        recurrence.forward(
            self.cell, self.precision, xw, weights.W_hh, weights.b_q, self.schedule.lengths, h, c, saved, y,
            self.strides(y), self.reverse, keeps=keeps,
        )  # fmt: skip
        for state, own in zip(states, end, strict=True):
            own[self.state][...] = state[len(state) - 1]


class Backward(_Direction):
    """dy (T,B,D*H), its columns of this direction -> dx (T,B,I), added to in the second direction, and gradients"""

    def whole(self, weights, trace, x, dy, d_end, d_start, dx, gradients, extras=None, dropout=None):
        """x (T,B,I)  dy (T,B,D*H)  d_end (N,B,H)
        -> dx (T,B,I)  d_start  gradients: W_ih (G*H,I)  W_hh (G*H,H)  b_ih, b_hh (1,G*H)
        """
        T, B, H, R, rows = self.T, self.B, self.H, self.cell.gradients, self.T * self.B
        da, dh, dc = self.scratch("da", T, B, H, R), self.scratch("dh", B, H), self.scratch("dc", B, H)
        moving = (dh, dc) if self.cell.memory else (dh,)
        for state, own in zip(moving, d_end, strict=True):
            state[...] = own[self.state]
        recurrence.backward(
            self.cell, self.precision, weights.W_hh, weights.W_T, dy, self.strides(dy), self.schedule.lengths, *trace,
            da, dh, dc, self.reverse,
        )  # fmt: skip
        for state, own in zip(moving, d_start, strict=True):
            own[self.state][...] = state
        da_by_time = self._by_time(da)
        product(
            da_by_time.flat, weights.W_ih.flat, dx.flat, rows, self.I, H * R,
            added=bool(self.reverse), precision=self.precision,
        )  # fmt: skip
        gates, recurrent = self.kind.gates, self.cell.recurrent
        own = self._weights(da_by_time, x, self.I)
        separate(own, gates, gradients[0])
        own = self._weights(da, trace.h, H)
        separate(own, recurrent, gradients[1])
        if self.cell.reset:
            operand = self.scratch("operand", T, B, H)
            read, sizes = (trace.saved.flat, trace.h.flat, self.schedule.lengths.flat), (self.cell.saved, T, B, H)
            streams.over(_reset_states, operand.size, *read, operand.flat, *sizes, self.reverse)
            last, own = gradients[1].shape[0] - H, self._weights(da, operand, H)
            separate(own, recurrent[-1:], gradients[1][last:])
        sums = self.scratch("sums", H, R, 1)
        sum_rows(da.flat, sums.flat, rows, H * R, self.scratch("parts", COLUMN_PARTS, H * R).flat)
        separate(sums, gates, gradients[2])
        separate(sums, recurrent, gradients[3])

    def _weights(self, da, operand, width):
        """da (T,B,H,R)  operand (T,B,K) -> (H,R,K), the sum of their products over all rows"""
        H, R = da.shape[2:]
        out = self.scratch("dW", H, R, width)
        product(da.flat, operand.flat, out.flat, H * R, width, self.T * self.B, a_across=True, precision=self.precision)
        return out

    def _by_time(self, da):
        """da by the step of computing -> by time, as x lies"""
        if not self.reverse or self.T < 2:
            return da
        out, each = self.scratch("da by time", *da.shape), da.size // self.T
        streams.over(_turn_round, da.size, da.flat, out.flat, self.T, each)
        return out


@cuda.jit
def _turn_round(x, out, T, each):
    """x (T*N) -> out (T*N), the last step first"""
    for i in range(cuda.grid(1), T * each, cuda.gridsize(1)):
        out[(T - 1 - i // each) * each + i % each] = x[i]


@cuda.jit
def _reset_states(saved, h, lengths, out, S, T, B, H, reverse):
    """saved (T,B,H,S), r first  h (T+1,B,H)  lengths (B) -> out (T,B,H), r * h where it was computed"""
    for i in range(cuda.grid(1), T * B * H, cuda.gridsize(1)):
        s, n = i // (B * H), i // H % B
        out[i] = 0
        if (T - 1 - s if reverse else s) < lengths[n]:
            out[i] = saved[i * S] * h[i]
