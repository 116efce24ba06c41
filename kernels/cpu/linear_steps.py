"""One time step of the linear cells that compute tangents (`tangent.py`): names are those of `lstm.py`.

h and c are tangents of the states, `a` holds those of the pre-activations, and in place of gates there is the Jacobian
J, whose columns `jacobian.py` describes.
"""

from fastgate.kernels.cpu.jacobian import ADDED_N, ADDED_R, ADDED_Z, H_CARRIED, H_N, H_Z, RESET_H, RESET_R
from fastgate.kernels.cpu.matmul import accumulate
from fastgate.kernels.cpu.simd import lanes_of, load, store, zero_of
from fastgate.kernels.cpu.tail import load_some
from fastgate.kernels.jit import jit


def make_linear_step(variant, sizes, groups, recurrent_group, carries, has_memory, projected):
    """`sizes` of the groups of pre-activations; the first `groups` of them are those of gates, the last one is that of
    a projection's operand. `carries`: a state beside them counts, which is c or, without one, h."""
    GATES, LAST = sum(sizes[:groups]), len(sizes) - 1
    OUTPUT = GATES + carries  # columns of each output; behind them those of what is added to pre-activations
    ADDED = (1 + has_memory) * OUTPUT

    @jit(variant=variant, inline=True)
    def linear_step(
        a, at, h, before, after, c, memory_before, memory_after, W_hh, unit, units, size, rows, J, row, keep,
        masks, first,
    ):  # fmt: skip
        """a (A,M)[at] holding W_ih x  h (S,Hp)[before]  c[memory_before]  W_hh panels  J (P,_)[row]
        -> h[after]  c[memory_after]
        """
        width = lanes_of(h)
        H = units if projected else size
        recurrent = at_m = 0
        for group in range(LAST):
            whole = -(-sizes[group] * units // width) * width
            recurrent += whole if group < recurrent_group else 0
            at_m += whole
        panels = -(-GATES * units // width) if projected else W_hh.shape[0]
        accumulate(a, at, recurrent, h, before, 0, W_hh, 0, panels, 0, size, rows)
        for n in range(rows):
            for u in range(0, units, width):
                count, own = units - u, unit + u
                h_next = c_next = zero_of(h)
                if carries:
                    carried = load(c, memory_before + n, own) if has_memory else load(h, before + n, own)
                    h_next = h_next + load_some(J, row + n, GATES * H + own, count) * carried
                    if has_memory:
                        c_next = c_next + load_some(J, row + n, (OUTPUT + GATES) * H + own, count) * carried
                column, gate = u, 0
                for group in range(groups):
                    for i in range(sizes[group]):
                        added = load_some(J, row + n, (ADDED + gate) * H + own, count)
                        a_gate = load_some(a, at + n, column + i * units, count) + added
                        h_next = h_next + load_some(J, row + n, gate * H + own, count) * a_gate
                        if has_memory:
                            c_next = c_next + load_some(J, row + n, (OUTPUT + gate) * H + own, count) * a_gate
                        gate += 1
                    column += -(-sizes[group] * units // width) * width
                if has_memory:
                    store(c, memory_after + n, own, c_next)
                if projected:
                    store(a, at + n, at_m + u, h_next)
                else:
                    store(h, after + n, own, h_next)

        if projected:
            for n in range(rows):
                for u in range(0, size, width):
                    store(h, after + n, u, load_some(J, row + n, (ADDED + GATES) * H + u, size - u))
            accumulate(h, after, 0, a, at, at_m, W_hh, panels, W_hh.shape[0] - panels, 0, H, rows)

    return linear_step


def make_linear_step_in_two(variant, reset_carry):
    """That of `gru_reset_before.py`."""

    @jit(variant=variant, inline=True)
    def linear_step(
        a, at, h, before, after, c, memory_before, memory_after, W_hh, unit, units, size, rows, J, row, keep,
        masks, first,
    ):  # fmt: skip
        """a (A,M)[at] holding W_ih x in n, r, z  h (S,Hp)[before]  W_hh panels r, z; n  J (P,8H)[row] -> h[after]"""
        H, width = size, lanes_of(h)
        blocks = -(-H // width)
        at_r, reset_blocks = blocks * width, W_hh.shape[0] - blocks
        at_reset = at_r + reset_blocks * width
        accumulate(a, at, at_r, h, before, 0, W_hh, 0, reset_blocks, 0, H, rows)
        for m in range(rows):
            for u in range(0, H, width):
                count = H - u
                by_r = load_some(J, row + m, RESET_R * H + u, count)
                by_h = load_some(J, row + m, RESET_H * H + u, count)
                a_r = load_some(a, at + m, at_r + u, count) + load_some(J, row + m, ADDED_R * H + u, count)
                store(a, at + m, at_reset + u, by_r * a_r + by_h * load(h, before + m, u))

        accumulate(a, at, 0, a, at, at_reset, W_hh, reset_blocks, blocks, 0, H, rows)
        for m in range(rows):
            for u in range(0, H, width):
                count = H - u
                by_n = load_some(J, row + m, H_N * H + u, count)
                by_z = load_some(J, row + m, H_Z * H + u, count)
                by_carried = load_some(J, row + m, H_CARRIED * H + u, count)
                a_n = load_some(a, at + m, u, count) + load_some(J, row + m, ADDED_N * H + u, count)
                a_z = load_some(a, at + m, at_r + H + u, count) + load_some(J, row + m, ADDED_Z * H + u, count)
                carried = load(a, at + m, at_reset + u) if reset_carry else load(h, before + m, u)
                store(h, after + m, u, by_n * a_n + by_z * a_z + by_carried * carried)

    return linear_step
