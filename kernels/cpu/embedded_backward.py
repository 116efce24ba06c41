"""The way back of one time step of a cell of known sizes: gradients of x, of the state before, and of the parameters.

Rows of a batch go back one by one, each through all layers. Weights are read from the parameters as they are, whole
vectors of a row of W at a time, so that what lies behind a row's end is read along and never used. Scratch of a row:
GROUPS groups of da (Hp), the last of them for dq or for the gradient of r * h, then dx of the layer.
"""

from functools import cache

from fastgate.kernels import equations
from fastgate.kernels.arithmetic import fma
from fastgate.kernels.cpu.embedded import plan_of
from fastgate.kernels.cpu.pointers import inner_products, load_lanes, moved, store_lanes, zero_lanes
from fastgate.kernels.jit import equation, jit, layered

GROUPS = 4  # of da


@cache
def backward_core(spec):
    """The kernel of a whole stack."""
    plan, variant = plan_of(spec), str(spec)
    first, later = make_layer(plan, 0), make_layer(plan, min(1, plan.L - 1))
    L, H, Hp, I, W = plan.L, plan.H, plan.Hp, plan.spec.input_size, plan.lanes
    MEMORY, DX = L if plan.has_memory else 0, GROUPS * plan.Hp
    places, size = plan.offsets
    AT, EACH = (places[1][0], (size - places[1][0]) // (L - 1)) if L > 1 else (0, 0)
    RECORD, RECORDS, ROW_1 = plan.record_at(1), plan.record_at(2) - plan.record_at(1), plan.record_size(min(1, L - 1))
    ROW_0 = plan.record_size(0)

    @jit(variant=variant)
    def step_backward(params, records, dy, dy_row, dy_k, d_states, dx, dx_row, dx_k, gradient, scratch, B):
        """records (n)  dy (B,H)  d_states (n) -> dx (B,I)  d_states  gradient (P), added to  scratch (n)"""
        d_c, d_x = moved(d_states, MEMORY * B * Hp), moved(scratch, DX)
        for n in range(B):
            dh = moved(d_states, ((L - 1) * B + n) * Hp)
            for u in range(H):
                dh[u] += dy[n * dy_row + u * dy_k]
            for layer in range(L - 1, 0, -1):
                at, row = (layer * B + n) * Hp, (RECORD + (layer - 1) * RECORDS) * B + n * ROW_1
                own = AT + (layer - 1) * EACH
                later(moved(params, own), moved(records, row), moved(d_states, at), moved(d_c, at), scratch,
                      moved(gradient, own))  # fmt: skip
                below = moved(d_states, at - B * Hp)
                for u in range(0, Hp, W):
                    store_lanes(below, u, load_lanes(below, u, W) + load_lanes(d_x, u, W))
            at = n * Hp
            first(params, moved(records, n * ROW_0), moved(d_states, at), moved(d_c, at), scratch, gradient)
            for k in range(I):
                dx[n * dx_row + k * dx_k] = d_x[k]

    return step_backward


def make_layer(plan, layer):
    """One row of one layer: record, dh and dc after the step -> dx in scratch, dh and dc before it, gradient."""
    W_ih, W_hh, b_ih, b_hh, b_hn = plan.offsets[0][layer]
    DEPTH, H, Hp, G = plan.depth(layer), plan.H, plan.Hp, plan.G
    X_ROOM, DX = plan.x_room(layer), GROUPS * plan.Hp
    B_IH, B_HH, B_HN, W_HH = (at - W_ih for at in (b_ih, b_hh, b_hn, W_hh))
    HAS_IH, HAS_HH, HAS_HN = b_ih >= 0, b_hh >= 0, b_hn >= 0
    # The groups of da that belong to the recurrent product, in the order of the gates.
    LAST = 3 if plan.kind == "gru" else G - 1
    elementwise, pull, outer, add = VJPS[plan.kind](plan, layer), make_pull(plan), make_outer(plan), make_add(plan)
    # With reset_after=False the candidate's operand is r * h, and its part of dh has gone back already.
    RESET = plan.kind.startswith("gru_reset")
    OPERAND = X_ROOM + 5 * Hp if RESET else X_ROOM

    @layered
    def run(params, record, dh, dc, scratch, gradient):
        elementwise(params, record, dh, dc, scratch)
        pull(scratch, 0, G, params, DEPTH, moved(scratch, DX), False)
        recurrent = moved(params, W_HH)
        pull(scratch, 0, G - 1, recurrent, H, dh, True)
        if not RESET:
            pull(scratch, LAST, 1, moved(recurrent, (G - 1) * H * H), H, dh, True)

        for gate in range(G):
            da = moved(scratch, gate * Hp)
            outer(da, record, DEPTH, moved(gradient, gate * H * DEPTH))
            if HAS_IH:
                add(da, moved(gradient, B_IH + gate * H))
        for gate in range(G):
            da = moved(scratch, (LAST if gate == G - 1 else gate) * Hp)
            operand = moved(record, OPERAND if gate == G - 1 else X_ROOM)
            outer(da, operand, H, moved(gradient, W_HH + gate * H * H))
            if HAS_HH:
                add(da, moved(gradient, B_HH + gate * H))
        if HAS_HN:
            add(moved(scratch, LAST * Hp), moved(gradient, B_HN))

    return run


def make_pull(plan):
    H, Hp, W = plan.H, plan.Hp, plan.lanes

    @equation
    def pull(da, group, groups, weights, columns, out, added):
        """out (columns) = or += da[group : group+groups] @ weights (groups*H,columns)"""
        for k in range(0, columns, W):
            total = load_lanes(out, k, W) if added else zero_lanes(out, W)
            for g in range(groups):
                first = moved(weights, g * H * columns + k)
                total = total + inner_products(1, 1, H, W, moved(da, (group + g) * Hp), 0, 1, first, columns, 0)[0][0]
            store_lanes(out, k, total)

    return pull


def make_outer(plan):
    H, W = plan.H, plan.lanes

    @equation
    def outer(da, x, columns, gradient):
        """gradient (H,columns) += da x^T"""
        for u in range(H):
            row, d = moved(gradient, u * columns), da[u]
            whole = columns // W * W
            for k in range(0, whole, W):
                store_lanes(row, k, fma(load_lanes(x, k, W), d, load_lanes(row, k, W)))
            for k in range(whole, columns):
                row[k] += d * x[k]

    return outer


def make_add(plan):
    H = plan.H

    @equation
    def add(da, gradient):
        for u in range(H):
            gradient[u] += da[u]

    return add


# -------------------------------------------------------------------------- the cells: da, dc, and dh as far as it goes


def make_lstm(plan, layer):
    vjp, W, Hp, X_ROOM = equations.lstm_cell_vjp, plan.lanes, plan.Hp, plan.x_room(layer)

    @equation
    def elementwise(params, record, dh, dc, da):
        for u in range(0, Hp, W):
            own = moved(record, X_ROOM + u)
            i, f, g, o = (load_lanes(own, 2 * Hp, W), load_lanes(own, 3 * Hp, W), load_lanes(own, 4 * Hp, W),
                          load_lanes(own, 5 * Hp, W))  # fmt: skip
            da_i, da_f, da_g, da_o, dc_prev = vjp(
                load_lanes(dh, u, W), load_lanes(dc, u, W), i, f, g, o, load_lanes(own, Hp, W),
                load_lanes(own, 6 * Hp, W),
            )  # fmt: skip
            store_lanes(da, u, da_i)
            store_lanes(da, Hp + u, da_f)
            store_lanes(da, 2 * Hp + u, da_g)
            store_lanes(da, 3 * Hp + u, da_o)
            store_lanes(dc, u, dc_prev)
            store_lanes(dh, u, zero_lanes(dh, W))

    return elementwise


def make_gru(plan, layer):
    vjp, W, Hp, X_ROOM = equations.gru_cell_vjp, plan.lanes, plan.Hp, plan.x_room(layer)

    @equation
    def elementwise(params, record, dh, dc, da):
        for u in range(0, Hp, W):
            own = moved(record, X_ROOM + u)
            r, z, n, q = (load_lanes(own, 2 * Hp, W), load_lanes(own, 3 * Hp, W), load_lanes(own, 4 * Hp, W),
                          load_lanes(own, 5 * Hp, W))  # fmt: skip
            da_n, da_r, da_z, dq, dh_prev = vjp(load_lanes(dh, u, W), n, r, z, q, load_lanes(own, 0, W))
            store_lanes(da, u, da_r)
            store_lanes(da, Hp + u, da_z)
            store_lanes(da, 2 * Hp + u, da_n)
            store_lanes(da, 3 * Hp + u, dq)
            store_lanes(dh, u, dh_prev)

    return elementwise


def make_gru_reset(plan, layer):
    update_vjp, reset_vjp, carries = equations.gru_update_vjp, equations.gru_reset_vjp, plan.kind == "gru_reset_carry"
    W, H, Hp, X_ROOM, pull = plan.lanes, plan.H, plan.Hp, plan.x_room(layer), make_pull(plan)
    W_N = plan.offsets[0][layer][1] - plan.offsets[0][layer][0] + 2 * plan.H * plan.H

    @equation
    def elementwise(params, record, dh, dc, da):
        d_reset = moved(da, 3 * Hp)
        for u in range(0, Hp, W):
            own = moved(record, X_ROOM + u)
            carried = load_lanes(own, 5 * Hp if carries else 0, W)
            n, z = load_lanes(own, 4 * Hp, W), load_lanes(own, 3 * Hp, W)
            da_n, dz, d_carried = update_vjp(load_lanes(dh, u, W), n, z, carried)
            store_lanes(da, Hp + u, dz)
            store_lanes(da, 2 * Hp + u, da_n)
            store_lanes(d_reset, u, d_carried if carries else zero_lanes(da, W))
            store_lanes(dh, u, zero_lanes(da, W) if carries else d_carried)
        pull(da, 2, 1, moved(params, W_N), H, d_reset, True)
        for u in range(0, Hp, W):
            own = moved(record, X_ROOM + u)
            r, z, h_prev = load_lanes(own, 2 * Hp, W), load_lanes(own, 3 * Hp, W), load_lanes(own, 0, W)
            da_r, da_z, dh_prev = reset_vjp(load_lanes(da, Hp + u, W), load_lanes(d_reset, u, W), r, z, h_prev)
            store_lanes(da, u, da_r)
            store_lanes(da, Hp + u, da_z)
            store_lanes(dh, u, load_lanes(dh, u, W) + dh_prev)

    return elementwise


def make_rnn(vjp):
    def make(plan, layer):
        W, Hp, X_ROOM = plan.lanes, plan.Hp, plan.x_room(layer)

        @equation
        def elementwise(params, record, dh, dc, da):
            for u in range(0, Hp, W):
                store_lanes(da, u, vjp(load_lanes(dh, u, W), load_lanes(record, X_ROOM + 2 * Hp + u, W)))
                store_lanes(dh, u, zero_lanes(dh, W))

        return elementwise

    return make


VJPS = {
    "lstm": make_lstm,
    "gru": make_gru,
    "gru_reset_before": make_gru_reset,
    "gru_reset_carry": make_gru_reset,
    "rnn_tanh": make_rnn(equations.rnn_tanh_cell_vjp),
    "rnn_relu": make_rnn(equations.rnn_relu_cell_vjp),
}
