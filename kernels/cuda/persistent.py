"""The recurrence forward in one launch: every block keeps its rows of W in registers for all steps.

The grid is (blocks of units, parts of the batch, directions). A block waits for the state of all units, multiplies, and
publishes its own units' new state; see `exchange.py`. Blocks must all run at once, so the launch is a cooperative one.

All arrays are flat, C-contiguous and on the device; s counts steps in the order of computing, t is the time, and D is
the number of directions:

    xw (D,T,B,H,G)  W (D,H,G,H)  own (D,H,P)  lengths (B)   in: what the input gives, by time; a row runs at t < length
    h (D,T+1,B,H)   c (D,T+1,B,H), or (D,B,H) in inference  in: the start; out: the rest, by step, h `UNSET` before
    operand (D,T,B,H)                                       out: what the second phase multiplies, `UNSET` before
    saved (D,T,B,H,S)                                       out: by step, what `Cell` says
    y[t * y_t + b * y_b + y_at + d * H + unit]              out: by time, zero where a row does not run
    error (1)                                               out: 1 if a wait was in vain
    reverse                                                 bit d: whether direction d begins at the end
"""

from functools import cache

import numpy as np
from numba import cuda, int32
from numba.np.numpy_support import from_dtype

from fastgate.kernels.cuda.blocks import make_fetch_of_rows, make_phase, program_of, seat
from fastgate.kernels.cuda.exchange import LIMIT, Exchanged
from fastgate.kernels.cuda.prims import load16, store16, width


@cache
def make_forward(cell, H, block, *, dtype="float32", precision="highest", keeps=True, limit=LIMIT):
    """The `Program` of a `Cell`; it keeps what backward needs, or does not."""
    G, S, P, MEMORY, TWO = cell.gates, cell.saved, cell.own, cell.memory, cell.reset is not None
    U, ROWS, KEEPS, LIMIT = block.units, block.rows, keeps, limit
    SAVED, OWN, LOADS_WHOLE, SAVES_WHOLE = max(S, 1), max(P, 1), width(dtype) == G, width(dtype) == S
    SIZE_OF_W = H * G * H
    NUMBER, ZERO = from_dtype(np.dtype(dtype)), np.dtype(dtype).type(0)
    assert block.threads >= U * ROWS

    def phase_of(gates, start):
        fetch = make_fetch_of_rows(H, G, gates, block, dtype)
        return make_phase(fetch, block, U * len(gates), Exchanged(H), start, dtype, precision)

    first_gates, *other_gates = cell.phases
    one = phase_of(first_gates, 0)
    two = phase_of(other_gates[0], one.shared) if TWO else one
    REGISTERS, REGISTERS_TWO, KIND, GATES_BEFORE = one.registers, two.registers, one.kind, len(first_gates)
    load, prepare, receive, multiply, sum_up, publish, leave = one.functions
    load_two, prepare_two, receive_two, multiply_two, sum_up_two, publish_operand, *_ = two.functions
    advance, reset = cell.forward, cell.reset or cell.forward

    def forward(xw, W, own, lengths, h, c, operand, saved, y, y_t, y_b, y_at, error, reverse, T, B):
        shared = cuda.shared.array(0, NUMBER)
        direction, backwards, first, unit, b, begin, end = seat(U, B, reverse)
        all_steps = direction * T * B
        W = W[direction * SIZE_OF_W :]

        w = cuda.local.array(REGISTERS, KIND)
        load(W, first, w)
        prepare(shared)
        if TWO:
            w_two = cuda.local.array(REGISTERS_TWO, KIND)
            load_two(W, first, w_two)
            prepare_two(shared)
        x, u = cuda.local.array(G, NUMBER), cuda.local.array(G, NUMBER)
        kept, out = cuda.local.array(SAVED, NUMBER), cuda.local.array(1, NUMBER)
        of_unit = cuda.local.array(OWN, NUMBER)
        for p in range(P):
            of_unit[p] = own[(direction * H + unit) * P + p] if unit < H else ZERO
        patience, turn = int32(LIMIT), 0

        for s in range(T):
            t = T - 1 - s if backwards else s
            for n in range(begin, end, ROWS):
                rows = min(ROWS, end - n)
                turn += 1
                mine = b < rows and unit < H
                runs = mine and t < lengths[n + b]
                now = ((direction * (T + 1) + s) * B + n + b) * H + unit  # in h, and in c where it is kept
                then = now + B * H
                of_c = now if KEEPS else (direction * B + n + b) * H + unit
                c_prev = h_prev = ZERO
                if mine:
                    at = ((all_steps + t * B + n + b) * H + unit) * G
                    if LOADS_WHOLE:
                        load16(x, 0, xw, at)
                    else:
                        for g in range(G):
                            x[g] = xw[at + g]
                    h_prev = h[now]  # of this very thread, or from the start
                    if MEMORY:
                        c_prev = c[of_c]

                first_row = (direction * (T + 1) + s) * B + n
                patience = receive(shared, h, first_row, rows, s, s > 0, patience, error)
                multiply(w, W, first, shared, s, turn, rows)
                if mine:
                    sum_up(shared, b, unit - first, u, 0, turn)

                if TWO:
                    at = (all_steps + s * B + n + b) * H + unit
                    if mine:
                        out[0] = reset(x, u, h_prev, kept)
                        publish_operand(shared, operand, at, out, b, unit, s)
                    patience = receive_two(shared, operand, all_steps + s * B + n, rows, s, True, patience, error)
                    multiply_two(w_two, W, first, shared, s, turn, rows)
                    if mine:
                        sum_up_two(shared, b, unit - first, u, GATES_BEFORE, turn)

                if mine:
                    h_new, c_new = advance(x, u, of_unit, h_prev, c_prev, kept)
                    out[0] = h_new if runs else h_prev
                    publish(shared, h, then, out, b, unit, s + 1)
                    y[t * y_t + (n + b) * y_b + y_at + direction * H + unit] = h_new if runs else ZERO
                    if MEMORY:
                        c[then if KEEPS else of_c] = c_new if runs else c_prev
                    if KEEPS and S:
                        at = ((all_steps + s * B + n + b) * H + unit) * S
                        if SAVES_WHOLE:
                            store16(saved, at, kept, 0)
                        else:
                            for e in range(S):
                                saved[at + e] = kept[e]
        leave()

    return program_of(forward, block, one, two, dtype)
