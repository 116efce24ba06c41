"""One direction of one layer: packed weights, forward, backward, a single step. All of a schedule's parts at once."""

from typing import NamedTuple

import numpy as np

from fastgate.kernels import memory
from fastgate.kernels.cpu import team
from fastgate.kernels.cpu.features import TILE_COLUMNS, lanes, padded
from fastgate.kernels.cpu.gradients import CHUNK, accumulate_outer, accumulate_rows
from fastgate.kernels.cpu.matmul import accumulate
from fastgate.kernels.cpu.pack import pack_backward, pack_forward, unpack_gradient

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
    """What forward leaves for backward: states (B+P,Hp) with the start in the first B rows, and gates (P,places*Hp)."""

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
        packed = _pack(pack_forward, vector[:, None], H, order, (len(order) * blocks, 1, lanes(dtype)))
        bias[0, place * Hp : (place + len(order)) * Hp] += packed.reshape(-1)
    return Weights(
        bias,
        _pack(pack_forward, W_ih, H, cell.input_order, (len(cell.input_order) * blocks, W_ih.shape[1], lanes(dtype))),
        _pack(pack_forward, W_hh, H, cell.recurrent_order, (len(cell.recurrent_order) * blocks, H, lanes(dtype))),
    )


def pack_backward_weights(cell, W_ih, W_hh):
    """W_ih (G*H,I)  W_hh (G*H,H)"""
    dtype, (_, I), H = W_hh.dtype, W_ih.shape, W_hh.shape[1]
    width, Hp = lanes(dtype), padded(H, dtype)
    return BackwardWeights(
        _pack(pack_backward, W_ih, H, cell.input_order, (padded(I, dtype) // width, len(cell.input_order) * Hp, width)),
        _pack(pack_backward, W_hh, H, cell.recurrent_order, (Hp // width, len(cell.recurrent_order) * Hp, width)),
    )


def _pack(pack, weight, units, order, shape):
    panels = memory.empty(shape, weight.dtype)
    pack(weight, units, np.array(order), panels)
    return panels


def parts_for(rows, ranks, multiply_adds_per_row):
    """Into how many parts a batch should be cut: as many as there are threads, when each has enough to do."""
    worth = int(2.0 * rows * multiply_adds_per_row / FLOPS_PER_THREAD)
    return max(1, min(team.get_threads(), ranks, worth))


def forward(cell, weights, x, h, c, schedule, keep):
    """x (P,I)  h (B+P,Hp), c (B+P,Hp) or, without keep, (B,Hp) holding the start in rows [0, B) -> Trace"""
    dtype, M = x.dtype, weights.bias.shape[1]
    keep = keep and cell.keeps_gates
    chunk = max(PROJECTED_ROWS, PROJECTED_BYTES // (M * dtype.itemsize))
    gates = memory.empty((schedule.rows, M), dtype) if keep else None

    def run(part):
        own = gates
        if own is None:
            own = memory.empty((min(part.rows, max(chunk, part.ranks)), M), dtype)
        cell.forward(x, h, c, own, *weights, part.active, part.first, part.row, chunk, keep)

    team.run([lambda part=part: run(part) for part in schedule.parts])
    return Trace(h, c, gates)


def backward(cell, weights, trace, dh, dc, schedule):
    """dh (B+P,Hp) holding dy, and at each final state its gradient  dc (B,Hp) by rank -> da (P,places*Hp), dx (P,Ip)

    Afterwards rows [0, B) of dh, and dc, hold the gradient in the initial state.
    """
    width = lanes(dh.dtype)
    da = memory.empty((schedule.rows, cell.places * dh.shape[1]), dh.dtype)
    dx = memory.zeros((schedule.rows, weights.W_ih.shape[0] * width), dh.dtype)
    gates = da if trace.gates is None else trace.gates

    def run(part):
        cell.backward(dh, dc, gates, trace.h, trace.c, da, weights.W_hh, part.active, part.first, part.row)
        blocks, depth, _ = weights.W_ih.shape
        accumulate(dx, part.row, 0, da, part.row, 0, weights.W_ih, 0, blocks, 0, depth, part.rows)

    team.run([lambda part=part: run(part) for part in schedule.parts])
    return da, dx


def weight_gradients(cell, trace, x, da, schedule, gradients):
    """x (P,I)  da (P,places*Hp) -> gradients: W_ih (G*H,I)  W_hh (G*H,H)  b_ih, b_hh (G*H), overwritten"""
    dW_ih, dW_hh, db_ih, db_hh = gradients
    dtype, (I, H) = da.dtype, (dW_ih.shape[1], dW_hh.shape[1])
    Hp = da.shape[1] // cell.places
    input_total = memory.zeros((I, len(cell.input_order) * Hp), dtype)
    recurrent_total = memory.zeros((H, len(cell.recurrent_order) * Hp), dtype)
    bias_total = memory.zeros((1, da.shape[1]), dtype)
    index = schedule.canonical

    _outer(input_total, 0, x, index, 0, da, index, 0, input_total.shape[1])
    for product in cell.recurrent_products:
        a, a_index = (trace.gates, index) if product.of_gates else (trace.h, schedule.canonical_before)
        places = (product.total_place * Hp, product.place * Hp, product.da_place * Hp, product.count * Hp)
        total_column, a_column, d_column, columns = places
        _outer(recurrent_total, total_column, a, a_index, a_column, da, index, d_column, columns)
    accumulate_rows(bias_total, da, index)

    input_order, recurrent_order = np.array(cell.input_order), np.array(cell.recurrent_order)
    recurrent_bias = bias_total[:, cell.recurrent_place * Hp :][:, : len(recurrent_order) * Hp]
    unpack_gradient(input_total, H, input_order, dW_ih)
    unpack_gradient(recurrent_total, H, recurrent_order, dW_hh)
    unpack_gradient(bias_total[:, : len(input_order) * Hp].copy(), H, input_order, db_ih[:, None])
    unpack_gradient(recurrent_bias.copy(), H, recurrent_order, db_hh[:, None])


def _outer(total, total_column, a, a_index, a_column, d, d_index, d_column, columns):
    """total[:, total_column:] += a[a_index, a_column:].T @ d[d_index, d_column:], its columns cut for the threads."""
    width = lanes(total.dtype)
    vectors = columns // width
    groups = -(-vectors // TILE_COLUMNS)
    workers = min(parts_for(d_index.size, groups, total.shape[0] * columns), groups)
    cuts = [min(vectors, groups * i // workers * TILE_COLUMNS) for i in range(workers + 1)]

    def run(first, last):
        a_chunk = memory.empty((CHUNK, total.shape[0]), total.dtype)
        d_chunk = memory.empty((TILE_COLUMNS, CHUNK * width), total.dtype)
        accumulate_outer(
            total, total_column, a, a_index, a_column, d, d_index, d_column, first, last, a_chunk, d_chunk
        )

    team.run([lambda cut=cut: run(*cut) for cut in zip(cuts, cuts[1:], strict=False)])


def step(cell, weights, x, h, c, layer, scratch, h_end, c_end):
    """x (B,I)  h, c (L,B,H)[layer] -> h_end, c_end (L,B,H)[layer]; see `make_step`"""
    cell.step(x, h, c, layer, *weights, scratch, h_end, c_end)
