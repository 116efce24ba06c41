"""A block's part of a recurrent product by tensor cores: how float32 becomes words for them, and their tiles."""

from typing import Any, NamedTuple

import numpy as np
from numba import cuda, float32, int32

from fastgate.kernels.cuda.inner_products import LANES, MOST_UNROLLED, Product, in_parts, pitch_of, sums_pitch_of
from fastgate.kernels.cuda.prims import load16
from fastgate.kernels.cuda.tensor import (
    mma_bfloat16,
    mma_float16,
    mma_tf32,
    pack_bfloat16,
    pack_float16,
    round_bfloat16,
    to_tf32,
)
from fastgate.kernels.jit import equation

FEWEST_TILES = 3  # of 8 rows of W for a warp, so that it has several products under way


@equation
def _tf32_words(v, x, j):
    for e in range(4):
        x[j + e] = to_tf32(v[e])


@equation
def _bfloat16_words(v, x, j):
    x[j], x[j + 1] = pack_bfloat16(v[1], v[0]), pack_bfloat16(v[3], v[2])


@equation
def _two_bfloat16_words(v, x, j):
    _bfloat16_words(v, x, j)
    for e in range(4):
        v[e] -= round_bfloat16(v[e])
    _bfloat16_words(v, x, j + 2)


@equation
def _float16_words(v, x, j):
    x[j], x[j + 1] = pack_float16(v[1], v[0]), pack_float16(v[3], v[2])


class Precision(NamedTuple):
    words: int  # that hold four numbers
    to_words: Any  # numbers, words, where they start
    mma: Any
    pairs: tuple[tuple[int, int], ...]  # words of the operand and of W, two from each of these on, that are multiplied


PRECISIONS = {
    "high": Precision(4, _two_bfloat16_words, mma_bfloat16, ((2, 0), (0, 2), (0, 0))),  # small parts first
    "medium": Precision(4, _tf32_words, mma_tf32, ((0, 0), (2, 2))),
    "bfloat16": Precision(2, _bfloat16_words, mma_bfloat16, ((0, 0),)),
    "float16": Precision(2, _float16_words, mma_float16, ((0, 0),)),
}


def make_products_of_words(mma, pairs):
    """The sum of mma over `pairs`, for a tile d of 16 sequences (their upper and lower words x) and 8 rows of W."""
    *others, (X, Y) = pairs
    rest = make_products_of_words(mma, others) if others else None

    @equation
    def last(d, n, x, below, w, j):
        a0, a1, a2, a3 = x[X], x[below + X], x[X + 1], x[below + X + 1]
        b0, b1 = w[j + Y], w[j + Y + 1]
        d[n], d[n + 1], d[n + 2], d[n + 3] = mma(a0, a1, a2, a3, b0, b1, d[n], d[n + 1], d[n + 2], d[n + 3])

    @equation
    def all_of_them(d, n, x, below, w, j):
        rest(d, n, x, below, w, j)
        last(d, n, x, below, w, j)

    return all_of_them if rest else last


def make_mma_product(make_fetch, K, N, block, precision):
    """By tensor cores, sums in float32. N is a multiple of 8, a block's rows are one of 16; or 8, at half the speed."""
    WORDS, to_words, mma, pairs = PRECISIONS[precision]
    # Warps share the rows of W as long as each has some, and then the columns.
    N_WARPS = max(n for n in (1, 2, 4, 8) if n == 1 or not (block.warps % n or N % (8 * n) or 8 * n * FEWEST_TILES > N))
    K_WARPS, TILES = block.warps // N_WARPS, N // 8 // N_WARPS
    GROUPS = -(-K // (16 * K_WARPS))  # of 16 columns, for each warp
    COLUMNS = GROUPS * 16 * K_WARPS
    PITCH, SUMS_PITCH, ROWS = pitch_of(COLUMNS), sums_pitch_of(N), block.rows
    HALVES = 1 if block.rows == 8 else 2
    OPERAND_WORDS, D = 2 * WORDS, 4 * TILES
    ZERO = np.float32(0)
    multiply_words = make_products_of_words(mma, pairs)
    fetch = make_fetch(COLUMNS)
    GROUPS_UNROLLED = max(1, MOST_UNROLLED // (16 * TILES))

    def load_some(begin, end):
        @equation
        def load(W, first, w):
            lane, warp = cuda.threadIdx.x % LANES, cuda.threadIdx.x // LANES
            row, k = warp % N_WARPS * TILES * 8 + lane // 4, warp // N_WARPS * GROUPS * 16 + lane % 4 * 4
            v = cuda.local.array(4, float32)
            for p in range(begin, end):
                for n in range(TILES):
                    fetch(W, first, row + n * 8, k + p * 16, v, 0)
                    to_words(v, w, (p * TILES + n) * WORDS)

        return load

    def multiply_some(begin, end):
        @equation
        def multiply(w, shared, row, d):
            v, x = cuda.local.array(4, float32), cuda.local.array(OPERAND_WORDS, int32)
            for p in range(begin, end):
                for half in range(HALVES):
                    load16(v, 0, shared, row + half * 8 * PITCH + p * 16)
                    to_words(v, x, half * WORDS)
                for n in range(TILES):
                    multiply_words(d, 4 * n, x, WORDS * (HALVES - 1), w, (p * TILES + n) * WORDS)

        return multiply

    load = in_parts(GROUPS, GROUPS_UNROLLED, load_some)
    multiply_groups = in_parts(GROUPS, GROUPS_UNROLLED, multiply_some)

    @equation
    def multiply(w, W, first, shared, start, sums, rows):
        lane, warp = cuda.threadIdx.x % LANES, cuda.threadIdx.x // LANES
        d = cuda.local.array(D, float32)
        for b0 in range(0, rows, 8 * HALVES):
            b = b0 + lane // 4
            for n in range(D):
                d[n] = ZERO
            multiply_groups(w, shared, start + b * PITCH + warp // N_WARPS * GROUPS * 16 + lane % 4 * 4, d)
            for n in range(TILES):
                row = (warp % N_WARPS * TILES + n) * 8 + lane % 4 * 2
                at = sums + (warp // N_WARPS * ROWS + b) * SUMS_PITCH + row
                for half in range(HALVES):
                    for e in range(2):
                        shared[at + half * 8 * SUMS_PITCH + e] = d[4 * n + 2 * half + e]

    return Product(GROUPS * TILES * WORDS, int32, COLUMNS, PITCH, K_WARPS, SUMS_PITCH, load, multiply)
