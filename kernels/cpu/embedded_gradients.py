"""What a user's compiled loop calls for gradients: back-propagation step by step, and forward mode."""

import numpy as np
from numba.core.errors import TypingError
from numba.core.extending import overload

from fastgate.kernels.cpu.embedded import CHECKED, State, Tape, linear_plan_of, plan_of
from fastgate.kernels.cpu.embedded_backward import backward_core
from fastgate.kernels.cpu.embedded_calls import make_checks
from fastgate.kernels.cpu.embedded_shapes import (
    compiles,
    expected_gradient,
    expected_shape,
    fits,
    is_none,
    plan_for,
    require_array,
    require_tuple,
    require_vector,
    spec_of,
    strides_of,
    thin,
    wrong_shape,
)
from fastgate.kernels.cpu.embedded_tangent import tangent_core
from fastgate.kernels.cpu.pointers import address_of, moved
from fastgate.kernels.jit import INLINED, jit


@jit(thin=True, allocates=True)
def new_gradient(cell):
    """-> zeros (P)"""
    return _new_gradient(cell)


@jit(thin=True, allocates=CHECKED)
def step_backward(cell, tape, t, dy, dstate, dx, gradient):
    """tape at t  dy (B,H)  dstate after the step -> dx (B,I)  dstate before it  gradient (P), added to"""
    _step_backward(cell, tape, t, dy, dstate, dx, gradient)


@jit(thin=True, allocates=CHECKED)
def backward(cell, tape, dy, dstate, dx, gradient):
    """tape  dy (T,B,H)  dstate at the end -> dx (T,B,I)  dstate at the start  gradient (P), added to"""
    _backward(cell, tape, dy, dstate, dx, gradient)


@jit(thin=True, allocates=CHECKED)
def jvp_step(cell, x, state, y, x_tangent, state_tangent, y_tangent, direction=None):
    """x, x_tangent (B,I)  state, state_tangent -> y, y_tangent (B,H)  states, advanced"""
    _jvp_step(cell, x, state, y, x_tangent, state_tangent, y_tangent, direction)


def _new_gradient(cell): ...


def _step_backward(cell, tape, t, dy, dstate, dx, gradient): ...


def _backward(cell, tape, dy, dstate, dx, gradient): ...


def _jvp_step(cell, x, state, y, x_tangent, state_tangent, y_tangent, direction): ...


@overload(_new_gradient, jit_options=INLINED, strict=False)
def compile_new_gradient(cell):
    spec = spec_of(cell)
    size = linear_plan_of(spec).size if spec.kind == "linear" else plan_of(spec).offsets[1]
    dtype = np.dtype(spec.dtype)
    return lambda cell: np.zeros(size, dtype)


def require_backward(cell, tape, dy, dstate, dx, gradient, axes):
    plan = plan_for(cell)
    dtype = plan.spec.dtype
    require_tuple("tape", tape, Tape, "new_tape", dtype)
    require_array("dy", dy, dtype, axes)
    require_tuple("dstate", dstate, State, "new_state", dtype)
    require_array("dx", dx, dtype, axes, written=True)
    require_vector("gradient", gradient, dtype)
    return plan


def make_run(plan):
    core = backward_core(plan.spec)

    @thin
    def run(cell, tape, t, dy, dy_row, dy_k, dstate, dx, dx_row, dx_k, gradient, B):
        record = moved(address_of(tape.records), t * tape.records.shape[1])
        core(
            address_of(cell.params), record, dy, dy_row, dy_k, address_of(dstate.scratch), dx, dx_row, dx_k,
            address_of(gradient), address_of(tape.scratch), B,
        )  # fmt: skip

    return run


@compiles(_step_backward)
def compile_step_backward(cell, tape, t, dy, dstate, dx, gradient):
    plan = require_backward(cell, tape, dy, dstate, dx, gradient, 2)
    run, I, H = make_run(plan), plan.spec.input_size, plan.H
    check_state, check_tape = make_checks(plan)
    DY = expected_shape("dy", "batch of dstate", H)
    DX = expected_shape("dx", "batch of dstate", I)
    SIZE, GRADIENT = plan.offsets[1], expected_gradient(plan.offsets[1])

    def call(cell, tape, t, dy, dstate, dx, gradient):
        B = dstate.h.shape[1]
        dy_shape, dx_shape = (B, H), (B, I)
        check_state(dstate)
        check_tape(tape, t, t + 1, B)
        if not fits(dy, dy_shape):
            if CHECKED:
                wrong_shape(DY, dy_shape, dy.shape)
            raise ValueError(DY)
        if not fits(dx, dx_shape):
            if CHECKED:
                wrong_shape(DX, dx_shape, dx.shape)
            raise ValueError(DX)
        if gradient.size != SIZE:
            raise ValueError(GRADIENT)
        dy_row, dy_k = strides_of(dy, dy_shape)
        dx_row, dx_k = strides_of(dx, dx_shape)
        run(cell, tape, t, address_of(dy), dy_row, dy_k, dstate, address_of(dx), dx_row, dx_k, gradient, B)

    return call


@compiles(_backward)
def compile_backward(cell, tape, dy, dstate, dx, gradient):
    plan = require_backward(cell, tape, dy, dstate, dx, gradient, 3)
    run, I, H = make_run(plan), plan.spec.input_size, plan.H
    check_state, check_tape = make_checks(plan)
    DY = expected_shape("dy", "steps, batch of dstate", H)
    DX = expected_shape("dx", "steps of dy, batch of dstate", I)
    SIZE, GRADIENT = plan.offsets[1], expected_gradient(plan.offsets[1])

    def call(cell, tape, dy, dstate, dx, gradient):
        T, B = dy.shape[0], dstate.h.shape[1]
        dy_shape, dx_shape = (T, B, H), (T, B, I)
        check_state(dstate)
        check_tape(tape, 0, T, B)
        if not fits(dy, dy_shape):
            if CHECKED:
                wrong_shape(DY, dy_shape, dy.shape)
            raise ValueError(DY)
        if not fits(dx, dx_shape):
            if CHECKED:
                wrong_shape(DX, dx_shape, dx.shape)
            raise ValueError(DX)
        if gradient.size != SIZE:
            raise ValueError(GRADIENT)
        dy_t, dy_row, dy_k = strides_of(dy, dy_shape)
        dx_t, dx_row, dx_k = strides_of(dx, dx_shape)
        own_dy, own_dx = address_of(dy), address_of(dx)
        for t in range(T - 1, -1, -1):
            now, then = moved(own_dy, t * dy_t), moved(own_dx, t * dx_t)
            run(cell, tape, t, now, dy_row, dy_k, dstate, then, dx_row, dx_k, gradient, B)

    return call


@compiles(_jvp_step)
def compile_jvp_step(cell, x, state, y, x_tangent, state_tangent, y_tangent, direction):
    plan, directed = plan_for(cell), not is_none(direction)
    I, H, dtype = plan.spec.input_size, plan.H, plan.spec.dtype
    for name, kind in (("x", x), ("y", y), ("x_tangent", x_tangent), ("y_tangent", y_tangent)):
        require_array(name, kind, dtype, 2, written=name.startswith("y"))
    require_tuple("state", state, State, "new_state", dtype)
    require_tuple("state_tangent", state_tangent, State, "new_state", dtype)
    if directed and direction != cell:
        raise TypingError(f"direction: expected a cell of the same kind and sizes, {cell}, got {direction}")
    core, (check_state, _) = tangent_core(plan.spec, directed), make_checks(plan)
    X, Y = (expected_shape(name, "batch of the state", K) for name, K in (("x", I), ("y", H)))
    X_T = expected_shape("x_tangent", "batch of the state", I)
    Y_T = expected_shape("y_tangent", "batch of the state", H)

    def call(cell, x, state, y, x_tangent, state_tangent, y_tangent, direction):
        B = state.h.shape[1]
        x_shape, y_shape = (B, I), (B, H)
        check_state(state)
        check_state(state_tangent)
        if state_tangent.h.shape[1] != B:
            raise ValueError("state_tangent: expected the batch of the state")
        if not fits(x, x_shape):
            if CHECKED:
                wrong_shape(X, x_shape, x.shape)
            raise ValueError(X)
        if not fits(y, y_shape):
            if CHECKED:
                wrong_shape(Y, y_shape, y.shape)
            raise ValueError(Y)
        if not fits(x_tangent, x_shape):
            if CHECKED:
                wrong_shape(X_T, x_shape, x_tangent.shape)
            raise ValueError(X_T)
        if not fits(y_tangent, y_shape):
            if CHECKED:
                wrong_shape(Y_T, y_shape, y_tangent.shape)
            raise ValueError(Y_T)
        x_row, x_k = strides_of(x, x_shape)
        y_row, y_k = strides_of(y, y_shape)
        x_t_row, x_t_k = strides_of(x_tangent, x_shape)
        y_t_row, y_t_k = strides_of(y_tangent, y_shape)
        packed = address_of(cell.packed)
        turned = address_of(direction.packed) if directed else packed
        core(
            packed, turned, address_of(x), x_row, x_k, address_of(state.scratch), address_of(y), y_row, y_k,
            address_of(x_tangent), x_t_row, x_t_k, address_of(state_tangent.scratch), address_of(y_tangent),
            y_t_row, y_t_k, B,
        )  # fmt: skip

    return call
