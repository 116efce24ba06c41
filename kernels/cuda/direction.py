"""One direction of one layer, forward and backward: the products of whole sequences, and the recurrence between them.

Everything lies as inside (`rows.py`): step by step, all sequences of a step together, zeros where nothing runs.
"""

from typing import Any, NamedTuple

from numba import cuda

from fastgate.kernels.cuda import arrays, recurrence, streams, transfers
from fastgate.kernels.cuda.products import COLUMN_PARTS, product, sum_rows
from fastgate.kernels.cuda.weights import separate


class Trace(NamedTuple):
    """What forward leaves for backward: states (T+1,B,H), c empty if the cell has none, and what it saves (T,B,H,S)."""

    h: Any
    c: Any
    saved: Any
    whole: Any  # the arrays (D,...) that these are parts of

    def arrays(self):
        return self[:3]


class _Run:
    """One launch: of a direction by itself, or of the first and, when that has come too, the second."""

    def __init__(self, directions, arrays):
        self.directions, self.arrays, self.members = directions, arrays, []

    @property
    def is_complete(self):
        return len(self.members) == self.directions


class _Direction:
    """`state` is the row of this direction in the states of the stack."""

    def __init__(self, cell, direction, schedule, slices, input_size, H, size, dtype, state=0):
        self.kind, self.cell, self.precision = cell, cell.of(dtype), cell.precision
        self.reverse, self.schedule, self.I, self.H = direction, schedule, input_size, H
        self.dtype, self.state = dtype, state
        self.T, self.B = schedule.steps, schedule.batch

    def strides(self, y, run):
        """Of y (T,B,D*H): from step to step, from sequence to sequence, and where the columns of this run begin."""
        width = y.shape[2]
        return y.shape[1] * width, width, 0 if run.directions == 2 else self.reverse * self.H

    def bits(self, run):
        """Which directions of the run begin at the end."""
        return 0b10 if run.directions == 2 else self.reverse

    def scratch(self, name, *shape):
        return arrays.scratch(name, shape, self.dtype)

    def sizes(self, which, keeps):
        return which, self.cell, self.H, self.B, self.dtype, self.precision, keeps

    def join(self, which, is_together, make):
        """This run, made or waiting for its second direction; and this one's number in it."""
        if not is_together or not self.reverse:
            run = _Run(1 + is_together, make(1 + is_together))
        else:
            run = getattr(streams.local_state, which)
        setattr(streams.local_state, which, None if not is_together or self.reverse else run)
        return run, len(run.members)


class Forward(_Direction):
    """x (T,B,I) -> y (T,B,D*H), its columns of this direction"""

    def __call__(self, weights, x, y, start, end):
        """x (T,B,I)  states start (N,B,H) -> y (T,B,D*H)  end"""
        self._run(weights, x, y, start, end, False)

    def record(self, weights, x, y, start, end, dropout=None):
        """x (T,B,I)  states start (N,B,H) -> y (T,B,D*H)  end, and a trace"""
        return self._run(weights, x, y, start, end, True)

    def _make(self, directions, keeps):
        """xw, h, c, saved, W and b_q for so many directions"""
        D, T, B, H, G, S = directions, self.T, self.B, self.H, self.cell.gates, self.cell.saved
        both = D if D > 1 else 0
        steps_of_c = (T + 1 if keeps else 1) if self.cell.memory else 0
        kept = ("h", D, T + 1, B, H), ("c", D, steps_of_c, B, H), ("saved", D, T if keeps else 1, B, H, S)
        made = [arrays.empty(shape, self.dtype) if keeps else self.scratch(name, *shape) for name, *shape in kept]
        return self.scratch("xw", D, T, B, H, G), *made, self.scratch("W", both, H, G, H), self.scratch("b_q", both, H)

    def _run(self, weights, x, y, start, end, keeps):
        T, B, H, G = self.T, self.B, self.H, self.cell.gates
        is_together = y.shape[2] == 2 * H and recurrence.is_better_together(*self.sizes("forward", keeps))
        run, d = self.join("forward", is_together, lambda directions: self._make(directions, keeps))
        xw, h, c, saved, W, b_q = run.arrays
        transfers.wait_for(weights.bias.stream)  # they may have been packed by another thread
        W_ih, W_hh, bias, own_bias = weights.in_order()
        product(
            x.flat, W_ih.flat, xw[d].flat, T * B, H * G, self.I,
            bias=bias.flat, b_across=True, precision=self.precision,
        )  # fmt: skip
        W, b_q = _placed(run, d, (W, b_q), (W_hh, own_bias))
        states = (h, c) if self.cell.memory else (h,)
        for state, own in zip(states, start, strict=True):
            state[d][0][...] = own[self.state]
        run.members.append((self, end))
        if run.is_complete:
            recurrence.forward(
                self.cell, self.precision, xw, W, b_q, self.schedule.lengths, h, c, saved, y, self.strides(y, run),
                self.bits(run), keeps=keeps,
            )  # fmt: skip
            for number, (member, its_end) in enumerate(run.members):
                for state, own in zip(states, its_end, strict=True):
                    own[member.state][...] = state[number][state.shape[1] - 1]
        return Trace(h[d], c[d], saved[d], (h, c, saved))


class Backward(_Direction):
    """dy (T,B,D*H), its columns of this direction -> dx (T,B,I), added to in the second direction, and gradients"""

    def __init__(self, cell, *sizes):
        super().__init__(cell, *sizes)
        self.precision = cell.precision_of_gradients

    def whole(self, weights, trace, x, dy, d_end, d_start, dx, gradients, extras=None, dropout=None):
        """x (T,B,I)  dy (T,B,D*H)  d_end (N,B,H)
        -> dx (T,B,I)  d_start  gradients: W_ih (G*H,I)  W_hh (G*H,H)  b_ih, b_hh (1,G*H)

        Of two directions that share a launch both are there after the second.
        """
        is_together = len(trace.whole[0]) == 2 and recurrence.is_better_together(*self.sizes("backward", True))
        run, d = self.join("backward", is_together, self._make)
        da, dh, dc, W, W_T = run.arrays
        transfers.wait_for(weights.W_hh.stream)
        W, W_T = _placed(run, d, (W, W_T), (weights.W_hh, weights.W_T))
        moving = (dh, dc) if self.cell.memory else (dh,)
        for state, own in zip(moving, d_end, strict=True):
            state[d][...] = own[self.state]
        run.members.append((self, weights, trace, x, d_start, dx, gradients))
        if run.is_complete:
            forward = trace.whole if run.directions == len(trace.whole[0]) else trace[:3]
            recurrence.backward(
                self.cell, self.precision, W, W_T, dy, self.strides(dy, run), self.schedule.lengths, *forward,
                da, dh, dc, self.bits(run),
            )  # fmt: skip
            for number, (member, *rest) in enumerate(run.members):
                member._finish(da[number], [state[number] for state in moving], *rest)

    def _make(self, directions):
        """da, dh, dc, W and W_T for so many directions"""
        D, T, B, H, G = directions, self.T, self.B, self.H, self.cell.gates
        own, both = (("da", T, B, H, self.cell.gradients), ("dh", B, H), ("dc", B, H)), D if D > 1 else 0
        found = [self.scratch(name, D, *shape) for name, *shape in own]
        return *found, self.scratch("W", both, H, G, H), self.scratch("W_T", both, H, H, G)

    def _finish(self, da, moving, weights, trace, x, d_start, dx, gradients):
        """What follows from da (T,B,H,R)."""
        T, B, H, R, rows = self.T, self.B, self.H, self.cell.gradients, self.T * self.B
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


def _placed(run, d, targets, weights):
    """Those of a direction among those of both, or by themselves."""
    if run.directions == 1:
        return [own.reshape(1, *own.shape) for own in weights]
    for target, own in zip(targets, weights, strict=True):
        target[d][...] = own
    return targets


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
