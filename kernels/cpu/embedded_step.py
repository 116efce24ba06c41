"""One time step of a cell of known sizes, for a batch of any number of rows; inference, or recorded on a tape.

`x_row` and `x_k` are strides of x. A layer runs block after block of units, all gates of a block at once: the two
inner products stay in registers until the cell has used them. They are summed up as everywhere else in fastgate, so
that the bits are those of a layer. The new h waits in `after` until no one needs the old one any more.
"""

from functools import cache

from fastgate.kernels import equations
from fastgate.kernels.cpu.embedded import plan_of
from fastgate.kernels.cpu.pointers import inner_products, load_lanes, moved, store_lanes
from fastgate.kernels.jit import equation, jit, layered


@cache
def step_core(spec, recorded):
    """The kernel of a whole stack."""
    plan, variant = plan_of(spec), f"{spec} {recorded}"
    first = make_layer(plan, 0, recorded)
    later = make_layer(plan, 1, recorded) if plan.L > 1 else first
    L, H, Hp, PACKED, RECORD = plan.L, plan.H, plan.Hp, plan.packed_at(1), plan.record_at(1)
    BLOCKS = plan.packed_at(2) - PACKED
    RECORDS, LANES, WHOLE = plan.record_at(2) - RECORD, plan.lanes, plan.H // plan.lanes * plan.lanes
    MEMORY, AFTER = plan.L if plan.has_memory else 0, plan.L * plan.states

    @jit(variant=variant)
    def step(packed, x, x_row, x_k, states, y, B, record):
        """x (B,I)  states (n) -> y (B,H)  states  record (n), if it is wanted"""
        rows = B * Hp
        c, after = moved(states, MEMORY * rows), moved(states, AFTER * rows)
        first(packed, x, x_row, x_k, states, c, after, B, record)
        for layer in range(1, L):
            h = moved(states, layer * rows)
            later(
                moved(packed, PACKED + (layer - 1) * BLOCKS), moved(h, -rows), Hp, 1, h, moved(c, layer * rows), after,
                B, moved(record, (RECORD + (layer - 1) * RECORDS) * B),
            )  # fmt: skip
        h = moved(states, (L - 1) * rows)
        for n in range(B):
            for u in range(0, WHOLE, LANES):
                store_lanes(y, n * H + u, load_lanes(h, n * Hp + u, LANES))
            for u in range(WHOLE, H):
                y[n * H + u] = h[n * Hp + u]

    return step


def make_layer(plan, layer, recorded):
    """One layer, its depth being that of `layer`."""
    make = make_two_phases if plan.kind.startswith("gru_reset") else make_one_phase
    blocks = make(plan, layer, recorded)
    Hp, LANES, copy_before = plan.Hp, plan.lanes, make_copy_before(plan, layer)
    # A row of a single block has read all of the old h before there is a new one: the detour would only take time.
    AT_ONCE = plan.blocks == 1 and not plan.kind.startswith("gru_reset")

    @layered
    def run(packed, x, x_row, x_k, h, c, after, B, record):
        if recorded:
            copy_before(x, x_row, x_k, h, c, B, record)
        if AT_ONCE:
            blocks(packed, x, x_row, x_k, h, c, h, B, record)
        else:
            blocks(packed, x, x_row, x_k, h, c, after, B, record)
            for n in range(B):
                for u in range(0, Hp, LANES):
                    store_lanes(h, n * Hp + u, load_lanes(after, n * Hp + u, LANES))

    return run


def make_copy_before(plan, layer):
    Hp, LANES, MEMORY = plan.Hp, plan.lanes, plan.has_memory
    DEPTH, X_ROOM, SIZE = plan.depth(layer), plan.x_room(layer), plan.record_size(layer)

    @layered
    def copy_before(x, x_row, x_k, h, c, B, record):
        for n in range(B):
            own = moved(record, n * SIZE)
            for k in range(DEPTH):
                own[k] = x[n * x_row + k * x_k]
            for u in range(0, Hp, LANES):
                store_lanes(own, X_ROOM + u, load_lanes(h, n * Hp + u, LANES))
                if MEMORY:
                    store_lanes(own, X_ROOM + Hp + u, load_lanes(c, n * Hp + u, LANES))

    return copy_before


def make_one_phase(plan, layer, recorded):
    """Both products of a block, then its cell."""
    finish = FINISH[plan.kind](plan, layer, recorded)
    Hp, H, LANES, G, BLOCKS = plan.Hp, plan.H, plan.lanes, plan.G, plan.blocks
    DEPTH, SIZE, BLOCK = plan.depth(layer), plan.record_size(layer), plan.block_size(layer)
    GATES = plan.G * plan.lanes
    W_IH, W_HH = plan.starts * LANES, (plan.starts + plan.depth(layer) * plan.G) * LANES

    def make_rows(R):
        @equation
        def rows(own, unit, x, x_row, x_k, h, c, after, n, record):
            sums_x = inner_products(R, G, DEPTH, LANES, moved(x, n * x_row), x_row, x_k, moved(own, W_IH), GATES, LANES)
            sums_h = inner_products(R, G, H, LANES, moved(h, n * Hp), Hp, 1, moved(own, W_HH), GATES, LANES)
            for r in range(R):
                at = (n + r) * Hp + unit
                finish(own, sums_x[r], sums_h[r], moved(h, at), moved(c, at), moved(after, at),
                       moved(record, (n + r) * SIZE + unit))  # fmt: skip

        return rows

    one, many, ROWS = make_rows(1), make_rows(plan.rows), plan.rows

    @layered
    def blocks(packed, x, x_row, x_k, h, c, after, B, record):
        for block in range(BLOCKS):
            own, unit, n = moved(packed, block * BLOCK), block * LANES, 0
            while n + ROWS <= B:
                many(own, unit, x, x_row, x_k, h, c, after, n, record)
                n += ROWS
            while n < B:
                one(own, unit, x, x_row, x_k, h, c, after, n, record)
                n += 1

    return blocks


def make_lstm(plan, layer, recorded):
    cell, W, Hp = equations.lstm_cell, plan.lanes, plan.Hp
    GATES = plan.x_room(layer) + 2 * Hp

    @equation
    def finish(start, x, h, h_prev, c, after, record):
        a_i = load_lanes(start, 0, W) + x[0] + h[0]
        a_f = load_lanes(start, W, W) + x[1] + h[1]
        a_g = load_lanes(start, 2 * W, W) + x[2] + h[2]
        a_o = load_lanes(start, 3 * W, W) + x[3] + h[3]
        h_next, c_next, i, f, g, o = cell(a_i, a_f, a_g, a_o, load_lanes(c, 0, W))
        store_lanes(c, 0, c_next)
        store_lanes(after, 0, h_next)
        if recorded:
            store_lanes(record, GATES, i)
            store_lanes(record, GATES + Hp, f)
            store_lanes(record, GATES + 2 * Hp, g)
            store_lanes(record, GATES + 3 * Hp, o)
            store_lanes(record, GATES + 4 * Hp, c_next)

    return finish


def make_gru(plan, layer, recorded):
    cell, W, Hp = equations.gru_cell, plan.lanes, plan.Hp
    GATES = plan.x_room(layer) + 2 * Hp

    @equation
    def finish(start, x, h, h_prev, c, after, record):
        a_r = load_lanes(start, 0, W) + x[0] + h[0]
        a_z = load_lanes(start, W, W) + x[1] + h[1]
        a_n = load_lanes(start, 2 * W, W) + x[2]
        q = load_lanes(start, 3 * W, W) + h[2]
        h_next, n, r, z = cell(a_n, a_r, a_z, q, load_lanes(h_prev, 0, W))
        store_lanes(after, 0, h_next)
        if recorded:
            store_lanes(record, GATES, r)
            store_lanes(record, GATES + Hp, z)
            store_lanes(record, GATES + 2 * Hp, n)
            store_lanes(record, GATES + 3 * Hp, q)

    return finish


def make_rnn(cell):
    def make(plan, layer, recorded):
        W, GATES = plan.lanes, plan.x_room(layer) + 2 * plan.Hp

        @equation
        def finish(start, x, h, h_prev, c, after, record):
            h_next = cell(load_lanes(start, 0, W) + x[0] + h[0])
            store_lanes(after, 0, h_next)
            if recorded:
                store_lanes(record, GATES, h_next)

        return finish

    return make


FINISH = {
    "lstm": make_lstm,
    "gru": make_gru,
    "rnn_tanh": make_rnn(equations.rnn_tanh_cell),
    "rnn_relu": make_rnn(equations.rnn_relu_cell),
}


def make_two_phases(plan, layer, recorded):
    """`reset_after=False`: the candidate's product needs r * h of all units, which waits with z and a_n in rows of its
    own behind `after`."""
    reset, update = equations.gru_reset, equations.gru_update
    CARRIES, Hp, H, W, BLOCKS = plan.kind == "gru_reset_carry", plan.Hp, plan.H, plan.lanes, plan.blocks
    DEPTH, SIZE, BLOCK = plan.depth(layer), plan.record_size(layer), plan.block_size(layer)
    W_IH, W_RZ = plan.starts * W, (plan.starts + plan.depth(layer) * 3) * W
    W_N, GATES, IN, TWO = W_RZ + plan.H * 2 * W, plan.x_room(layer) + 2 * Hp, 3 * W, 2 * W

    @equation
    def blocks(packed, x, x_row, x_k, h, c, after, B, record):
        z_rows, reset_rows = moved(after, B * Hp), moved(after, 2 * B * Hp)
        for block in range(BLOCKS):
            own = moved(packed, block * BLOCK)
            for n in range(B):
                at = n * Hp + block * W
                x_sums = inner_products(1, 3, DEPTH, W, moved(x, n * x_row), 0, x_k, moved(own, W_IH), IN, W)[0]
                h_sums = inner_products(1, 2, H, W, moved(h, n * Hp), 0, 1, moved(own, W_RZ), TWO, W)[0]
                a_r = load_lanes(own, 0, W) + x_sums[0] + h_sums[0]
                a_z = load_lanes(own, W, W) + x_sums[1] + h_sums[1]
                r, z, h_reset = reset(a_r, a_z, load_lanes(h, at, W))
                store_lanes(after, at, load_lanes(own, TWO, W) + x_sums[2])
                store_lanes(z_rows, at, z)
                store_lanes(reset_rows, at, h_reset)
                if recorded:
                    gates = moved(record, n * SIZE + block * W + GATES)
                    store_lanes(gates, 0, r)
                    store_lanes(gates, Hp, z)
                    store_lanes(gates, 3 * Hp, h_reset)
        for block in range(BLOCKS):
            own = moved(packed, block * BLOCK + W_N)
            for n in range(B):
                at = n * Hp + block * W
                sums = inner_products(1, 1, H, W, moved(reset_rows, n * Hp), 0, 1, own, W, W)[0]
                carried = load_lanes(reset_rows if CARRIES else h, at, W)
                h_next, candidate = update(load_lanes(after, at, W) + sums[0], load_lanes(z_rows, at, W), carried)
                store_lanes(after, at, h_next)
                if recorded:
                    store_lanes(record, n * SIZE + block * W + GATES + 2 * Hp, candidate)

    return blocks
