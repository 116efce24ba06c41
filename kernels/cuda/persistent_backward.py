"""The recurrence backward in one launch; see `persistent.py`, whose grid and arrays these are.

What blocks exchange is da, by which a step's states are multiplied backward. Further arrays:

    dy      as y                                    in: the gradient of what each step gave
    da (D,T,B,H,R)                                  out, by step; `UNSET` before
    dh, dc (D,B,H)                                  in: gradients of the last states; out: of the first ones
"""

from functools import cache

import numpy as np
from numba import cuda, int32
from numba.np.numpy_support import from_dtype

from fastgate.kernels.cuda.blocks import make_fetch_of_columns, make_phase
from fastgate.kernels.cuda.cells import cell as cell_of
from fastgate.kernels.cuda.exchange import LIMIT, make_publish
from fastgate.kernels.cuda.launch import Program
from fastgate.kernels.cuda.prims import load16, width


@cache
def make_backward(name, H, block, *, dtype="float32", precision="highest", masked=False, limit=LIMIT):
    """The `Program` that undoes that of `make_forward`."""
    cell = cell_of(name, dtype)
    G, S, R, MEMORY, TWO = cell.gates, cell.saved, cell.gradients, cell.memory, cell.reset is not None
    U, ROWS, MASKED, LIMIT = block.units, block.rows, masked, limit
    SAVED, LOADS_WHOLE = max(S, 1), width(dtype) == S
    UNITS_OF_W = H * G * H
    NUMBER, ZERO = from_dtype(np.dtype(dtype)), np.dtype(dtype).type(0)
    assert block.threads >= U * ROWS

    def phase_of(gates, start):
        fetch = make_fetch_of_columns(H, G, gates, block, dtype)
        kept = tuple(cell.recurrent[gate] for gate in gates)
        return make_phase(fetch, block, U, (H * R, kept, R), start, dtype, precision)

    first_gates, *other_gates = cell.phases
    one = phase_of(first_gates, 0)
    two = phase_of(other_gates[0], one.shared) if TWO else one
    REGISTERS, KIND = one.registers, one.kind
    REGISTERS_TWO, KIND_TWO = two.registers if TWO else 1, two.kind
    load, clear, gather, multiply, sum_up = one.load, one.clear, one.gather, one.multiply, one.sum
    load_two, clear_two, gather_two, multiply_two, sum_up_two = two.load, two.clear, two.gather, two.multiply, two.sum
    retreat, reset_back = cell.backward, cell.reset_backward or cell.backward
    PUBLISHED_FIRST = R - 1 if TWO else 0  # the candidate's, before those of the gates
    publish, publish_gates = make_publish(R - PUBLISHED_FIRST, dtype), make_publish(max(PUBLISHED_FIRST, 1), dtype)

    def backward(W, dy, y_row, y_time, y_start, active, h, c, saved, da, dh, dc, error, reverse, T, B):
        shared = cuda.shared.array(0, NUMBER)
        direction, thread, first = cuda.blockIdx.z, cuda.threadIdx.x, cuda.blockIdx.x * U
        unit, b = first + thread % U, thread // U
        part = (B + cuda.gridDim.y - 1) // cuda.gridDim.y
        begin, end = cuda.blockIdx.y * part, min(B, (cuda.blockIdx.y + 1) * part)
        backwards = reverse >> direction & 1
        all_steps = direction * T * B
        W = W[direction * UNITS_OF_W :]

        w = cuda.local.array(REGISTERS, KIND)
        load(W, first, w)
        clear(shared)
        if TWO:
            w_two = cuda.local.array(REGISTERS_TWO, KIND_TWO)
            load_two(W, first, w_two)
            clear_two(shared)
        kept, out, u = cuda.local.array(SAVED, NUMBER), cuda.local.array(R, NUMBER), cuda.local.array(1, NUMBER)
        patience = int32(LIMIT)

        for s in range(T - 1, -2, -1):
            t = T - 1 - s if backwards else s
            for n in range(begin, end, ROWS):
                rows = min(ROWS, end - n)
                mine = b < rows and unit < H
                works = mine and s >= 0
                runs = works and (not MASKED or active[t * B + n + b] != 0)
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
                    dy_own = dy[(n + b) * y_row + t * y_time + y_start + direction * H + unit]

                if s < T - 1:
                    patience = gather(shared, da, all_steps + (s + 1) * B + n, rows, True, patience, error)
                    cuda.syncthreads()
                    multiply(w, shared, rows)
                    cuda.syncthreads()
                    if mine:
                        sum_up(shared, b, unit - first, u, 0)
                        dh_own += u[0]

                if works:
                    dh_prev, dc_prev = retreat(kept, h_prev, c_prev, h_next, c_next, dh_own + dy_own, dc_own, out)
                    if not runs:
                        dh_prev, dc_prev = dh_own, dc_own
                        for e in range(R):
                            out[e] = ZERO
                    publish(da, of_step * R + PUBLISHED_FIRST, out, PUBLISHED_FIRST)
                    dh_own = dh_prev
                    if MEMORY:
                        dc[of_state] = dc_prev

                if TWO and s >= 0:
                    patience = gather_two(shared, da, all_steps + s * B + n, rows, True, patience, error)
                    cuda.syncthreads()
                    multiply_two(w_two, shared, rows)
                    cuda.syncthreads()
                    if works:
                        sum_up_two(shared, b, unit - first, u, 0)
                        dh_prev = reset_back(kept, h_prev, u[0], out)
                        if runs:
                            dh_own += dh_prev
                        else:
                            out[0] = out[1] = ZERO
                        publish_gates(da, of_step * R, out, 0)
                if mine:
                    dh[of_state] = dh_own

    return Program(backward, block.threads, shared=(one.shared + (two.shared if TWO else 0)) * np.dtype(dtype).itemsize)
