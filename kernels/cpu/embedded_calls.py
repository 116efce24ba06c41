"""What a user's compiled loop calls to run a cell: shapes are compared, then addresses go to the kernels.

These functions become part of their caller, which loses no time on handing over arrays.
"""

import numpy as np
from numba.core.extending import overload

from fastgate.kernels.cpu.embedded import ALIGNMENT, CHECKED, State, Tape
from fastgate.kernels.cpu.embedded_shapes import (
    compiles,
    expected_shape,
    fits,
    is_none,
    plan_for,
    require_array,
    require_tuple,
    strides_of,
    thin,
    wrong_shape,
)
from fastgate.kernels.cpu.embedded_step import step_core
from fastgate.kernels.cpu.pointers import address_of, moved
from fastgate.kernels.jit import INLINED, jit


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

    def build(cell, batch):
        if batch < 1:
            raise ValueError("batch: expected at least 1")
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

    def build(cell, steps, batch):
        if batch < 1 or steps < 0:
            raise ValueError("batch, steps: expected at least 1 and 0")
        return Tape(np.zeros((steps, batch * SIZE), dtype), np.zeros(ROWS, dtype))

    return build


def make_checks(plan):
    """Of a state and of a tape."""
    ROWS, RECORD, SCRATCH = plan.state_rows * plan.Hp, plan.record_at(plan.L), plan.backward_rows

    @thin
    def check_state(state):
        if state.scratch.size != state.h.shape[1] * ROWS:
            raise ValueError("state: expected one that new_state made for this cell")

    @thin
    def check_tape(tape, first, last, B):
        steps, size = tape.records.shape
        if first < 0 or last > steps or size != B * RECORD or tape.scratch.size < SCRATCH:
            raise ValueError("tape, t: expected a tape that new_tape made for this cell and batch, and 0 <= t < steps")

    return check_state, check_tape


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


def require_run(cell, x, state, y, tape, axes):
    plan = plan_for(cell)
    dtype = plan.spec.dtype
    require_array("x", x, dtype, axes)
    require_tuple("state", state, State, "new_state", dtype)
    require_array("y", y, dtype, axes, written=True)
    if not is_none(tape):
        require_tuple("tape", tape, Tape, "new_tape", dtype)
    return plan


@compiles(_step)
def compile_step(cell, x, state, y, tape, t):
    plan = require_run(cell, x, state, y, tape, 2)
    run, recorded, I, H = make_run(plan, y, tape), not is_none(tape), plan.spec.input_size, plan.H
    check_state, check_tape = make_checks(plan)
    X = expected_shape("x", "batch of the state", I)
    Y = expected_shape("y", "batch of the state", H)

    def call(cell, x, state, y, tape, t):
        B = state.h.shape[1]
        x_shape, y_shape = (B, I), (B, H)
        check_state(state)
        if not fits(x, x_shape):
            if CHECKED:
                wrong_shape(X, x_shape, x.shape)
            raise ValueError(X)
        if not fits(y, y_shape):
            if CHECKED:
                wrong_shape(Y, y_shape, y.shape)
            raise ValueError(Y)
        if recorded:
            check_tape(tape, t, t + 1, B)
        x_row, x_k = strides_of(x, x_shape)
        y_row, y_k = strides_of(y, y_shape)
        run(cell, address_of(x), x_row, x_k, state, address_of(y), y_row, y_k, B, tape, t)

    return call


@compiles(_forward)
def compile_forward(cell, x, state, y, tape):
    plan = require_run(cell, x, state, y, tape, 3)
    run, recorded, I, H = make_run(plan, y, tape), not is_none(tape), plan.spec.input_size, plan.H
    check_state, check_tape = make_checks(plan)
    X = expected_shape("x", "steps, batch of the state", I)
    Y = expected_shape("y", "steps of x, batch of the state", H)

    def call(cell, x, state, y, tape):
        T, B = x.shape[0], state.h.shape[1]
        x_shape, y_shape = (T, B, I), (T, B, H)
        check_state(state)
        if not fits(x, x_shape):
            if CHECKED:
                wrong_shape(X, x_shape, x.shape)
            raise ValueError(X)
        if not fits(y, y_shape):
            if CHECKED:
                wrong_shape(Y, y_shape, y.shape)
            raise ValueError(Y)
        if recorded:
            check_tape(tape, 0, T, B)
        x_t, x_row, x_k = strides_of(x, x_shape)
        y_t, y_row, y_k = strides_of(y, y_shape)
        own_x, own_y = address_of(x), address_of(y)
        for t in range(T):
            run(cell, moved(own_x, t * x_t), x_row, x_k, state, moved(own_y, t * y_t), y_row, y_k, B, tape, t)

    return call
