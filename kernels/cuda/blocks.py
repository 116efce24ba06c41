"""What a block of a recurrent kernel does besides its product: its share of the work, its rows of W, its sums."""

from typing import Any, NamedTuple

import numpy as np
from numba import cuda
from numba.np.numpy_support import from_dtype

from fastgate.kernels.cuda.clustered import Sums, make_cluster_exchange, make_sums_of_cluster
from fastgate.kernels.cuda.exchange import make_memory_exchange, nothing
from fastgate.kernels.cuda.inner_products import LANES, make_fma_product
from fastgate.kernels.cuda.launch import Program
from fastgate.kernels.cuda.prims import cluster_rank, load16, width
from fastgate.kernels.cuda.streaming import make_streamed_product
from fastgate.kernels.cuda.tensor_products import make_mma_product
from fastgate.kernels.jit import equation


class Block(NamedTuple):
    """The size of a block: it computes `units` units of `rows` sequences at a time, with a thread for each of these."""

    units: int
    rows: int
    warps: int
    cluster: int = 1  # of so many blocks, which have all units; or 1, and all blocks of the grid have them
    together: int = 1  # blocks of a cluster, each of which multiplies its part of the columns for the units of all
    streams: bool = False  # W, in every step: it does not fit into registers

    @property
    def threads(self):
        return self.warps * LANES


def grid_of(H, B, block, parts, directions):
    """Blocks for H units, in each part of the batch (of `block.rows` sequences, in clusters), for each direction."""
    if block.cluster > 1:
        return block.cluster, -(-B // block.rows), directions
    return -(-H // (block.units * block.together)) * block.together, parts, directions


@equation
def seat(units, B, reverse):
    """Of a thread of such a grid: its direction, whether that goes backwards in time, the block's first unit, its own
    unit, its sequence of each `block.rows`, and the first and the end of its part's sequences."""
    direction, thread, first = cuda.blockIdx.z, cuda.threadIdx.x, cuda.blockIdx.x * units
    part = (B + cuda.gridDim.y - 1) // cuda.gridDim.y
    begin, end = cuda.blockIdx.y * part, min(B, (cuda.blockIdx.y + 1) * part)
    return direction, reverse >> direction & 1, first, first + thread % units, thread // units, begin, end


class Phase(NamedTuple):
    """One product of a step: what is waited for, multiplied, and summed up."""

    registers: int
    kind: Any  # of number in them
    shared: int  # numbers of shared memory, from `start` on
    functions: tuple[Any, ...]  # see the return statement of `make_phase`


def make_fetch_of_rows(H, gates, phase, block, dtype):
    """For forward: row (unit, gate of this phase) of W (H,G,H), 16 bytes from column k on; there are `columns`."""
    ALIGNED = H % width(dtype) == 0
    WIDTH, ZERO = width(dtype), np.dtype(dtype).type(0)
    G, GATES, FIRST = gates, len(phase), phase[0]

    def of(columns):
        WITHIN = H % (block.units * block.together) == 0 and columns == H

        @equation
        def fetch(W, first, row, k, v, j):
            unit = first + row // GATES
            at = (unit * G + FIRST + row % GATES) * H + k
            if ALIGNED and (WITHIN or (unit < H and k < H)):
                load16(v, j, W, at)
            else:
                for e in range(WIDTH):
                    v[j + e] = W[at + e] if not ALIGNED and unit < H and k + e < H else ZERO

        return fetch

    return of


def make_fetch_of_columns(H, gates, phase, block, dtype):
    """For backward: the row `unit` of W transposed, (H,H,G), 16 bytes of the (unit, gate of this phase) from k on."""
    WIDTH, ZERO = width(dtype), np.dtype(dtype).type(0)
    G, GATES, FIRST, K = gates, len(phase), phase[0], H * len(phase)
    ALL = GATES == G
    ALIGNED = ALL and K % WIDTH == 0

    def of(columns):
        WITHIN = H % (block.units * block.together) == 0 and columns == K

        @equation
        def fetch(W, first, row, k, v, j):
            unit = first + row
            if ALIGNED and (WITHIN or (unit < H and k < K)):
                load16(v, j, W, unit * K + k)
            else:
                for e in range(WIDTH):
                    at = k + e if ALL else (k + e) // GATES * G + FIRST + (k + e) % GATES
                    v[j + e] = W[unit * H * G + at] if not ALIGNED and unit < H and k + e < K else ZERO

        return fetch

    return of


@equation
def wait_for_block(shared, turn, rows):
    cuda.syncthreads()


def make_product(make_fetch, K, N, block, dtype, precision):
    """`make_fetch(columns)` is a function (W, first, row, k, v, j) by which 16 bytes of the block's row `row`, from
    column k on, come into v, from j on.
    """
    if precision != "highest":
        return make_mma_product(make_fetch, K, N, block, precision)
    make = make_streamed_product if block.streams else make_fma_product
    return make(make_fetch, K, N, block, dtype)


def make_fetch_of_part(make_fetch, K, together, dtype):
    """The same rows, of K columns: those of this block in its cluster."""
    WIDTH, ZERO = width(dtype), np.dtype(dtype).type(0)

    def of(columns):
        fetch = make_fetch(K * together)
        WITHIN = columns == K

        @equation
        def fetch_part(W, first, row, k, v, j):
            if WITHIN or k < K:
                fetch(W, first, row, cluster_rank() * K + k, v, j)
            else:
                for e in range(WIDTH):
                    v[j + e] = ZERO

        return fetch_part

    return of


def make_phase(make_fetch, block, N, exchanged, start, dtype, precision):
    """With its part of shared memory from `start` on: operands, then sums."""
    TOGETHER, UNITS = block.together, block.units
    K, ALL_ROWS = exchanged.columns // TOGETHER, N * TOGETHER
    if TOGETHER > 1:
        assert exchanged.row % (TOGETHER * exchanged.of * width(dtype)) == 0
        make_fetch = make_fetch_of_part(make_fetch, K, TOGETHER, dtype)
    product = make_product(make_fetch, K, ALL_ROWS, block, dtype, precision)
    PITCH, PADDING = product.pitch, product.columns - K
    GATES, ROWS, THREADS = N // UNITS, block.rows, block.threads
    if block.cluster > 1:
        exchange = make_cluster_exchange(exchanged, start, PITCH, block)
    else:
        exchange = make_memory_exchange(exchanged, start, PITCH, block, dtype)
    SLOTS, START = exchange.slots, start
    OWN_SUMS = start + SLOTS * ROWS * PITCH
    size = SLOTS * ROWS * PITCH + product.sums * ROWS * product.sums_pitch
    NUMBER, ZERO = from_dtype(np.dtype(dtype)), np.dtype(dtype).type(0)
    if TOGETHER > 1:
        sums = make_sums_of_cluster(product, OWN_SUMS, N, start + size, block, dtype)
        size += sums.size
    else:
        sums = Sums(OWN_SUMS, product.sums, product.sums_pitch, 0, wait_for_block, nothing)
    SUMS, COUNT, SUMS_PITCH, OF_TURN = sums.start, sums.count, sums.pitch, sums.of_turn
    WHOLE = width(dtype) == GATES
    load_rows, product_of, prepare_exchange, leave_exchange = (
        product.load,
        product.multiply,
        exchange.prepare,
        exchange.leave,
    )
    bring_together, begin_and_end = sums.bring_together, sums.begin_and_end

    @equation
    def first_of_all(first):
        return first - cluster_rank() * UNITS if TOGETHER > 1 else first

    @equation
    def load(W, first, w):
        load_rows(W, first_of_all(first), w)

    @equation
    def prepare(shared):
        if PADDING:
            for i in range(cuda.threadIdx.x, SLOTS * ROWS * PADDING, THREADS):
                shared[START + i // PADDING * PITCH + K + i % PADDING] = ZERO
        prepare_exchange()
        begin_and_end()

    @equation
    def multiply(w, W, first, shared, slot, turn, rows):
        product_of(w, W, first_of_all(first), shared, START + slot % SLOTS * (ROWS * PITCH), OWN_SUMS, rows)
        bring_together(shared, turn, rows)

    @equation
    def sum_up(shared, b, unit, u, j, turn):
        """The sums of all columns for one unit of one sequence -> u, from j on"""
        v = cuda.local.array(GATES, NUMBER)
        for g in range(GATES):
            u[j + g] = ZERO
        for part in range(COUNT):
            at = SUMS + turn % 2 * OF_TURN + (part * ROWS + b) * SUMS_PITCH + unit * GATES
            if WHOLE:
                load16(v, 0, shared, at)
            else:
                for g in range(GATES):
                    v[g] = shared[at + g]
            for g in range(GATES):
                u[j + g] += v[g]

    @equation
    def leave():
        leave_exchange()
        begin_and_end()

    functions = (
        load,  # W, first unit, registers
        prepare,  # shared
        exchange.receive,  # shared, source, first row, rows, slot, waits, patience, error -> patience
        multiply,  # registers, W, first unit, shared, slot, turn, rows; all threads then see the sums
        sum_up,  # shared, row, unit, u, j, turn
        exchange.publish,  # shared, target, i, values, row, unit, slot
        leave,
    )
    return Phase(product.registers, product.kind, size, functions)


def program_of(function, block, one, two, dtype):
    """The kernel of one phase, or of two that are not the same."""
    phases = {one, two}
    return Program(
        function,
        block.threads,
        shared=sum(phase.shared for phase in phases) * np.dtype(dtype).itemsize,
        cluster=block.cluster * block.together,
        cooperative=block.cluster == 1,  # clusters that have all units know nothing of one another
        words=sum(phase.registers * phase.kind.bitwidth // 32 for phase in phases),
    )
