"""Weight layouts: panels hold a matrix as the tile reads it, one vector of columns after the other.

`rows` says which row of the weight is meant, -1 none: zeros (see `layout.py`). Padding is in the packed weights, never
in the user's arrays.
"""

from fastgate.kernels.cpu.simd import lanes_of
from fastgate.kernels.jit import jit


@jit
def pack_forward(weight, rows, panels):
    """weight (G*H,K)  rows (N*lanes) -> panels (N,K,lanes), to compute a @ weight[rows].T"""
    width = lanes_of(weight)
    for panel in range(panels.shape[0]):
        for lane in range(width):
            row = rows[panel * width + lane]
            for k in range(panels.shape[1]):
                panels[panel, k, lane] = weight[row, k] if row >= 0 else 0.0


@jit
def pack_backward(weight, rows, panels):
    """weight (G*H,N)  rows (K) -> panels (Np/lanes,K,lanes), to compute da @ weight[rows]"""
    width = lanes_of(weight)
    for panel in range(panels.shape[0]):
        first = panel * width
        columns = min(width, weight.shape[1] - first)
        for k in range(rows.size):
            for lane in range(columns):
                panels[panel, k, lane] = weight[rows[k], first + lane]
            for lane in range(columns, width):
                panels[panel, k, lane] = 0.0
