"""One direction of one layer, forward and backward: the products of whole sequences, and the recurrence between them.

Everything lies as inside (`rows.py`): step by step, all sequences of a step together, zeros where nothing runs.
"""

from typing import Any, NamedTuple

from numba import cuda

from fastgate.kernels.cuda import arrays, recurrence, streams, transfers
from fastgate.kernels.cuda.operands import operands, peephole_gradient, projection_gradient
from fastgate.kernels.cuda.products import COLUMN_PARTS, product, sum_rows
from fastgate.kernels.cuda.recurrent_dropout import draw_masks
from fastgate.kernels.cuda.rows import put
from fastgate.kernels.cuda.weights import separate


class Trace(NamedTuple):
    """What forward leaves for backward: states h (T+1,B,size) and c (T+1,B,H), empty if the cell has none, and what it
    saves (T,B,H,S). `size` is H unless the cell is projected.
    """

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
        self.reverse, self.schedule, self.I, self.H, self.size = direction, schedule, input_size, H, size
        self.dtype, self.state = dtype, state
        self.T, self.B = schedule.steps, schedule.batch

    def strides(self, y, run):
        """Of y (T,B,D*H): from step to step, from sequence to sequence, and where the columns of this run begin."""
        width = y.shape[2]
        return y.shape[1] * width, width, 0 if run.directions == 2 else self.reverse * self.size

    def bits(self, run):
        """Which directions of the run begin at the end."""
        return 0b10 if run.directions == 2 else self.reverse

    def scratch(self, name, *shape):
        return arrays.scratch(name, shape, self.dtype)

    def masks(self, dropout):
        return draw_masks(dropout, self.schedule, self.cell.gates, self.size, self.dtype)

    def sizes(self, which, keeps):
        return which, self.cell, self.H, self.B, self.dtype, self.precision, keeps

    def goes_together(self, which, has_two, keeps):
        """Whether this direction should share a launch with the other one."""
        can = has_two and not self.schedule.is_piece
        return can and recurrence.is_better_together(*self.sizes(which, keeps))

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
        self._run(weights, x, y, start, end, False, None)

    def record(self, weights, x, y, start, end, dropout=None, *, for_now=False):
        """x (T,B,I)  states start (N,B,H) -> y (T,B,D*H)  end, and a trace; `for_now` it is valid only until this
        thread runs anything forward again
        """
        return self._run(weights, x, y, start, end, True, dropout, for_now)

    def _make(self, directions, keeps, for_now):
        """xw, h, c, saved, W and own for so many directions"""
        D, T, B, H, G, S = directions, self.T, self.B, self.H, self.cell.gates, self.cell.saved
        both = D if D > 1 else 0
        steps_of_c = (T + 1 if keeps else 1) if self.cell.memory else 0
        kept = ("h", D, T + 1, B, self.size), ("c", D, steps_of_c, B, H), ("saved", D, T if keeps else 1, B, H, S)
        lasts = keeps and not for_now
        made = [arrays.empty(shape, self.dtype) if lasts else self.scratch(name, *shape) for name, *shape in kept]
        placed = self.scratch("W", both, H, G, H), self.scratch("own", both, H, self.cell.own)
        return self.scratch("xw", D, T, B, H, G), *made, *placed

    def _run(self, weights, x, y, start, end, keeps, dropout, for_now=False):
        T, B, H, G = self.T, self.B, self.H, self.cell.gates
        is_together = self.goes_together("forward", y.shape[2] == 2 * H, keeps)
        run, d = self.join("forward", is_together, lambda directions: self._make(directions, keeps, for_now))
        xw, h, c, saved, W, own = run.arrays
        transfers.wait_for(weights.bias.stream)  # they may have been packed by another thread
        W_ih, W_hh, bias, own_of_units = weights.in_order()
        product(
            x.flat, W_ih.flat, xw[d].flat, T * B, H * G, self.I,
            bias=bias.flat, b_across=True, precision=self.precision,
        )  # fmt: skip
        W, own = _placed(run, d, (W, own), (W_hh, own_of_units))
        states = (h, c) if self.cell.memory else (h,)
        for state, given in zip(states, start, strict=True):
            state[d][0][...] = given[self.state]
        run.members.append((self, end))
        if run.is_complete:
            recurrence.forward(
                self.cell, self.precision, xw, W, own, self.schedule.lengths, h, c, saved, y, self.strides(y, run),
                self.bits(run), keeps=keeps, masks=self.masks(dropout), W_hr=weights.W_hr,
            )  # fmt: skip
            for number, (member, its_end) in enumerate(run.members):
                for state, found in zip(states, its_end, strict=True):
                    found[member.state][...] = state[number][state.shape[1] - 1]
        return Trace(h[d], c[d], saved[d], (h, c, saved))


class Backward(_Direction):
    """dy (T,B,D*H), its columns of this direction -> dx (T,B,I), added to in the second direction, and gradients"""

    def __init__(self, cell, *sizes):
        super().__init__(cell, *sizes)
        self.precision = cell.precision_of_gradients

    def whole(self, weights, trace, x, dy, d_end, d_start, dx, gradients, extras, dropout=None):
        """x (T,B,I)  dy (T,B,D*size)  d_end (N,B,H)
        -> dx (T,B,I)  d_start  gradients: W_ih (G*H,I)  W_hh (G*H,size)  b_ih, b_hh (1,G*H)
        extras: peepholes (P,H)  W_hr (size,H)

        Of two directions that share a launch both are there after the second.
        """
        is_together = self.goes_together("backward", len(trace.whole[0]) == 2, True)
        run, d = self.join("backward", is_together, self._make)
        da, dh, dc, W, W_T, peepholes = run.arrays
        transfers.wait_for(weights.W_hh.stream)
        own = weights.W_hh, weights.W_T, weights.peepholes
        W, W_T, peepholes = _placed(run, d, (W, W_T, peepholes), own)
        moving = (dh, dc) if self.cell.memory else (dh,)
        for state, own in zip(moving, d_end, strict=True):
            state[d][...] = own[self.state]
        masks, shown = self.masks(dropout), self.scratch("shown", *self.shown_shape)
        run.members.append((self, weights, trace, x, d_start, dx, gradients, extras, masks, shown))
        if run.is_complete:
            forward = trace.whole if run.directions == len(trace.whole[0]) else trace[:3]
            recurrence.backward(
                self.cell, self.precision, W, W_T, peepholes, dy, self.strides(dy, run), self.schedule.lengths,
                *forward, da, dh, dc, self.bits(run), masks=masks, W_hr=weights.W_hr, shown=shown,
            )  # fmt: skip
            for number, (member, *rest) in enumerate(run.members):
                member._finish(da[number], [state[number] for state in moving], *rest)

    def per_sample(self, weights, trace, x, dy, d_end, d_start, dx, samples, dropout=None):
        """The same, but of each of the user's N sequences its own sums: W_ih (N,G*H,I), and so on."""
        self.whole(weights, trace, x, dy, d_end, d_start, dx, *samples, dropout)

    def _make(self, directions):
        """da, dh, dc, W, W_T and peepholes for so many directions"""
        D, T, B, H, G = directions, self.T, self.B, self.H, self.cell.gates
        both, P = D if D > 1 else 0, len(self.cell.peepholes)
        own = ("da", D, T, B, H, self.cell.gradients), ("dh", D, B, self.size), ("dc", D, B, H)
        placed = ("W", both, H, G, H), ("W_T", both, H, H, G), ("peepholes", both, H, P)
        return [self.scratch(name, *shape) for name, *shape in (*own, *placed)]

    @property
    def shown_shape(self):
        """Of the gradients of a projected h."""
        return self.T if self.cell.is_projected else 0, self.B, self.size

    def _finish(self, da, moving, weights, trace, x, d_start, dx, gradients, extras, masks, shown):
        """What follows from da (T,B,H,R), and shown (T,B,size)."""
        H, R, rows = self.H, self.cell.gradients, self.T * self.B
        for state, own in zip(moving, d_start, strict=True):
            own[self.state][...] = state
        da_by_time = self._by_time("da", da)
        product(
            da_by_time.flat, weights.W_ih.flat, dx.flat, rows, self.I, H * R,
            added=bool(self.reverse), precision=self.precision,
        )  # fmt: skip
        gates, recurrent, each = self.kind.gates, self.cell.recurrent, gradients[0].ndim > 2

        def lay(name, rows):
            """Rows by the step of computing, where sums are those of each of the user's sequences: as those lie"""
            return self._of_users(name, self._by_time(name, rows)) if each else rows

        own, of_x = (self._of_users("da", da_by_time), self._of_users("x", x)) if each else (da, x)
        separate(self._weights(own if each else da_by_time, of_x, each), gates, gradients[0])
        where = self.schedule.lengths, self.reverse
        for of_gates, operand in operands(self.cell, trace, masks, *where):
            places = tuple(place if gate in of_gates else -1 for gate, place in enumerate(recurrent))
            separate(self._weights(own, lay("operand", operand), each), places, gradients[1])
        if self.cell.peepholes:
            peephole_gradient(self.cell, da, trace.c, lay, extras.peepholes)
        if self.cell.is_projected:
            projection_gradient(self.cell, shown, trace, *where, self.precision, lay, extras.W_hr)
        sums = self.scratch("sums", own.shape[1] if each else 1, H, R, 1)
        sum_rows(
            own.flat,
            sums.flat,
            own.size // max(1, sums.size),
            sums.size,
            self.scratch("parts", COLUMN_PARTS, sums.size).flat,
        )
        separate(sums, gates, gradients[2])
        separate(sums, recurrent, gradients[3])

    def _weights(self, da, operand, each):
        """da (T,B,H,R)  operand (T,B,K) -> (1,H,R,K), the sum of their products over all rows; of `each` (B,H,R,K)"""
        T, B, H, R = da.shape
        N, K = (B if each else 1), operand.shape[2]
        out, depth = self.scratch("dW", N, H, R, K), T if each else T * B
        product(da.flat, operand.flat, out.flat, H * R, K, depth, a_across=True, precision=self.precision, batch=N)
        return out

    def _of_users(self, name, rows):
        """rows (T,B,...) by time -> (T,N,...) of the user's sequences, where these are cut into pieces"""
        if not self.schedule.is_cut:
            return rows
        own = self.schedule.with_time_first()
        out = self.scratch(f"{name} of users", own.users_steps, own.users_batch, *rows.shape[2:])
        put(rows.reshape(self.T, self.B, rows.size // max(1, self.T * self.B)), own, out)
        return out

    def _by_time(self, name, rows):
        """rows (T,B,...) by the step of computing -> by time, as x lies"""
        if not self.reverse or self.T < 2:
            return rows
        out, each = self.scratch(f"{name} by time", *rows.shape), rows.size // self.T
        streams.over(_turn_round, rows.size, rows.flat, out.flat, self.T, each)
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
