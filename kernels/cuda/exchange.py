"""How blocks hand numbers to one another while they run: the numbers themselves say that they are there.

Memory is filled with `UNSET` before the launch. Who computes a number publishes it; who needs it reads it again until
it is another. No barrier, no flag, no order of writes is needed, and no place is used twice. A wait is bounded: when
it ends without the number, `error` says so, and nobody waits any more.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import cuda, int32
from numba.np.numpy_support import from_dtype

from fastgate.kernels.cuda.prims import cluster_rank, is_unset, poll1, poll16, publish1, publish16, store16, width
from fastgate.kernels.jit import equation

LIMIT = 1 << 22  # reads of one number, each at least half a microsecond: some seconds
MOST_IN_FLIGHT, MOST_OF_GRADIENTS = 8, 4  # loads of one thread; backward registers run out with more


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


class Exchanged(NamedTuple):
    """What one phase of a step needs of another: a row of `row` numbers, `of` for each unit, some of them `kept`.

    `written` are those numbers of a unit, from the first to behind the last, that are there when they are published.
    """

    row: int
    of: int = 1
    kept: tuple[int, ...] = (0,)
    written: tuple[int, int] = (0, 1)

    @property
    def columns(self):
        """Of the operand: what is kept of a row, side by side."""
        return self.row // self.of * len(self.kept)


class Exchange(NamedTuple):
    """How an operand comes to where a block multiplies it: rows in shared memory, `pitch` from one to the next.

    Every step has a `slot`, since what comes for the next one must not meet what is still in use.
    """

    slots: int  # operands that shared memory has room for
    prepare: Any  # () before all, by all threads
    receive: Any  # shared, source, first row, rows, slot, waits, patience, error -> patience; all threads then see it
    publish: Any  # shared, target, i, values, b, unit, slot
    leave: Any  # () after all


@equation
def nothing():
    pass


def make_memory_exchange(exchanged, start, pitch, block, dtype):
    """Through memory, between all blocks of a grid."""
    gather = make_gather(exchanged, start, pitch, block, dtype)
    FIRST, END = exchanged.written
    COUNT = END - FIRST
    WHOLE = width(dtype) == COUNT and exchanged.of % COUNT == 0 and FIRST % COUNT == 0  # then they are aligned, too
    NAN = np.dtype(dtype).type(np.nan)

    @equation
    def receive(shared, source, first, rows, slot, waits, patience, error):
        patience = gather(shared, source, first, rows, waits, patience, error)
        cuda.syncthreads()
        return patience

    @equation
    def publish(shared, target, i, values, b, unit, slot):
        for e in range(FIRST, END):
            if values[e] != values[e]:  # a NaN that came in may be `UNSET`
                values[e] = NAN
        if WHOLE:
            publish16(target, i + FIRST, values, FIRST)
        else:
            for e in range(FIRST, END):
                publish1(target, i + e, values, e)

    return Exchange(1, nothing, receive, publish, nothing)


def make_gather(exchanged, start, pitch, block, dtype):
    """A function by which a block copies rows that others publish into its shared memory."""
    TOGETHER, OF, KEPT, START, PITCH = block.together, exchanged.of, len(exchanged.kept), start, pitch
    WHOLE_ROW, ROW, ALL = exchanged.row, exchanged.row // block.together, KEPT == OF
    WIDTH = width(dtype) if ROW % width(dtype) == 0 else 1
    poll = poll16 if WIDTH > 1 else poll1
    STRIDE = block.threads * WIDTH
    most = MOST_IN_FLIGHT if exchanged.of == 1 else MOST_OF_GRADIENTS
    IN_FLIGHT = max(1, min(most, -(-block.rows * ROW // STRIDE)))
    REGISTERS, FURTHER = IN_FLIGHT * WIDTH, IN_FLIGHT * STRIDE
    NUMBER = from_dtype(np.dtype(dtype))
    place_of = make_place(exchanged.kept)

    @equation
    def place_in(first, i):
        if TOGETHER == 1:
            return first * ROW + i
        return (first + i // ROW) * WHOLE_ROW + cluster_rank() * ROW + i % ROW

    @equation
    def is_missing(v, j, i):
        missing = False
        for e in range(WIDTH):
            if is_unset(v[j + e]) and (ALL or place_of(e if OF == WIDTH else (i + e) % OF) >= 0):
                missing = True
        return missing

    @equation
    def put(shared, i, v, j):
        at = START + i // ROW * PITCH
        column = i % ROW
        if ALL and WIDTH > 1:
            store16(shared, at + column, v, j)
        else:
            for e in range(WIDTH):
                place = place_of(e if OF == WIDTH else (column + e) % OF)
                if place >= 0:
                    shared[at + (column + e) // OF * KEPT + place] = v[j + e]

    @equation
    def gather(shared, source, first, rows, waits, patience, error):
        """source[first : first + rows], this block's columns -> shared; returns what is left of patience"""
        v = cuda.local.array(REGISTERS, NUMBER)
        count = rows * ROW
        for i0 in range(cuda.threadIdx.x * WIDTH, count, FURTHER):
            for d in range(IN_FLIGHT):
                if i0 + d * STRIDE < count:
                    poll(v, d * WIDTH, source, place_in(first, i0 + d * STRIDE))
            left = patience
            while waits:  # all that is missing is read again before any of it is looked at: one journey, not several
                missing = False
                for d in range(IN_FLIGHT):
                    i = i0 + d * STRIDE
                    if i < count and is_missing(v, d * WIDTH, i):
                        missing = True
                        poll(v, d * WIDTH, source, place_in(first, i))
                if not missing:
                    break
                if left == 0:
                    error[0] = 1
                    patience = int32(0)
                    break
                left -= int32(1)
            for d in range(IN_FLIGHT):
                if i0 + d * STRIDE < count:
                    put(shared, i0 + d * STRIDE, v, d * WIDTH)
        return patience

    return gather
