"""A block's part of a recurrent product: its rows of W, held in registers, times what lies in shared memory.

Every thread has some rows and some columns of W. It multiplies them with the operand's rows (one for each sequence) one
after the other; its partial sums are added up within the warp, and lie then side by side, one for each warp.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import cuda
from numba.np.numpy_support import from_dtype

from fastgate.kernels.arithmetic import fma
from fastgate.kernels.cuda.prims import load16, width
from fastgate.kernels.jit import equation

LANES = 32
MOST_ROWS_OF_A_THREAD = 8
MOST_UNROLLED = 64  # numbers of W: more of them in one loop exceed what LLVM unrolls


class Product(NamedTuple):
    registers: int  # of a thread, for its part of W
    kind: Any  # of number in them
    columns: int  # of the operand, those beyond K being zeros
    pitch: int  # from one row of the operand to the next
    sums: int  # for each row of W, those of some columns each
    sums_pitch: int  # from those of one sequence to those of the next
    load: Any  # W, first unit, registers
    multiply: Any  # registers, W, first unit, shared, where the operand starts, where the sums start, rows


def pitch_of(columns):
    """Half the banks further on in every row, so that a quarter of a warp reads two rows at once."""
    return -(-columns // LANES) * LANES + LANES // 2


def sums_pitch_of(N):
    return -(-N // 4) * 4 + 4


def make_reduce(values, lanes, distance=1):
    """Sums over `lanes` neighbouring lanes of as many values each; then every lane has its share of the sums.

    Two lanes either exchange halves of what they have, or both add up all where it has no halves. The function returns
    where the lane's share starts. Also returned: how many values that is, and how many lanes have different ones.
    """
    if distance == lanes:
        return equation(lambda a, lane: 0), values, 1
    halved = values % 2 == 0
    VALUES, DISTANCE = (values // 2 if halved else values), distance
    HALVED = halved
    rest, share, different = make_reduce(VALUES, lanes, 2 * distance)

    @equation
    def reduce(a, lane):
        upper = HALVED and lane & DISTANCE != 0
        for m in range(VALUES):
            if HALVED:
                given = a[m] if upper else a[m + VALUES]
                kept = a[m + VALUES] if upper else a[m]
                a[m] = kept + cuda.shfl_xor_sync(0xFFFFFFFF, given, DISTANCE)
            else:
                a[m] += cuda.shfl_xor_sync(0xFFFFFFFF, a[m], DISTANCE)
        return rest(a, lane) + (VALUES if upper else 0)

    return reduce, share, different * (2 if halved else 1)


def in_parts(count, most, make):
    """All of make(0, most), make(most, 2 * most), ..., up to `count`: a loop too long for LLVM to unroll at once.

    Only in an unrolled loop can what it indexes be registers.
    """
    first = make(0, min(most, count))
    if count <= most:
        return first
    rest = in_parts(count - most, most, lambda begin, end: make(begin + most, end + most))

    @equation
    def both(*arguments):
        first(*arguments)
        rest(*arguments)

    return both


class Share(NamedTuple):
    """Which rows and columns a thread has of a block's N rows of W, for products by fused multiply-adds."""

    M: int  # rows
    K_LANES: int  # lanes that share them
    K_GROUPS: int  # threads that do
    VECTORS: int  # of 16 bytes, `K_GROUPS` of them apart from one to the next
    COLUMNS: int

    @classmethod
    def of(cls, K, N, warps, dtype):
        """N is a power of two times 1, 3 or 5."""
        M = max(m for m in range(1, MOST_ROWS_OF_A_THREAD + 1) if N % m == 0 and LANES % (N // m) == 0)
        K_LANES = LANES // (N // M)
        at_once = K_LANES * warps * width(dtype)
        VECTORS = -(-K // at_once)
        return cls(M, K_LANES, K_LANES * warps, VECTORS, VECTORS * at_once)


def make_store_sums(share, N, rows):
    """A function that adds up the threads' M sums within each warp, and writes those of one sequence."""
    M, K_LANES, ROWS, SUMS_PITCH = share.M, share.K_LANES, rows, sums_pitch_of(N)
    reduce, KEPT, DIFFERENT = make_reduce(M, K_LANES)

    @equation
    def store_sums(a, shared, sums, b):
        lane, warp = cuda.threadIdx.x % LANES, cuda.threadIdx.x // LANES
        offset = reduce(a, lane)
        if lane % K_LANES < DIFFERENT:
            at = sums + (warp * ROWS + b) * SUMS_PITCH + lane // K_LANES * M + offset
            for m in range(KEPT):
                shared[at + m] = a[m]

    return store_sums


def make_fma_product(make_fetch, K, N, block, dtype):
    """By fused multiply-adds, W in registers: sequence after sequence."""
    share, WIDTH = Share.of(K, N, block.warps, dtype), width(dtype)
    M, K_LANES, K_GROUPS, VECTORS, COLUMNS = share
    PITCH = pitch_of(COLUMNS)
    NUMBER, ZERO = from_dtype(np.dtype(dtype)), np.dtype(dtype).type(0)
    fetch, store_sums = make_fetch(COLUMNS), make_store_sums(share, N, block.rows)

    def load_some(begin, end):
        @equation
        def load(W, first, w):
            lane, warp = cuda.threadIdx.x % LANES, cuda.threadIdx.x // LANES
            group = warp * K_LANES + lane % K_LANES
            for j in range(begin, end):
                for m in range(M):
                    fetch(W, first, lane // K_LANES * M + m, (j * K_GROUPS + group) * WIDTH, w, (j * M + m) * WIDTH)

        return load

    @equation
    def multiply(w, W, first, shared, start, sums, rows):
        lane, warp = cuda.threadIdx.x % LANES, cuda.threadIdx.x // LANES
        group = warp * K_LANES + lane % K_LANES
        v, a = cuda.local.array(WIDTH, NUMBER), cuda.local.array(M, NUMBER)
        for b in range(rows):
            for m in range(M):
                a[m] = ZERO
            for j in range(VECTORS):
                load16(v, 0, shared, start + b * PITCH + (j * K_GROUPS + group) * WIDTH)
                for e in range(WIDTH):
                    for m in range(M):
                        a[m] = fma(w[(j * M + m) * WIDTH + e], v[e], a[m])
            store_sums(a, shared, sums, b)

    load = in_parts(VECTORS, max(1, MOST_UNROLLED // (M * WIDTH)), load_some)
    return Product(VECTORS * M * WIDTH, NUMBER, COLUMNS, PITCH, block.warps, sums_pitch_of(N), load, multiply)
