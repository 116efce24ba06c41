"""One step of a layer as a device function: a thread of a user's own kernel advances one sequence."""

from numba import cuda, float32, float64

from fastgate.kernels.arithmetic import fma
from fastgate.kernels.jit import equation


def make_step(cell, I, H, layers, dtype):
    """step(weights, x, h, c, h_next, c_next) of a `cells.Cell`; weights are those of `Weights.in_order`."""
    real = float32 if dtype == "float32" else float64
    G, P, places, has_memory, is_reset = cell.gates, cell.own, max(1, cell.saved), cell.memory, cell.reset is not None
    advance, reset, last = cell.forward, cell.reset, cell.phases[-1][0]

    @equation
    def sum_up(weights, at, layer, width, unit, x, h, operand, h_next, own, u):
        """A unit's gates: the input's part in `own`, the recurrent one in `u`, that of the last phase from `operand`"""
        W_hh = at + H * G * width
        for g in range(G):
            own[g] = weights[W_hh + H * G * H + unit * G + g]
            u[g] = 0
            for k in range(width):
                value = x[k] if layer == 0 else h_next[layer - 1, k]
                own[g] = fma(weights[at + (unit * G + g) * width + k], value, own[g])
            for k in range(H):
                value = operand[layer, k] if g >= last else h[layer, k]
                u[g] = fma(weights[W_hh + (unit * G + g) * H + k], value, u[g])

    @cuda.jit(device=True)
    def step(weights, x, h, c, h_next, c_next):
        """weights (N)  x (I)  h, c (L,H) -> h_next, c_next (L,H)"""
        own, u, saved = cuda.local.array(G, real), cuda.local.array(G, real), cuda.local.array(places, real)
        at = 0
        for layer in range(layers):
            width = I if layer == 0 else H
            at_own = at + H * G * (width + H + 1)
            if is_reset:  # the candidate's operand, for all units, where another cell has its memory
                for unit in range(H):
                    sum_up(weights, at, layer, width, unit, x, h, h, h_next, own, u)
                    c_next[layer, unit] = reset(own, u, h[layer, unit], saved)
            for unit in range(H):
                sum_up(weights, at, layer, width, unit, x, h, c_next if is_reset else h, h_next, own, u)
                if is_reset:
                    reset(own, u, h[layer, unit], saved)
                c_prev = c[layer, unit] if has_memory else h[layer, unit]
                of_unit = weights[at_own + unit * P : at_own + (unit + 1) * P]
                h_new, c_new = advance(own, u, of_unit, h[layer, unit], c_prev, saved)
                h_next[layer, unit] = h_new
                if has_memory:
                    c_next[layer, unit] = c_new
            at = at_own + H * P

    return step
