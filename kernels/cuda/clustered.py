"""What blocks of a cluster can do: write into one another's shared memory, and meet.

Where a layer is so small that one cluster holds all of W, its operands are exchanged so, instead of through memory, in
the same kernels. Nothing is polled; clusters, each with its part of the batch, know nothing of one another and need not
even run at the same time.

Where it is not, a cluster can share out the columns of W, so that each of its blocks receives only a part of every
operand; they then exchange sums.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from fastgate.kernels.cuda.exchange import Exchange
from fastgate.kernels.cuda.inner_products import sums_pitch_of
from fastgate.kernels.cuda.prims import cluster_arrive, cluster_rank, cluster_wait, store_remote
from fastgate.kernels.jit import equation


@equation
def meet():
    """Kernels begin and end with it: nobody writes into a block that has not begun, or is no more."""
    cluster_arrive()
    cluster_wait()


def make_cluster_exchange(exchanged, start, pitch, block):
    """As `make_memory_exchange`; what is kept for later goes to memory besides."""
    ROW, START, PITCH, ROWS, THREADS = exchanged.row, start, pitch, block.rows, block.threads
    CLUSTER, KEPT = block.cluster, len(exchanged.kept)
    FIRST, END = exchanged.written
    kept_of = make_kept(exchanged.kept)

    @equation
    def receive(shared, source, first, rows, slot, waits, patience, error):
        if not waits:  # the start, which nobody of this launch has written
            for i in range(cuda.threadIdx.x, rows * ROW, THREADS):
                shared[START + (slot % 2 * ROWS + i // ROW) * PITCH + i % ROW] = source[first * ROW + i]
        meet()
        return patience

    @equation
    def publish(shared, target, i, values, b, unit, slot):
        for e in range(FIRST, END):
            target[i + e] = values[e]
        for rank in range(CLUSTER):
            for place in range(KEPT):
                at = START + (slot % 2 * ROWS + b) * PITCH + unit * KEPT + place
                store_remote(shared, at, rank, values[kept_of(place)])

    return Exchange(2, meet, receive, publish, meet)


def make_kept(kept):
    """place -> which of a unit's numbers is kept there"""
    *others, last = kept
    if not others:
        return equation(lambda place: last)
    kept_of_others, END = make_kept(others), len(others)

    @equation
    def kept_of(place):
        return last if place == END else kept_of_others(place)

    return kept_of


class Sums(NamedTuple):
    """Where those of a block's rows lie in the end: `count` for each, which add up."""

    start: int
    count: int
    pitch: int
    of_turn: int  # from those of one turn to those of the next
    bring_together: Any  # shared, turn, rows
    begin_and_end: Any
    size: int = 0  # numbers of shared memory, besides those that are there already


def make_sums_of_cluster(product, own, N, start, block, dtype):
    """Every block adds up its `own` sums, of its columns for the rows of all, and gives each block those of its N rows.

    Two turns never lie in the same place, since one block may be there while another still reads.
    """
    TOGETHER, ROWS, THREADS = block.together, block.rows, block.threads
    OWN, OWN_COUNT, OWN_PITCH, ALL = own, product.sums, product.sums_pitch, N * block.together
    START, PITCH = start, sums_pitch_of(N)
    OF_TURN = TOGETHER * ROWS * PITCH
    ZERO = np.dtype(dtype).type(0)

    @equation
    def bring_together(shared, turn, rows):
        cuda.syncthreads()
        mine = START + turn % 2 * OF_TURN + cluster_rank() * ROWS * PITCH
        for i in range(cuda.threadIdx.x, rows * ALL, THREADS):
            b, row = i // ALL, i % ALL
            total = ZERO
            for part in range(OWN_COUNT):
                total += shared[OWN + (part * ROWS + b) * OWN_PITCH + row]
            store_remote(shared, mine + b * PITCH + row % N, row // N, total)
        meet()

    return Sums(START, TOGETHER, PITCH, OF_TURN, bring_together, meet, 2 * OF_TURN)
