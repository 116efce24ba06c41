"""A block's part of a recurrent product: its rows of W, held in registers, times what lies in shared memory.

Every thread has some rows and some columns of W. It multiplies them with the operand's rows (one for each sequence) one
after the other; its partial sums are added up within the warp, and lie then side by side, one for each warp.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import cuda, float32, int32
from numba.np.numpy_support import from_dtype

from fastgate.kernels.arithmetic import fma
from fastgate.kernels.cuda.prims import load16, width
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

LANES = 32
MOST_ROWS_OF_A_THREAD = 8
FEWEST_TILES = 3  # of 8 rows of W for a warp, so that it has several products under way
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


def make_streamed_product(make_fetch, K, N, block, dtype):
    """By fused multiply-adds, W read anew for every step, once for all sequences at a time: where it is too large."""
    share, WIDTH, ROWS = Share.of(K, N, block.warps, dtype), width(dtype), block.rows
    M, K_LANES, K_GROUPS, VECTORS, COLUMNS = share
    PITCH, ALL, PART = pitch_of(COLUMNS), ROWS * M, M * WIDTH
    NUMBER, ZERO = from_dtype(np.dtype(dtype)), np.dtype(dtype).type(0)
    fetch, store_sums = make_fetch(COLUMNS), make_store_sums(share, N, ROWS)

    @equation
    def load(W, first, w):
        pass

    @equation
    def multiply(w, W, first, shared, start, sums, rows):
        lane, warp = cuda.threadIdx.x % LANES, cuda.threadIdx.x // LANES
        group = warp * K_LANES + lane % K_LANES
        v, a = cuda.local.array(WIDTH, NUMBER), cuda.local.array(M, NUMBER)
        total, part = cuda.local.array(ALL, NUMBER), cuda.local.array(PART, NUMBER)
        for n in range(ALL):
            total[n] = ZERO
        for j in range(VECTORS):
            k = (j * K_GROUPS + group) * WIDTH
            for m in range(M):
                fetch(W, first, lane // K_LANES * M + m, k, part, m * WIDTH)
            for b in range(ROWS):
                load16(v, 0, shared, start + b * PITCH + k)
                for e in range(WIDTH):
                    for m in range(M):
                        total[b * M + m] = fma(part[m * WIDTH + e], v[e], total[b * M + m])
        for b in range(ROWS):
            if b < rows:
                for m in range(M):
                    a[m] = total[b * M + m]
                store_sums(a, shared, sums, b)

    return Product(1, NUMBER, COLUMNS, PITCH, block.warps, sums_pitch_of(N), load, multiply)


# -------------------------------------------------------------------------------------------------------- tensor cores


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
        for b in range(lane // 4, rows + lane // 4, 8 * HALVES):
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


def make_product(make_fetch, K, N, block, dtype, precision):
    """`make_fetch(columns)` is a function (W, first, row, k, v, j) by which 16 bytes of the block's row `row`, from
    column k on, come into v, from j on.
    """
    if precision != "highest":
        return make_mma_product(make_fetch, K, N, block, precision)
    make = make_streamed_product if block.streams else make_fma_product
    return make(make_fetch, K, N, block, dtype)
