"""Matrix products by register tiles. `panels` are weights as `pack` lays them out: (columns/lanes, K, lanes).

One worker's rows are cut into tiles of nearly equal height, so that no thin tile is left over.
"""

from fastgate.kernels.cpu.features import TILE_COLUMNS, TILE_ROWS
from fastgate.kernels.cpu.simd import lanes_of
from fastgate.kernels.cpu.tile import multiply_tile
from fastgate.kernels.jit import jit


@jit(inline=True)
def project(out, out_at, x, x_at, panels, bias, rows):
    """x (P,K)[x_at:]  panels (N,K,lanes)  bias (1,M)  rows -> out (P,M)[out_at:], its first N vectors of columns"""
    depth = panels.shape[1]
    _multiply(out, out_at, 0, bias, 0, 0, x, x_at, 0, panels, 0, panels.shape[0], 0, depth, rows)


@jit(inline=True)
def accumulate(out, out_at, out_column, a, a_at, a_column, panels, panel, count, k, depth, rows):
    """out (P,M)[out_at:, out_column:] += a (Q,L)[a_at:, a_column:] @ panels[panel : panel+count, k : k+depth]"""
    _multiply(
        out, out_at, out_column, out, out_at, out.shape[1], a, a_at, a_column, panels, panel, count, k, depth, rows
    )


@jit
def _multiply(
    out, out_at, out_column, start, start_at, start_row, a, a_at, a_column, panels, panel, count, k, depth, rows
):
    width = lanes_of(out)
    panel_size = panels.shape[1] * width
    out_row, a_row = out.shape[1], a.shape[1]
    tiles = -(-rows // TILE_ROWS)
    for c in range(0, count, TILE_COLUMNS):
        columns = min(TILE_COLUMNS, count - c)
        column = out_column + c * width
        r = 0
        for tile in range(tiles):
            height = (rows - r) // (tiles - tile)
            multiply_tile(
                height, columns, depth,
                out, (out_at + r) * out_row + column, out_row,
                start, (start_at + r) * start_row + column, start_row,
                a, (a_at + r) * a_row + a_column, a_row, 1,
                panels, (panel + c) * panel_size + k * width, panel_size,
            )  # fmt: skip
            r += height
