"""The exchange within a cluster: its blocks write into one another's shared memory, and meet once for each operand.

Where a layer is so small that one cluster holds all of W, this takes the place of the exchange through memory, in the
same kernels. Nothing is polled; clusters, each with its part of the batch, know nothing of one another and need not
even run at the same time.
"""

from numba import cuda

from fastgate.kernels.cuda.exchange import Exchange
from fastgate.kernels.cuda.prims import cluster_arrive, cluster_wait, in_clusters, store_remote
from fastgate.kernels.jit import equation


def make_cluster_exchange(exchanged, start, pitch, block):
    """As `make_memory_exchange`; what is kept for later goes to memory besides."""
    ROW, START, PITCH, ROWS, THREADS = exchanged.row, start, pitch, block.rows, block.threads
    CLUSTER, KEPT = block.cluster, len(exchanged.kept)
    FIRST, END = exchanged.written
    kept_of = make_kept(exchanged.kept)
    state_size = in_clusters(CLUSTER)

    @equation
    def meet():
        cluster_arrive()
        cluster_wait()

    @equation
    def prepare():
        state_size()
        meet()  # nobody writes into a block that has not begun

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

    return Exchange(2, prepare, receive, publish, meet)


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
