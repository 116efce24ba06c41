"""The recurrence backward in one launch; see `persistent.py`, whose grid and arrays these are.

What blocks exchange is da, by which a step's states are multiplied backward. Further arrays:

    W_T (D,H,H,G)                                   in: W transposed, rows (unit, gate) of W being its columns
    peepholes (D,H,P)                               in: `own`, of cells whose gates see c
    dy      as y                                    in: the gradient of what each step gave
    da (D,T,B,H,R)                                  out, by step; `UNSET` before
    dh, dc (D,B,H)                                  in: gradients of the last states; out: of the first ones
"""

from functools import cache

import numpy as np
from numba import cuda, int32
from numba.np.numpy_support import from_dtype

from fastgate.kernels.cuda.blocks import make_fetch_of_columns, make_phase, program_of, seat
from fastgate.kernels.cuda.exchange import LIMIT, Exchanged
from fastgate.kernels.cuda.prims import load16, width


@cache
def make_backward(cell, H, block, *, dtype="float32", precision="highest", limit=LIMIT):
    """The `Program` that undoes that of `make_forward`."""
    G, S, R, MEMORY, TWO = cell.gates, cell.saved, cell.gradients, cell.memory, cell.reset is not None
    P = len(cell.peepholes)
    U, ROWS, LIMIT = block.units, block.rows, limit
    SAVED, OWN, LOADS_WHOLE = max(S, 1), max(P, 1), width(dtype) == S
    SIZE_OF_W = H * G * H
    NUMBER, ZERO = from_dtype(np.dtype(dtype)), np.dtype(dtype).type(0)
    assert block.threads >= U * ROWS

    def phase_of(gates, start):
        fetch = make_fetch_of_columns(H, G, gates, block, dtype)
        # Of two phases the second needs the candidate's gradient alone, and gives those of the gates.
        written = (0, R) if not TWO else (0, R - 1) if len(gates) > 1 else (R - 1, R)
        exchanged = Exchanged(H * R, R, tuple(cell.recurrent[gate] for gate in gates), written)
        return make_phase(fetch, block, U, exchanged, start, dtype, precision)

    first_gates, *other_gates = cell.phases
    one = phase_of(first_gates, 0)
    two = phase_of(other_gates[0], one.shared) if TWO else one
    REGISTERS, REGISTERS_TWO, KIND = one.registers, two.registers, one.kind
    load, prepare, receive, multiply, sum_up, publish, leave = one.functions
    load_two, prepare_two, receive_two, multiply_two, sum_up_two, publish_candidate, *_ = two.functions
    retreat, reset_back = cell.backward, cell.reset_backward or cell.backward

    def backward(W_T, peepholes, dy, dy_t, dy_b, dy_at, lengths, h, c, saved, da, dh, dc, error, reverse, T, B):
        shared = cuda.shared.array(0, NUMBER)
        direction, backwards, first, unit, b, begin, end = seat(U, B, reverse)
        all_steps = direction * T * B
        W_T = W_T[direction * SIZE_OF_W :]

        w = cuda.local.array(REGISTERS, KIND)
        load(W_T, first, w)
        prepare(shared)
        if TWO:
            w_two = cuda.local.array(REGISTERS_TWO, KIND)
            load_two(W_T, first, w_two)
            prepare_two(shared)
        kept, out, u = cuda.local.array(SAVED, NUMBER), cuda.local.array(R, NUMBER), cuda.local.array(1, NUMBER)
        of_unit = cuda.local.array(OWN, NUMBER)
        for p in range(P):
            of_unit[p] = peepholes[(direction * H + unit) * P + p] if unit < H else ZERO
        patience, turn = int32(LIMIT), 0

        for s in range(T - 1, -2, -1):
            t = T - 1 - s if backwards else s
            for n in range(begin, end, ROWS):
                rows = min(ROWS, end - n)
                turn += 1
                mine = b < rows and unit < H
                works = mine and s >= 0
                runs = works and t < lengths[n + b]
                of_state = (direction * B + n + b) * H + unit
                before = ((direction * (T + 1) + s) * B + n + b) * H + unit  # in h and c
                of_step = (all_steps + s * B + n + b) * H + unit
                h_prev = h_next = c_prev = c_next = dh_own = dc_own = dy_own = ZERO
                if mine:
                    dh_own = dh[of_state]
                if works:
                    h_prev, h_next = h[before], h[before + B * H]
                    if MEMORY:
                        c_prev, c_next, dc_own = c[before], c[before + B * H], dc[of_state]
                    if LOADS_WHOLE:
                        load16(kept, 0, saved, of_step * S)
                    else:
                        for e in range(S):
                            kept[e] = saved[of_step * S + e]
                if runs:
                    dy_own = dy[t * dy_t + (n + b) * dy_b + dy_at + direction * H + unit]

                if s < T - 1:
                    first_row = all_steps + (s + 1) * B + n
                    patience = receive(shared, da, first_row, rows, s + 1, True, patience, error)
                    multiply(w, W_T, first, shared, s + 1, turn, rows)
                    if mine:
                        sum_up(shared, b, unit - first, u, 0, turn)
                        dh_own += u[0]

                if works:
                    dh_prev, dc_prev = retreat(
                        kept, of_unit, h_prev, c_prev, h_next, c_next, dh_own + dy_own, dc_own, out
                    )
                    if not runs:
                        dh_prev, dc_prev = dh_own, dc_own
                        for e in range(R):
                            out[e] = ZERO
                    publish_candidate(shared, da, of_step * R, out, b, unit, s)
                    dh_own = dh_prev
                    if MEMORY:
                        dc[of_state] = dc_prev

                if TWO and s >= 0:
                    patience = receive_two(shared, da, all_steps + s * B + n, rows, s, True, patience, error)
                    multiply_two(w_two, W_T, first, shared, s, turn, rows)
                    if works:
                        sum_up_two(shared, b, unit - first, u, 0, turn)
                        dh_prev = reset_back(kept, h_prev, u[0], out)
                        if runs:
                            dh_own += dh_prev
                        else:
                            out[0] = out[1] = ZERO
                        publish(shared, da, of_step * R, out, b, unit, s)
                if mine:
                    dh[of_state] = dh_own
        leave()

    return program_of(backward, block, one, two, dtype)
