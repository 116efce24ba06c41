"""One time step of a cell of known sizes, for a batch of any number of rows; inference, or recorded on a tape.

`x_row` and `x_k` are strides of x. A layer runs block after block of units, all gates of a block at once: the two
inner products stay in registers until the cell has used them. The new h waits in `after` until no one needs the old
one any more.
"""

from functools import cache

from fastgate.kernels import equations
from fastgate.kernels.cpu.embedded import plan_of
from fastgate.kernels.cpu.embedded_sums import JOIN, make_products, make_reset_sums
from fastgate.kernels.cpu.pointers import load_lanes, load_tuple, moved, store_lanes
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

    @jit(variant=variant, thin=plan.is_small)
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
    """Block after block. Where their weights are more than a cache holds, every other step goes backwards, and finds
    there what was read last; a number behind `after` says which way."""
    forwards, BLOCKS, AT = make_block(plan, layer, recorded), plan.blocks, plan.Hp

    @layered
    def ascending(packed, x, x_row, x_k, h, c, after, B, record):
        for block in range(BLOCKS):
            forwards(block, packed, x, x_row, x_k, h, c, after, B, record)

    if plan.is_small or plan.L > 1 or plan.blocks == 1:
        return ascending
    backwards = make_block(plan, layer, recorded, backwards=True)

    @layered
    def to_and_fro(packed, x, x_row, x_k, h, c, after, B, record):
        back = after[B * AT] > 0
        after[B * AT] = 0 if back else 1
        if back:
            for block in range(BLOCKS - 1, -1, -1):
                backwards(block, packed, x, x_row, x_k, h, c, after, B, record)
        else:
            for block in range(BLOCKS):
                forwards(block, packed, x, x_row, x_k, h, c, after, B, record)

    return to_and_fro


def make_block(plan, layer, recorded, *, backwards=False):
    """Both products of a block, then its cell."""
    finish, join = FINISH[plan.kind](plan, layer, recorded), JOIN[plan.kind]
    Hp, W, C, ROWS = plan.Hp, plan.lanes, plan.starts, plan.rows
    SIZE, BLOCK = plan.record_size(layer), plan.block_size(layer)

    def make_rows(R):
        products = make_products(plan, layer, R, backwards=backwards)

        @equation
        def rows(own, unit, x, x_row, x_k, h, c, after, n, record):
            inputs, recurrent = products(own, moved(x, n * x_row), x_row, x_k, moved(h, n * Hp))
            for r in range(R):
                at = (n + r) * Hp + unit
                finish(join(load_tuple(own, C, W), inputs[r], recurrent[r]), moved(h, at), moved(c, at),
                       moved(after, at), moved(record, (n + r) * SIZE + unit))  # fmt: skip

        return rows

    one, many = make_rows(1), make_rows(plan.rows)

    @layered  # an `equation`, optimised by itself first, made a GRU of 16 units half as slow again
    def run(block, packed, x, x_row, x_k, h, c, after, B, record):
        own, unit, n = moved(packed, block * BLOCK), block * W, 0
        while n + ROWS <= B:
            many(own, unit, x, x_row, x_k, h, c, after, n, record)
            n += ROWS
        while n < B:
            one(own, unit, x, x_row, x_k, h, c, after, n, record)
            n += 1

    return run


def make_lstm(plan, layer, recorded):
    cell, W, Hp = equations.lstm_cell, plan.lanes, plan.Hp
    GATES = plan.x_room(layer) + 2 * Hp

    @equation
    def finish(a, h_prev, c, after, record):
        a_i, a_f, a_g, a_o = a
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
    def finish(a, h_prev, c, after, record):
        a_r, a_z, a_n, q = a
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
        GATES = plan.x_room(layer) + 2 * plan.Hp

        @equation
        def finish(a, h_prev, c, after, record):
            h_next = cell(a[0])
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
    reset, update, (gates, candidate) = equations.gru_reset, equations.gru_update, make_reset_sums(plan, layer)
    CARRIES, Hp, W, BLOCKS = plan.kind == "gru_reset_carry", plan.Hp, plan.lanes, plan.blocks
    SIZE, BLOCK, GATES = plan.record_size(layer), plan.block_size(layer), plan.x_room(layer) + 2 * Hp

    @equation
    def blocks(packed, x, x_row, x_k, h, c, after, B, record):
        z_rows, reset_rows = moved(after, B * Hp), moved(after, 2 * B * Hp)
        for block in range(BLOCKS):
            own = moved(packed, block * BLOCK)
            for n in range(B):
                at = n * Hp + block * W
                a_r, a_z, a_n = gates(load_tuple(own, 3, W), own, moved(x, n * x_row), x_k, moved(h, n * Hp))
                r, z, h_reset = reset(a_r, a_z, load_lanes(h, at, W))
                store_lanes(after, at, a_n)
                store_lanes(z_rows, at, z)
                store_lanes(reset_rows, at, h_reset)
                if recorded:
                    kept = moved(record, n * SIZE + block * W + GATES)
                    store_lanes(kept, 0, r)
                    store_lanes(kept, Hp, z)
                    store_lanes(kept, 3 * Hp, h_reset)
        for block in range(BLOCKS):
            own = moved(packed, block * BLOCK)
            for n in range(B):
                at = n * Hp + block * W
                a_n = load_lanes(after, at, W) + candidate(own, moved(reset_rows, n * Hp))
                h_next, h_new = update(a_n, load_lanes(z_rows, at, W), load_lanes(reset_rows if CARRIES else h, at, W))
                store_lanes(after, at, h_next)
                if recorded:
                    store_lanes(record, n * SIZE + block * W + GATES + 2 * Hp, h_new)

    return blocks
