"""What a user's compiled loop calls to run a cell: shapes are compared, then addresses go to the kernels.

These functions become part of their caller, which loses no time on handing over arrays.
"""

import numpy as np
from numba.core.extending import overload

from fastgate.kernels.cpu.embedded import ALIGNMENT, CHECKED, State, Tape
from fastgate.kernels.cpu.embedded_entry import make_entry
from fastgate.kernels.cpu.embedded_shapes import compiles, index_of, is_none, plan_for, require_integer, thin
from fastgate.kernels.cpu.embedded_step import step_core
from fastgate.kernels.cpu.pointers import address_of, moved
from fastgate.kernels.jit import INLINED, jit

# Beyond it, sizes of arrays might not be numbers any more.
LARGEST_BATCH = 2**31 - 1
BATCH = f"batch: expected 1 to {LARGEST_BATCH}"


@jit(thin=True, allocates=True)
def new_state(cell, batch):
    """-> zeros: h, c (L,B,H)"""
    return _new_state(cell, batch)


@jit(thin=True, allocates=True)
def new_tape(cell, steps, batch):
    """-> records (T,n)"""
    return _new_tape(cell, steps, batch)


@jit(thin=True, allocates=CHECKED)
def step(cell, x, state, y, tape=None, t=0):
    """x (B,I)  state -> y (B,H)  state, advanced  tape at t, if there is one"""
    _step(cell, x, state, y, tape, t)


@jit(thin=True, allocates=CHECKED)
def forward(cell, x, state, y, tape=None):
    """x (T,B,I)  state -> y (T,B,H)  state, advanced  tape, if there is one"""
    _forward(cell, x, state, y, tape)


def _new_state(cell, batch):
    """Compiled below, as are all of these."""


def _new_tape(cell, steps, batch): ...


def _step(cell, x, state, y, tape, t): ...


def _forward(cell, x, state, y, tape): ...


@overload(_new_state, jit_options=INLINED, strict=False)
def compile_new_state(cell, batch):
    plan = plan_for(cell)
    dtype, L, H, Hp, ROWS = np.dtype(plan.spec.dtype), plan.L, plan.H, plan.Hp, plan.state_rows
    SIZE, MORE, HAS_MEMORY = dtype.itemsize, ALIGNMENT // dtype.itemsize, plan.has_memory
    require_integer("batch", batch)

    def build(cell, batch):
        if batch < 1 or batch > LARGEST_BATCH:
            raise ValueError(BATCH)
        size, count = batch * ROWS * Hp, L * batch * Hp
        raw = np.zeros(size + MORE, dtype)
        start = (-raw.ctypes.data) % ALIGNMENT // SIZE
        scratch = raw[start : start + size]
        h = scratch[:count].reshape((L, batch, Hp))[:, :, :H]
        c = scratch[:count].reshape((L, batch, Hp))[:, :, :0]
        if HAS_MEMORY:
            c = scratch[count : 2 * count].reshape((L, batch, Hp))[:, :, :H]
        return State(h, c, scratch)

    return build


@overload(_new_tape, jit_options=INLINED, strict=False)
def compile_new_tape(cell, steps, batch):
    plan = plan_for(cell)
    dtype, SIZE, ROWS = np.dtype(plan.spec.dtype), plan.record_at(plan.L), plan.backward_rows
    require_integer("steps", steps)
    require_integer("batch", batch)

    def build(cell, steps, batch):
        if batch < 1 or batch > LARGEST_BATCH:
            raise ValueError(BATCH)
        if steps < 0:
            raise ValueError("steps: expected at least 0")
        return Tape(np.zeros((steps, batch * SIZE), dtype), np.zeros(ROWS, dtype))

    return build


def make_run(plan, y, tape):
    """run(cell, x, x_row, x_k, state, y, y_row, y_k, B, tape, t): one step, shapes being right."""
    recorded, AFTER, H = not is_none(tape), plan.L * plan.states * plan.Hp, plan.H
    core = step_core(plan.spec, recorded)

    @thin
    def record_of(tape, states, t):
        if recorded:
            return moved(address_of(tape.records), t * tape.records.shape[1])
        return states

    if y.layout == "C":

        @thin
        def run(cell, x, x_row, x_k, state, y, y_row, y_k, B, tape, t):
            states = address_of(state.scratch)
            core(address_of(cell.packed), x, x_row, x_k, states, y, B, record_of(tape, states, t))

    else:

        @thin
        def run(cell, x, x_row, x_k, state, y, y_row, y_k, B, tape, t):
            states = address_of(state.scratch)
            own = moved(states, AFTER * B)
            core(address_of(cell.packed), x, x_row, x_k, states, own, B, record_of(tape, states, t))
            for n in range(B):
                for u in range(H):
                    y[n * y_row + u * y_k] = own[n * H + u]

    return run


def make_steps(cell, x, state, y, tape, axes):
    """Of types: entry and run of a call with arrays of so many axes, and the sizes of their last one."""
    plan = plan_for(cell)
    I, H = plan.spec.input_size, plan.H
    entry = make_entry(plan, axes, ("x", x, I), ("state", state), ("y", y, H), tape)
    return entry, make_run(plan, y, tape), I, H


@compiles(_step)
def compile_step(cell, x, state, y, tape, t):
    entry, run, I, H = make_steps(cell, x, state, y, tape, 2)
    require_integer("t", t)

    def call(cell, x, state, y, tape, t):
        B, at = state.h.shape[1], index_of(t)
        (x_row, x_k), (y_row, y_k) = entry(x, (B, I), state, y, (B, H), tape, at, 1)
        run(cell, address_of(x), x_row, x_k, state, address_of(y), y_row, y_k, B, tape, at)

    return call


@compiles(_forward)
def compile_forward(cell, x, state, y, tape):
    entry, run, I, H = make_steps(cell, x, state, y, tape, 3)

    def call(cell, x, state, y, tape):
        T, B = x.shape[0], state.h.shape[1]
        (x_t, x_row, x_k), (y_t, y_row, y_k) = entry(x, (T, B, I), state, y, (T, B, H), tape, 0, T)
        own_x, own_y = address_of(x), address_of(y)
        for t in range(T):
            run(cell, moved(own_x, t * x_t), x_row, x_k, state, moved(own_y, t * y_t), y_row, y_k, B, tape, t)

    return call
