"""One direction of one layer: packed weights, forward, backward, gradients of weights; all workers of a schedule."""

from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from fastgate.kernels import memory
from fastgate.kernels.cpu import team
from fastgate.kernels.cpu.features import TILE_COLUMNS, lanes, padded
from fastgate.kernels.cpu.gradients import CHUNK, accumulate_outer, accumulate_rows
from fastgate.kernels.cpu.matmul import accumulate
from fastgate.kernels.cpu.pack import pack_backward, pack_forward, unpack_gradient
from fastgate.kernels.cpu.rows import gather, scatter_add

PROJECTED_BYTES = 1 << 18  # gates computed from the input ahead of the recurrence: they should stay in the cache
PROJECTED_ROWS = 24  # fewer would read the input's weights too often
FLOPS_PER_THREAD = 2e7  # handing work to a thread costs about 50 us


class Weights(NamedTuple):
    """Packed for the forward direction."""

    bias: np.ndarray  # (1, places*Hp)
    W_ih: np.ndarray  # panels
    W_hh: np.ndarray


class BackwardWeights(NamedTuple):
    W_ih: np.ndarray
    W_hh: np.ndarray


class Trace(NamedTuple):
    """What forward leaves for backward: states (B+P,Hp) and gates (P,places*Hp), each empty if the cell has none."""

    h: np.ndarray
    c: np.ndarray
    gates: np.ndarray


def pack_weights(cell, W_ih, W_hh, b_ih, b_hh):
    """W_ih (G*H,I)  W_hh (G*H,H)  b_ih, b_hh (G*H), zero where there is none"""
    dtype, H = W_hh.dtype, W_hh.shape[1]
    blocks, Hp = padded(H, dtype) // lanes(dtype), padded(H, dtype)
    bias = memory.zeros((1, cell.places * Hp), dtype)
    for vector, order, place in (
        (b_ih, cell.input_order, 0),
        (b_hh, cell.recurrent_order, cell.recurrent_place),
    ):
        packed = make_panels(pack_forward, vector[:, None], H, order, (len(order) * blocks, 1, lanes(dtype)))
        bias[0, place * Hp : (place + len(order)) * Hp] += packed.reshape(-1)
    return Weights(
        bias,
        make_panels(
            pack_forward, W_ih, H, cell.input_order, (len(cell.input_order) * blocks, W_ih.shape[1], lanes(dtype))
        ),
        make_panels(pack_forward, W_hh, H, cell.recurrent_order, (len(cell.recurrent_order) * blocks, H, lanes(dtype))),
    )


def pack_backward_weights(cell, W_ih, W_hh):
    """W_ih (G*H,I)  W_hh (G*H,H)"""
    dtype, (_, I), H = W_hh.dtype, W_ih.shape, W_hh.shape[1]
    width, Hp = lanes(dtype), padded(H, dtype)
    return BackwardWeights(
        make_panels(
            pack_backward, W_ih, H, cell.input_order, (padded(I, dtype) // width, len(cell.input_order) * Hp, width)
        ),
        make_panels(pack_backward, W_hh, H, cell.recurrent_order, (Hp // width, len(cell.recurrent_order) * Hp, width)),
    )


def make_panels(pack, weight, units, order, shape):
    """New panels of this shape, filled by one of the two functions of `pack.py`."""
    panels = memory.empty(shape, weight.dtype)
    pack(weight, units, np.array(order), panels)
    return panels


def parts_for(rows, ranks, multiply_adds_per_row):
    """Into how many parts a batch should be cut: as many as there are threads, when each has enough to do."""
    worth = int(2.0 * rows * multiply_adds_per_row / FLOPS_PER_THREAD)
    return max(1, min(team.get_threads(), ranks, worth))


def forward(cell, weights, x, y, direction, start, end, schedule, keep):
    """x (R,I) -> y (R,D*H), its columns of this direction; states start -> end (each (B,H)); a Trace if keep, else None

    x and y have the user's rows.
    """
    dtype, (B, H), M = x.dtype, start[0].shape, weights.bias.shape[1]
    states = B + schedule.rows if keep else B
    h = memory.empty((states if keep else 2 * B, padded(H, dtype)), dtype)
    c = memory.empty((states if cell.has_memory else 0, h.shape[1]), dtype)
    for first, inside in zip(start, (h, c), strict=False):
        gather(first, 0, schedule.order, 0, B, H, inside, 0)
    keep_gates = keep and cell.keeps_gates
    chunk = max(PROJECTED_ROWS, PROJECTED_BYTES // (M * dtype.itemsize))
    gates = memory.empty((schedule.rows if keep_gates else 0, M), dtype)
    index = schedule.user_rows(direction)

    def run(part):
        room = min(part.rows, max(chunk, part.ranks))
        x_rows = memory.empty((room, x.shape[1]), dtype)
        own = gates if keep_gates else memory.empty((room, M), dtype)
        cell.forward(
            x, y, direction * H, H, index, h, c, own, x_rows, *weights,
            part.active, part.first, part.row, chunk, keep, keep_gates,
        )  # fmt: skip

    team.run([partial(run, part) for part in schedule.parts])
    finals = (schedule.final, schedule.final) if keep else (schedule.final_of_two, schedule.rank_of)
    for inside, last, final in zip((h, c), end, finals, strict=False):
        gather(inside, 0, final, 0, B, H, last, 0)
    return Trace(h, c, gates) if keep else None


def backward(cell, weights, trace, dy, direction, d_end, d_start, dx, da, schedule):
    """dy (R,D*H), its columns of this direction  d_end, d_start of the states (each (B,H)) -> dx (R,I) +=  da (P,M)"""
    dtype, (B, H), index = dy.dtype, d_end[0].shape, schedule.user_rows(direction)
    panels, depth, width = weights.W_ih.shape

    def run(part):
        cell.backward(dh, dc, trace.gates, trace.h, trace.c, da, weights.W_hh, part.active, part.first, part.row, H)
        for row in range(part.row, part.row + part.rows, CHUNK):
            rows = min(CHUNK, part.row + part.rows - row)
            d_rows = memory.zeros((rows, panels * width), dtype)
            accumulate(d_rows, 0, 0, da, row, 0, weights.W_ih, 0, panels, 0, depth, rows)
            scatter_add(d_rows, index, row, rows, dx.shape[1], dx)

    with memory.borrowed(trace.h.shape, dtype) as dh:
        dh[:B] = 0
        dc = memory.empty((B if cell.has_memory else 0, dh.shape[1]), dtype)
        for last, inside in zip(d_end[1:], (dc,), strict=False):
            gather(last, 0, schedule.order, 0, B, H, inside, 0)
        gather(dy, direction * H, index, 0, schedule.rows, H, dh, B)
        dh[schedule.final, :H] += d_end[0]
        team.run([partial(run, part) for part in schedule.parts])
        for inside, first in zip((dh, dc), d_start, strict=False):
            gather(inside, 0, schedule.rank_of, 0, B, H, first, 0)


def weight_gradients(cell, trace, x, da, direction, schedule, gradients):
    """x (R,I)  da (P,places*Hp) -> gradients: W_ih (G*H,I)  W_hh (G*H,H)  b_ih, b_hh (G*H), overwritten"""
    dW_ih, dW_hh, db_ih, db_hh = gradients
    dtype, (I, H) = da.dtype, (dW_ih.shape[1], dW_hh.shape[1])
    Hp = da.shape[1] // cell.places
    index = schedule.canonical
    input_order, recurrent_order = np.array(cell.input_order), np.array(cell.recurrent_order)

    with memory.borrowed((I, len(input_order) * Hp), dtype) as total:
        total[...] = 0
        outer(total, 0, x, schedule.user_rows(direction)[index], 0, da, index, 0, total.shape[1])
        unpack_gradient(total, H, input_order, dW_ih)

    with memory.borrowed((H, len(recurrent_order) * Hp), dtype) as total:
        total[...] = 0
        for product in cell.recurrent_products:
            a, a_index = (trace.gates, index) if product.of_gates else (trace.h, schedule.canonical_before)
            places = (product.total_place * Hp, product.place * Hp, product.da_place * Hp, product.count * Hp)
            total_column, a_column, d_column, columns = places
            outer(total, total_column, a, a_index, a_column, da, index, d_column, columns)
        unpack_gradient(total, H, recurrent_order, dW_hh)

    bias_total = memory.zeros((1, da.shape[1]), dtype)
    accumulate_rows(bias_total, da, index)
    recurrent_bias = bias_total[:, cell.recurrent_place * Hp :][:, : len(recurrent_order) * Hp]
    unpack_gradient(bias_total[:, : len(input_order) * Hp].copy(), H, input_order, db_ih[:, None])
    unpack_gradient(recurrent_bias.copy(), H, recurrent_order, db_hh[:, None])


def outer(total, total_column, a, a_index, a_column, d, d_index, d_column, columns):
    """total[:, total_column:] += a[a_index, a_column:].T @ d[d_index, d_column:], its columns cut for the threads."""
    width = lanes(total.dtype)
    vectors = columns // width
    groups = -(-vectors // TILE_COLUMNS)
    workers = min(parts_for(d_index.size, groups, total.shape[0] * columns), groups)
    cuts = [min(vectors, groups * i // workers * TILE_COLUMNS) for i in range(workers + 1)]

    def run(first, last):
        a_chunk = memory.empty((CHUNK, total.shape[0]), total.dtype)
        d_chunk = memory.empty((TILE_COLUMNS, CHUNK * width), total.dtype)
        accumulate_outer(total, total_column, a, a_index, a_column, d, d_index, d_column, first, last, a_chunk, d_chunk)

    team.run([partial(run, *cut) for cut in pairwise(cuts)])
