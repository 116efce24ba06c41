"""The sums that begin a cell of known sizes, for one block of units: where they start, and the products with x and h.

Each is start + W_ih x + W_hh h in this order, as everywhere else in fastgate, so that the bits are those of a layer.
"""

from fastgate.kernels.cpu.pointers import added, inner_products, moved
from fastgate.kernels.jit import equation


def make_products(plan, layer, R=1, *, backwards=False):
    """products(own, x, x_row, x_k, h) -> of R rows, G vectors each: W_ih x, and W_hh h, which may be the first read."""
    Hp, H, W, G, DEPTH, GATES = plan.Hp, plan.H, plan.lanes, plan.G, plan.depth(layer), plan.G * plan.lanes
    W_IH, W_HH = plan.starts * plan.lanes, (plan.starts + plan.depth(layer) * plan.G) * plan.lanes

    @equation
    def products(own, x, x_row, x_k, h):
        if backwards:
            recurrent = inner_products(R, G, H, W, h, Hp, 1, moved(own, W_HH), GATES, W)
            return inner_products(R, G, DEPTH, W, x, x_row, x_k, moved(own, W_IH), GATES, W), recurrent
        inputs = inner_products(R, G, DEPTH, W, x, x_row, x_k, moved(own, W_IH), GATES, W)
        return inputs, inner_products(R, G, H, W, h, Hp, 1, moved(own, W_HH), GATES, W)

    return products


@equation
def join(start, x, h):
    """Pre-activations, one for each gate."""
    return added(added(start, x), h)


@equation
def join_gru(start, x, h):
    """a_r, a_z, a_n without the recurrent product, and that product q"""
    return start[0] + x[0] + h[0], start[1] + x[1] + h[1], start[2] + x[2], start[3] + h[2]


JOIN = {"gru": join_gru, "lstm": join, "rnn_tanh": join, "rnn_relu": join}


def make_reset_sums(plan, layer):
    """`reset_after=False`, of one row: gates(start, own, x, x_k, h) -> a_r, a_z, a_n without the recurrent product.

    That is candidate(own, r * h) and needs all units of r * h.
    """
    H, W, DEPTH, IN, TWO = plan.H, plan.lanes, plan.depth(layer), 3 * plan.lanes, 2 * plan.lanes
    W_IH, W_RZ = plan.starts * W, (plan.starts + plan.depth(layer) * 3) * W
    W_N = W_RZ + plan.H * TWO

    @equation
    def gates(start, own, x, x_k, h):
        s_r, s_z, s_n = start
        inputs = inner_products(1, 3, DEPTH, W, x, 0, x_k, moved(own, W_IH), IN, W)[0]
        recurrent = inner_products(1, 2, H, W, h, 0, 1, moved(own, W_RZ), TWO, W)[0]
        return s_r + inputs[0] + recurrent[0], s_z + inputs[1] + recurrent[1], s_n + inputs[2]

    @equation
    def candidate(own, h_reset):
        return inner_products(1, 1, H, W, h_reset, 0, 1, moved(own, W_N), W, W)[0][0]

    return gates, candidate
