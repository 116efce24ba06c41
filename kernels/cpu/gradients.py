"""Gradients that wait until the loop over time is done: of the input, and the sums over all rows of a batch that are
those of the weights and the biases.

Rows are taken in the order of an index that does not depend on how the batch was split over workers, and sums over them
are never split: workers share the rows of the result. They are summed up in chunks, the last one first, as
back-propagation comes by them: so the bits of a gradient are the same for any number of threads, and whether or not the
tape was recomputed.
"""

from numba.core import types

from fastgate.kernels.cpu.features import TILE_COLUMNS, TILE_ROWS
from fastgate.kernels.cpu.fixed import INDEX, MATRIX, NUMBER, Fixed
from fastgate.kernels.cpu.matmul import accumulate
from fastgate.kernels.cpu.rows import clear, scatter, scatter_add
from fastgate.kernels.cpu.simd import lanes_of, store, zero_of
from fastgate.kernels.cpu.tail import load_some, store_some
from fastgate.kernels.cpu.tile import multiply_tile
from fastgate.kernels.jit import jit

# Rows summed up at a time: a chunk of both operands stays in the second-level cache, and rounding errors grow with the
# chunk and the number of chunks, not with the number of rows.
CHUNK = 256
BLOCK = 8 * TILE_ROWS  # columns of da at a time: whole vectors, and tiles that read the same panels one after the other


@jit
def weight_gradients(
    x, x_rows, h, gates, h_rows, da, rows, cuts, places, H,
    dW_ih, dW_hh, db_ih, db_hh, x_panels, h_panels, operand_panels, da_block, begin, worker, workers,
):  # fmt: skip
    """x (R,I)[x_rows]  h (B+P,Hp)[h_rows]  gates (P,G*H)[rows]  da (P,N)[rows]
    -> dW_ih (G*H,Ip)  dW_hh (G*H,Hp)  db_ih, db_hh (1,G*H) += sums over rows; begun from zero with `begin`

    places (n,4): for every H columns of da the gate of W_ih and that of W_hh they belong to, or -1, at which column of
    the gates the operand of the latter is, or -1 for h, and whether there is a bias in it.
    cuts (m+1) of the rows, at most CHUNK apart.  This worker does its share of the rows of the gradients.
    scratch panels (Ip/lanes,CHUNK*lanes) and so on, da_block (CHUNK,BLOCK)
    """
    total = places.shape[0] * H
    first, last = total * worker // workers, total * (worker + 1) // workers
    for place in range(places.shape[0]):
        own, end = max(first - place * H, 0), min(last - place * H, H)
        if begin and own < end:
            _clear(dW_ih, db_ih, places[place, 0], H, own, end)
            _clear(dW_hh, db_hh, places[place, 1], H, own, end)

    for i in range(cuts.size - 2, -1, -1):
        cut, depth = cuts[i], cuts[i + 1] - cuts[i]
        fill_panels(x, x_rows, cut, depth, 0, dW_ih.shape[1], x_panels)
        fill_panels(h, h_rows, cut, depth, 0, dW_hh.shape[1], h_panels)
        for place in range(places.shape[0]):
            own, end = max(first - place * H, 0), min(last - place * H, H)
            if own >= end:
                continue
            gate_ih, gate_hh, operand = places[place, 0], places[place, 1], places[place, 2]
            if operand >= 0:
                fill_panels(gates, rows, cut, depth, operand, H, operand_panels)
            for r in range(own, end, BLOCK):
                units = min(BLOCK, end - r)
                fill_block(da, rows, cut, depth, place * H + r, units, da_block)
                if gate_ih >= 0:
                    add_block(dW_ih, gate_ih * H + r, units, da_block, x_panels, depth)
                if gate_hh >= 0:
                    panels = operand_panels if operand >= 0 else h_panels
                    add_block(dW_hh, gate_hh * H + r, units, da_block, panels, depth)
            if gate_ih >= 0:
                _add_bias(da, rows, cut, depth, place * H, own, end, db_ih, gate_ih * H)
            elif places[place, 3]:
                _add_bias(da, rows, cut, depth, place * H, own, end, db_hh, gate_hh * H)

    for place in range(places.shape[0]):
        gate_ih, gate_hh = places[place, 0], places[place, 1]
        if gate_ih >= 0 and places[place, 3]:  # the same sum
            for u in range(max(first - place * H, 0), min(last - place * H, H)):
                db_hh[0, gate_hh * H + u] = db_ih[0, gate_ih * H + u]


@jit
def _clear(dW, db, gate, H, first, last):
    """dW (G*H,K)  db (1,G*H) -> zeros in units [first, last) of a gate, unless it is -1"""
    if gate >= 0:
        for r in range(gate * H + first, gate * H + last):
            for k in range(dW.shape[1]):
                dW[r, k] = 0.0
            if r < db.shape[1]:
                db[0, r] = 0.0


@jit
def fill_panels(source, index, cut, depth, column, columns, panels):
    """source (Q,L)[index[cut:cut+depth], column:] -> panels (N,CHUNK*lanes): vectors of columns, zeros behind L"""
    width = lanes_of(source)
    for panel in range(panels.shape[0]):
        at = column + panel * width
        count = min(column + columns, source.shape[1]) - at
        for k in range(depth):
            store(panels, panel, k * width, load_some(source, index[cut + k], at, count))


@jit
def fill_block(da, index, cut, depth, column, columns, da_block):
    """da (P,N)[index[cut:cut+depth], column : column+columns] -> da_block (CHUNK,BLOCK), by whole vectors"""
    for k in range(depth):
        for u in range(0, columns, lanes_of(da)):
            store(da_block, k, u, load_some(da, index[cut + k], column + u, columns - u))


@jit
def add_block(dW, row, rows, da_block, panels, depth):
    """dW (G*H,K)[row : row+rows] += da_block.T @ panels"""
    K, width, stride = dW.shape[1], lanes_of(dW), panels.shape[1]
    count, tiles = -(-K // width), -(-rows // TILE_ROWS)
    for c in range(0, count, TILE_COLUMNS):
        columns = min(TILE_COLUMNS, count - c)
        r = 0
        for tile in range(tiles):
            height = (rows - r) // (tiles - tile)
            at = (row + r) * K + c * width
            multiply_tile(
                height, columns, depth,
                dW, at, K, dW, at, K,
                da_block, r, 1, BLOCK, panels, c * stride, stride,
            )  # fmt: skip
            r += height


@jit
def _add_bias(da, index, cut, depth, column, first, last, db, at):
    """da (P,N)[index[cut:cut+depth], column+first : column+last] -> db (1,G*H)[at+first : at+last] += sum over rows"""
    for u in range(first, last, lanes_of(da)):
        part = zero_of(da)
        for k in range(depth):
            part = part + load_some(da, index[cut + k], column + u, last - u)
        store_some(db, 0, at + u, load_some(db, 0, at + u, last - u) + part, last - u)


@jit
def input_gradient(W_ih, da, index, d_rows, dx, add, worker, workers):
    """da (P,N)  W_ih panels -> dx (R,I)[index], or += with `add`; one worker's share of the rows

    scratch d_rows (A,Ip), A rows at a time
    """
    panels, depth, _ = W_ih.shape
    count, last = da.shape[0], da.shape[0] * (worker + 1) // workers
    for row in range(count * worker // workers, last, d_rows.shape[0]):
        rows = min(d_rows.shape[0], last - row)
        clear(d_rows, rows)
        accumulate(d_rows, 0, 0, da, row, 0, W_ih, 0, panels, 0, depth, rows)
        if add:
            scatter_add(d_rows, index, row, rows, dx.shape[1], dx)
        else:
            scatter(d_rows, 0, 0, index, row, rows, dx.shape[1], dx, 0)


FIXED = Fixed(*[INDEX] * 5, (2, types.int64), *[MATRIX] * 5, *[NUMBER] * 4)
read_fixed = FIXED.reader


@jit
def all_gradients(x, dx, h, gates, da, W_ih, dW_ih, dW_hh, db_ih, db_hh, fixed, part, begin):
    """x (_,_,I)  da (P,N)  fixed (workers,n)[part] -> dx (_,_,I) by `input_gradient`, others by `weight_gradients`

    Without an index of dx there is no gradient of the input.
    """
    (
        index, x_rows, h_rows, rows, cuts, places, d_rows, x_panels, h_panels, operand_panels, da_block,
        add, H, worker, workers,
    ) = read_fixed(fixed, part, x)  # fmt: skip
    x_all = x.reshape((x.shape[0] * x.shape[1], x.shape[2]))
    dx_all = dx.reshape((dx.shape[0] * dx.shape[1], dx.shape[2]))
    if index.size > 0:
        input_gradient(W_ih, da, index, d_rows, dx_all, add, worker, workers)
    weight_gradients(
        x_all, x_rows, h, gates, h_rows, da, rows, cuts, places, H,
        dW_ih, dW_hh, db_ih, db_hh, x_panels, h_panels, operand_panels, da_block, begin, worker, workers,
    )  # fmt: skip
