"""Weight layouts: panels hold a matrix as the tile reads it, one vector of columns after the other.

Each gate's H units are padded with zeros to whole vectors here, never in the user's arrays, and gates are put into the
order the cell wants: `order[place]` is the gate at that place of the packed layout, in PyTorch's numbering.
Hp stands for H padded, G for the gates of the weight, O for the places of `order`.
"""

from fastgate.kernels.cpu.simd import lanes_of
from fastgate.kernels.jit import jit

BLOCK = 16  # rows of a transposed matrix at a time: as many cache lines are written side by side


@jit
def pack_forward(weight, units, order, panels):
    """weight (G*H,K)  units H  order (O) -> panels (O*Hp/lanes,K,lanes), to compute a @ weight.T"""
    width = lanes_of(weight)
    blocks = panels.shape[0] // order.size
    for panel in range(panels.shape[0]):
        first = panel % blocks * width
        for lane in range(width):
            unit = first + lane
            row = order[panel // blocks] * units + unit
            for k in range(panels.shape[1]):
                panels[panel, k, lane] = weight[row, k] if unit < units else 0.0


@jit
def pack_backward(weight, units, order, panels):
    """weight (G*H,N)  units H  order (O) -> panels (Np/lanes,O*Hp,lanes), to compute da @ weight"""
    width = lanes_of(weight)
    padded = panels.shape[1] // order.size
    for panel in range(panels.shape[0]):
        first = panel * width
        columns = min(width, weight.shape[1] - first)
        for place in range(order.size):
            at, own = place * padded, order[place] * units
            for unit in range(units):
                for lane in range(columns):
                    panels[panel, at + unit, lane] = weight[own + unit, first + lane]
                for lane in range(columns, width):
                    panels[panel, at + unit, lane] = 0.0
            for unit in range(units, padded):
                for lane in range(width):
                    panels[panel, at + unit, lane] = 0.0


@jit
def unpack_gradient(packed, units, order, gradient):
    """packed (K,O*Hp)  order (O) -> gradient (G*H,K)"""
    padded = packed.shape[1] // order.size
    for place in range(order.size):
        for unit in range(0, units, BLOCK):
            end = min(unit + BLOCK, units)
            for k in range(packed.shape[0]):
                for u in range(unit, end):
                    gradient[order[place] * units + u, k] = packed[k, place * padded + u]
