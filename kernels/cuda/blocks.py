"""What a block of a recurrent kernel does besides its product: its share of the work, its rows of W, its sums."""

from typing import Any, NamedTuple

import numpy as np
from numba import cuda
from numba.np.numpy_support import from_dtype

from fastgate.kernels.cuda.exchange import make_gather
from fastgate.kernels.cuda.inner_products import LANES, make_product
from fastgate.kernels.cuda.prims import load16, width
from fastgate.kernels.jit import equation


class Block(NamedTuple):
    """The size of a block: it computes `units` units of `rows` sequences at a time, with a thread for each of these."""

    units: int
    rows: int
    warps: int

    @property
    def threads(self):
        return self.warps * LANES


class Phase(NamedTuple):
    """One product of a step: what is waited for, multiplied, and summed up."""

    registers: int
    kind: Any
    load: Any  # W, first unit, registers
    clear: Any  # shared
    gather: Any  # shared, source, first row, rows, waits, patience, error -> patience
    multiply: Any  # registers, shared, rows
    sum: Any  # shared, row, unit, u, j
    operand: Any  # shared, row, column
    shared: int  # numbers of shared memory, from `start` on


def make_fetch_of_rows(H, gates, phase, block, dtype):
    """For forward: row (unit, gate of this phase) of W (H,G,H), 16 bytes from column k on; there are `columns`."""
    ALIGNED = H % width(dtype) == 0
    WIDTH, ZERO = width(dtype), np.dtype(dtype).type(0)
    G, GATES, FIRST = gates, len(phase), phase[0]

    def of(columns):
        WITHIN = H % block.units == 0 and columns == H

        @equation
        def fetch(W, first, row, k, v, j):
            unit = first + row // GATES
            at = (unit * G + FIRST + row % GATES) * H + k
            if ALIGNED and (WITHIN or (unit < H and k < H)):
                load16(v, j, W, at)
            else:
                for e in range(WIDTH):
                    v[j + e] = W[at + e] if unit < H and k + e < H else ZERO

        return fetch

    return of


def make_fetch_of_columns(H, gates, phase, block, dtype):
    """For backward: column `unit` of W (H,G,H), for 16 bytes of the (unit, gate of this phase) that are its rows."""
    WIDTH, ZERO = width(dtype), np.dtype(dtype).type(0)
    G, GATES, FIRST, K = gates, len(phase), phase[0], H * len(phase)
    ALL = GATES == G

    def of(columns):
        WITHIN = H % block.units == 0 and columns == K

        @equation
        def fetch(W, first, row, k, v, j):
            unit = first + row
            for e in range(WIDTH):
                of_w = k + e if ALL else (k + e) // GATES * G + FIRST + (k + e) % GATES
                v[j + e] = W[of_w * H + unit] if WITHIN or (unit < H and k + e < K) else ZERO

        return fetch

    return of


def make_phase(make_fetch, block, N, source, start, dtype, precision):
    """`source` = (row, kept, of): what lies in a row of what is exchanged, as `make_gather` has it."""
    row, kept, of = source
    K = row // of * len(kept)
    product = make_product(make_fetch, K, N, block.rows, block.warps, dtype, precision)
    PITCH, COLUMNS, SUMS_PITCH = product.pitch, product.columns, product.sums_pitch
    GATES, WARPS, ROWS, THREADS = N // block.units, block.warps, block.rows, block.threads
    START, SUMS = start, start + block.rows * product.pitch
    PADDING = COLUMNS - K
    NUMBER, ZERO = from_dtype(np.dtype(dtype)), np.dtype(dtype).type(0)
    WHOLE = width(dtype) == GATES
    gather_rows = make_gather(row, kept, of, PITCH, ROWS, THREADS, dtype)
    product_of = product.multiply

    @equation
    def clear(shared):
        for i in range(cuda.threadIdx.x, ROWS * PADDING, THREADS):
            shared[START + i // PADDING * PITCH + K + i % PADDING] = ZERO

    @equation
    def nothing(shared):
        pass

    @equation
    def gather(shared, source, first, rows, waits, patience, error):
        return gather_rows(shared, START, source, first, rows, waits, patience, error)

    @equation
    def multiply(w, shared, rows):
        product_of(w, shared, START, SUMS, rows)

    @equation
    def sum_up(shared, b, unit, u, j):
        """The sums of all warps for one unit of one sequence -> u, from j on"""
        v = cuda.local.array(GATES, NUMBER)
        for g in range(GATES):
            u[j + g] = ZERO
        for warp in range(WARPS):
            at = SUMS + (warp * ROWS + b) * SUMS_PITCH + unit * GATES
            if WHOLE:
                load16(v, 0, shared, at)
            else:
                for g in range(GATES):
                    v[g] = shared[at + g]
            for g in range(GATES):
                u[j + g] += v[g]

    @equation
    def operand(shared, b, column):
        return shared[START + b * PITCH + column]

    size = ROWS * PITCH + WARPS * ROWS * SUMS_PITCH
    clear = clear if PADDING else nothing
    return Phase(product.registers, product.kind, product.load, clear, gather, multiply, sum_up, operand, size)
