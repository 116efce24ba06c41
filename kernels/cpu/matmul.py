"""Matrix products by register tiles. `panels` are weights as `pack` lays them out: (columns/lanes, K, lanes).

Rows and columns are cut into tiles of nearly equal size, so that no thin tile is left over.
"""

from fastgate.kernels.cpu.features import TILE_COLUMNS, TILE_ROWS
from fastgate.kernels.cpu.quantize import depth_of, scale_rows_of
from fastgate.kernels.cpu.simd import lanes_of, pointer_to
from fastgate.kernels.cpu.tile import multiply_tile
from fastgate.kernels.jit import jit


@jit(inline=True)
def project(out, out_at, x, x_at, panels, bias, rows):
    """x (P,K)[x_at:]  panels (N,K,lanes)  bias (1,M)  rows -> out (P,M)[out_at:], its first N vectors of columns"""
    depth = depth_of(panels)
    _multiply(
        pointer_to(out, out_at * out.shape[1]), out.shape[1],
        pointer_to(bias, 0), 0,
        pointer_to(x, x_at * x.shape[1]), x.shape[1],
        pointer_to(panels, scale_rows_of(panels) * panels.shape[2]), panels.shape[1],
        panels.shape[0], depth, rows, 0,
    )  # fmt: skip


@jit(inline=True)
def accumulate(out, out_at, out_column, a, a_at, a_column, panels, panel, count, k, depth, rows):
    """out (P,M)[out_at:, out_column:] += a (Q,L)[a_at:, a_column:] @ panels[panel : panel+count, k : k+depth]

    Rows of scales (see `quantize.py`) count neither in `k` nor in `depth`.
    """
    # Rows of one time step follow those of another, so that the lowest bit of `rows` in out_at changes from step to
    # step: every other one goes through the panels backwards and finds the last ones still in the cache.
    _multiply(
        pointer_to(out, out_at * out.shape[1] + out_column), out.shape[1],
        pointer_to(out, out_at * out.shape[1] + out_column), out.shape[1],
        pointer_to(a, a_at * a.shape[1] + a_column), a.shape[1],
        pointer_to(panels, (panel * panels.shape[1] + scale_rows_of(panels) + k) * panels.shape[2]), panels.shape[1],
        count, depth, rows, out_at & rows & -rows,
    )  # fmt: skip


@jit
def _multiply(out, out_row, start, start_row, a, a_row, panels, panel_depth, count, depth, rows, backwards):
    width = lanes_of(out)
    tiles, groups = -(-rows // TILE_ROWS), -(-count // TILE_COLUMNS)
    if tiles == 0 or groups == 0:
        return
    height, higher = rows // tiles, rows % tiles
    columns, wider = count // groups, count % groups
    for i in range(groups):
        group = groups - 1 - i if backwards else i
        c = group * columns + min(group, wider)
        r = 0
        for tile in range(tiles):
            own_height = height + (tile < higher)
            multiply_tile(
                own_height, columns + (group < wider), depth,
                out, r * out_row + c * width, out_row,
                start, r * start_row + c * width, start_row,
                a, r * a_row, a_row, 1,
                panels, c * panel_depth * width, panel_depth * width,
            )  # fmt: skip
            r += own_height
