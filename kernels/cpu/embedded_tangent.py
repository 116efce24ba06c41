"""One time step with its derivative in one direction (forward mode), of a cell of known sizes.

A cell acts on each unit by itself and has few outputs: its reverse, at one for an output and zero for the others, is a
row of its Jacobian. So the mathematics need not be written again. Rows of a batch run one by one. Names ending in `_t`
are tangents; `direction` is a cell whose weights are the tangent of the weights, used where `directed`.
"""

from functools import cache

from fastgate.kernels import equations
from fastgate.kernels.arithmetic import complement
from fastgate.kernels.cpu.embedded import plan_of
from fastgate.kernels.cpu.embedded_sums import JOIN, make_products, make_reset_sums
from fastgate.kernels.cpu.pointers import added, load_lanes, load_tuple, moved, store_lanes, zero_lanes, zero_tuple
from fastgate.kernels.jit import equation, jit, layered


@cache
def tangent_core(spec, directed):
    """The kernel of a whole stack."""
    plan = plan_of(spec)
    first, later = make_layer(plan, 0, directed), make_layer(plan, min(1, plan.L - 1), directed)
    L, H, Hp = plan.L, plan.H, plan.Hp
    MEMORY, AFTER = plan.L if plan.has_memory else 0, plan.L * plan.states
    PACKED, BLOCKS = plan.packed_at(1), plan.packed_at(2) - plan.packed_at(1)

    @jit(variant=f"{spec} {directed}")
    def jvp_step(packed, direction, x, x_row, x_k, states, y, y_row, y_k,
                 x_t, x_t_row, x_t_k, states_t, y_t, y_t_row, y_t_k, B):  # fmt: skip
        """x, x_t (B,I)  states, states_t (n) -> y, y_t (B,H)  states, states_t"""
        rows = B * Hp
        after, after_t = moved(states, AFTER * rows), moved(states_t, AFTER * rows)
        for n in range(B):
            for layer in range(L):
                at = (layer * B + n) * Hp
                h, h_t = moved(states, at), moved(states_t, at)
                c, c_t = moved(states, MEMORY * rows + at), moved(states_t, MEMORY * rows + at)
                if layer == 0:
                    own_x, own_x_t = moved(x, n * x_row), moved(x_t, n * x_t_row)
                    first(packed, direction, own_x, x_k, own_x_t, x_t_k, h, c, after, h_t, c_t, after_t, B)
                else:
                    part = PACKED + (layer - 1) * BLOCKS
                    below, below_t = moved(h, -rows), moved(h_t, -rows)
                    later(moved(packed, part), moved(direction, part), below, 1, below_t, 1,
                          h, c, after, h_t, c_t, after_t, B)  # fmt: skip
            h, h_t = moved(states, ((L - 1) * B + n) * Hp), moved(states_t, ((L - 1) * B + n) * Hp)
            for u in range(H):
                y[n * y_row + u * y_k] = h[u]
                y_t[n * y_t_row + u * y_t_k] = h_t[u]

    return jvp_step


def make_layer(plan, layer, directed):
    """One row of one layer."""
    make = make_two_phases if plan.kind.startswith("gru_reset") else make_one_phase
    blocks, Hp, W = make(plan, layer, directed), plan.Hp, plan.lanes

    @layered
    def run(packed, direction, x, x_k, x_t, x_t_k, h, c, after, h_t, c_t, after_t, B):
        blocks(packed, direction, x, x_k, x_t, x_t_k, h, c, after, h_t, c_t, after_t, B)
        for u in range(0, Hp, W):
            store_lanes(h, u, load_lanes(after, u, W))
            store_lanes(h_t, u, load_lanes(after_t, u, W))

    return run


def make_one_phase(plan, layer, directed):
    finish, products, join = FINISH[plan.kind](plan), make_products(plan, layer), JOIN[plan.kind]
    W, C, BLOCKS, BLOCK = plan.lanes, plan.starts, plan.blocks, plan.block_size(layer)

    @layered
    def blocks(packed, direction, x, x_k, x_t, x_t_k, h, c, after, h_t, c_t, after_t, B):
        for block in range(BLOCKS):
            own, turned, u = moved(packed, block * BLOCK), moved(direction, block * BLOCK), block * W
            inputs, recurrent = products(own, x, 0, x_k, h)
            inputs_t, recurrent_t = products(own, x_t, 0, x_t_k, h_t)
            if directed:
                more_x, more_h = products(turned, x, 0, x_k, h)
                start_t = load_tuple(turned, C, W)
                a_t = join(start_t, added(inputs_t[0], more_x[0]), added(recurrent_t[0], more_h[0]))
            else:
                a_t = join(zero_tuple(own, C, W), inputs_t[0], recurrent_t[0])
            a = join(load_tuple(own, C, W), inputs[0], recurrent[0])
            finish(a, a_t, moved(h, u), moved(c, u), moved(after, u), moved(h_t, u), moved(c_t, u), moved(after_t, u))

    return blocks


def make_lstm(plan):
    cell, vjp, W = equations.lstm_cell, equations.lstm_cell_vjp, plan.lanes

    @equation
    def finish(a, a_t, h_at, c_at, after, h_t_at, c_t_at, after_t):
        c, c_t, zero = load_lanes(c_at, 0, W), load_lanes(c_t_at, 0, W), zero_lanes(c_at, W)
        one = complement(zero)
        a_i, a_f, a_g, a_o = a
        h_next, c_next, i, f, g, o = cell(a_i, a_f, a_g, a_o, c)
        h_i, h_f, h_g, h_o, h_c = vjp(one, zero, i, f, g, o, c, c_next)
        c_i, c_f, c_g, c_o, c_c = vjp(zero, one, i, f, g, o, c, c_next)
        store_lanes(after, 0, h_next)
        store_lanes(c_at, 0, c_next)
        store_lanes(after_t, 0, h_i * a_t[0] + h_f * a_t[1] + h_g * a_t[2] + h_o * a_t[3] + h_c * c_t)
        store_lanes(c_t_at, 0, c_i * a_t[0] + c_f * a_t[1] + c_g * a_t[2] + c_o * a_t[3] + c_c * c_t)

    return finish


def make_gru(plan):
    cell, vjp, W = equations.gru_cell, equations.gru_cell_vjp, plan.lanes

    @equation
    def finish(a, a_t, h_at, c_at, after, h_t_at, c_t_at, after_t):
        a_r, a_z, a_n, q = a
        r_t, z_t, n_t, q_t = a_t
        h_prev = load_lanes(h_at, 0, W)
        h_next, n, r, z = cell(a_n, a_r, a_z, q, h_prev)
        h_n, h_r, h_z, h_q, h_h = vjp(complement(zero_lanes(h_at, W)), n, r, z, q, h_prev)
        store_lanes(after, 0, h_next)
        store_lanes(after_t, 0, h_n * n_t + h_r * r_t + h_z * z_t + h_q * q_t + h_h * load_lanes(h_t_at, 0, W))

    return finish


def make_rnn(cell, vjp):
    def make(plan):
        W = plan.lanes

        @equation
        def finish(a, a_t, h_at, c_at, after, h_t_at, c_t_at, after_t):
            h_next = cell(a[0])
            store_lanes(after, 0, h_next)
            store_lanes(after_t, 0, vjp(complement(zero_lanes(h_at, W)), h_next) * a_t[0])

        return finish

    return make


FINISH = {
    "lstm": make_lstm,
    "gru": make_gru,
    "rnn_tanh": make_rnn(equations.rnn_tanh_cell, equations.rnn_tanh_cell_vjp),
    "rnn_relu": make_rnn(equations.rnn_relu_cell, equations.rnn_relu_cell_vjp),
}


def make_two_phases(plan, layer, directed):
    """`reset_after=False`; z and r * h wait in rows behind `after`, as in `embedded_step.py`."""
    reset, reset_vjp, update, update_vjp = (
        equations.gru_reset,
        equations.gru_reset_vjp,
        equations.gru_update,
        equations.gru_update_vjp,
    )
    gates, candidate = make_reset_sums(plan, layer)
    CARRIES, Hp, W, BLOCKS = plan.kind == "gru_reset_carry", plan.Hp, plan.lanes, plan.blocks
    BLOCK = plan.block_size(layer)

    @equation
    def blocks(packed, direction, x, x_k, x_t, x_t_k, h, c, after, h_t, c_t, after_t, B):
        one, zero = complement(zero_lanes(h, W)), zero_lanes(h, W)
        z_row, reset_row = moved(after, B * Hp), moved(after, 2 * B * Hp)
        z_row_t, reset_row_t = moved(after_t, B * Hp), moved(after_t, 2 * B * Hp)
        for block in range(BLOCKS):
            own, turned, u = moved(packed, block * BLOCK), moved(direction, block * BLOCK), block * W
            a_r, a_z, a_n = gates(load_tuple(own, 3, W), own, x, x_k, h)
            r_t, z_t, n_t = gates(zero_tuple(own, 3, W), own, x_t, x_t_k, h_t)
            if directed:
                d_r, d_z, d_n = gates(load_tuple(turned, 3, W), turned, x, x_k, h)
                r_t, z_t, n_t = r_t + d_r, z_t + d_z, n_t + d_n
            h_prev = load_lanes(h, u, W)
            r, z, h_reset = reset(a_r, a_z, h_prev)
            _, slope, _ = reset_vjp(one, zero, r, z, h_prev)
            by_r, _, by_h = reset_vjp(zero, one, r, z, h_prev)
            store_lanes(after, u, a_n)
            store_lanes(after_t, u, n_t)
            store_lanes(z_row, u, z)
            store_lanes(z_row_t, u, slope * z_t)
            store_lanes(reset_row, u, h_reset)
            store_lanes(reset_row_t, u, by_r * r_t + by_h * load_lanes(h_t, u, W))
        for block in range(BLOCKS):
            own, u = moved(packed, block * BLOCK), block * W
            n_t = load_lanes(after_t, u, W) + candidate(own, reset_row_t)
            if directed:
                n_t = n_t + candidate(moved(direction, block * BLOCK), reset_row)
            z, carried = load_lanes(z_row, u, W), load_lanes(reset_row if CARRIES else h, u, W)
            carried_t = load_lanes(reset_row_t if CARRIES else h_t, u, W)
            h_next, n = update(load_lanes(after, u, W) + candidate(own, reset_row), z, carried)
            by_n, by_z, by_carried = update_vjp(one, n, z, carried)
            store_lanes(after, u, h_next)
            store_lanes(after_t, u, by_n * n_t + by_z * load_lanes(z_row_t, u, W) + by_carried * carried_t)

    return blocks
