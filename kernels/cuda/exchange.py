"""How blocks hand numbers to one another while they run: the numbers themselves say that they are there.

Memory is filled with `UNSET` before the launch. Who computes a number publishes it; who needs it reads it again until
it is another. No barrier, no flag, no order of writes is needed, and no place is used twice. A wait is bounded: when
it ends without the number, `error` says so, and nobody waits any more.
"""

import numpy as np
from numba import cuda, int32
from numba.np.numpy_support import from_dtype

from fastgate.kernels.cuda.prims import is_unset, poll1, poll16, publish1, publish16, store16, width
from fastgate.kernels.jit import equation

LIMIT = 1 << 22  # reads of one number, each at least half a microsecond: some seconds
MOST_IN_FLIGHT = 8  # 16-byte loads of one thread


def make_place(kept):
    """r -> its place among `kept`, or -1"""
    if not kept:
        return equation(lambda r: -1)
    *others, last = kept
    place_among_others, place = make_place(others), len(others)

    @equation
    def place_of(r):
        return place if r == last else place_among_others(r)

    return place_of


def make_gather(row, kept, of, pitch, most_rows, threads, dtype):
    """A function by which a block copies rows of `row` numbers that others publish into its shared memory.

    Of every `of` numbers (those of one unit) only `kept` are waited for and copied, and lie next to each other there.
    """
    WIDTH = width(dtype) if row % width(dtype) == 0 else 1
    poll = poll16 if WIDTH > 1 else poll1
    STRIDE = threads * WIDTH
    IN_FLIGHT = max(1, min(MOST_IN_FLIGHT, -(-most_rows * row // STRIDE)))
    REGISTERS, FURTHER = IN_FLIGHT * WIDTH, IN_FLIGHT * STRIDE
    ROW, OF, KEPT, PITCH = row, of, len(kept), pitch
    ALL = KEPT == OF
    NUMBER = from_dtype(np.dtype(dtype))
    place_of = make_place(tuple(kept))

    @equation
    def is_missing(v, j, i):
        missing = False
        for e in range(WIDTH):
            if is_unset(v[j + e]) and (ALL or place_of((i + e) % OF) >= 0):
                missing = True
        return missing

    @equation
    def put(shared, start, i, v, j):
        at = start + i // ROW * PITCH
        column = i % ROW
        if ALL and WIDTH > 1:
            store16(shared, at + column, v, j)
        else:
            for e in range(WIDTH):
                place = place_of((column + e) % OF)
                if place >= 0:
                    shared[at + (column + e) // OF * KEPT + place] = v[j + e]

    @equation
    def gather(shared, start, source, first, rows, waits, patience, error):
        """source[first : first + rows] (ROWS,ROW) -> shared, from `start` on; returns what is left of patience"""
        v = cuda.local.array(REGISTERS, NUMBER)
        count = rows * ROW
        base = first * ROW
        for i0 in range(cuda.threadIdx.x * WIDTH, count, FURTHER):
            for d in range(IN_FLIGHT):
                if i0 + d * STRIDE < count:
                    poll(v, d * WIDTH, source, base + i0 + d * STRIDE)
            for d in range(IN_FLIGHT):
                i = i0 + d * STRIDE
                if i < count:
                    left = patience
                    while waits and is_missing(v, d * WIDTH, i):
                        if left == 0:
                            error[0] = 1
                            patience = int32(0)
                            break
                        left -= int32(1)
                        poll(v, d * WIDTH, source, base + i)
                    put(shared, start, i, v, d * WIDTH)
        return patience

    return gather


def make_publish(count, dtype):
    """A function that publishes `count` numbers, none of which is `UNSET` even where a NaN came in."""
    COUNT = count
    WHOLE = count == width(dtype)
    NAN = np.dtype(dtype).type(np.nan)

    @equation
    def publish(target, i, values, j):
        """values (COUNT,) from j on -> target, from i on"""
        for e in range(COUNT):
            if values[j + e] != values[j + e]:
                values[j + e] = NAN
        if WHOLE:
            publish16(target, i, values, j)
        else:
            for e in range(COUNT):
                publish1(target, i + e, values, j + e)

    return publish
