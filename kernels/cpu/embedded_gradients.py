"""What a user's compiled loop calls for gradients: back-propagation step by step, and forward mode."""

import numpy as np
from numba.core.errors import TypingError
from numba.core.extending import overload

from fastgate.kernels.cpu.embedded import CHECKED, linear_plan_of, plan_of
from fastgate.kernels.cpu.embedded_backward import backward_core
from fastgate.kernels.cpu.embedded_entry import make_entry
from fastgate.kernels.cpu.embedded_shapes import (
    compiles,
    gradient_check,
    index_of,
    is_none,
    plan_for,
    require_gradient,
    require_integer,
    spec_of,
    thin,
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


def make_steps(cell, tape, dy, dstate, dx, gradient, axes):
    """Of types: entry, check of the gradient, and run of a call with arrays of so many axes, and the last ones' sizes.

    run(cell, tape, t, dy, dy_row, dy_k, dstate, dx, dx_row, dx_k, gradient, B): one step, shapes being right.
    """
    plan = plan_for(cell)
    I, H, core = plan.spec.input_size, plan.H, backward_core(plan.spec)
    entry = make_entry(plan, axes, ("dy", dy, H), ("dstate", dstate), ("dx", dx, I), tape)
    require_gradient(gradient, plan.spec.dtype)

    @thin
    def run(cell, tape, t, dy, dy_row, dy_k, dstate, dx, dx_row, dx_k, gradient, B):
        record = moved(address_of(tape.records), t * tape.records.shape[1])
        core(
            address_of(cell.params), record, dy, dy_row, dy_k, address_of(dstate.scratch), dx, dx_row, dx_k,
            address_of(gradient), address_of(tape.scratch), B,
        )  # fmt: skip

    return entry, gradient_check(plan.offsets[1]), run, I, H


@compiles(_step_backward)
def compile_step_backward(cell, tape, t, dy, dstate, dx, gradient):
    entry, check_gradient, run, I, H = make_steps(cell, tape, dy, dstate, dx, gradient, 2)
    require_integer("t", t)

    def call(cell, tape, t, dy, dstate, dx, gradient):
        B, at = dstate.h.shape[1], index_of(t)
        (dy_row, dy_k), (dx_row, dx_k) = entry(dy, (B, H), dstate, dx, (B, I), tape, at, 1)
        check_gradient(gradient)
        run(cell, tape, at, address_of(dy), dy_row, dy_k, dstate, address_of(dx), dx_row, dx_k, gradient, B)

    return call


@compiles(_backward)
def compile_backward(cell, tape, dy, dstate, dx, gradient):
    entry, check_gradient, run, I, H = make_steps(cell, tape, dy, dstate, dx, gradient, 3)

    def call(cell, tape, dy, dstate, dx, gradient):
        T, B = dy.shape[0], dstate.h.shape[1]
        (dy_t, dy_row, dy_k), (dx_t, dx_row, dx_k) = entry(dy, (T, B, H), dstate, dx, (T, B, I), tape, 0, T)
        check_gradient(gradient)
        own_dy, own_dx = address_of(dy), address_of(dx)
        for t in range(T - 1, -1, -1):
            now, then = moved(own_dy, t * dy_t), moved(own_dx, t * dx_t)
            run(cell, tape, t, now, dy_row, dy_k, dstate, then, dx_row, dx_k, gradient, B)

    return call


@compiles(_jvp_step)
def compile_jvp_step(cell, x, state, y, x_tangent, state_tangent, y_tangent, direction):
    plan, directed = plan_for(cell), not is_none(direction)
    if directed and direction != cell:
        raise TypingError(f"direction: expected a cell of the same kind and sizes, {cell}, got {direction}")
    I, H, core = plan.spec.input_size, plan.H, tangent_core(plan.spec, directed)
    entry = make_entry(plan, 2, ("x", x, I), ("state", state), ("y", y, H))
    tangent_entry = make_entry(
        plan, 2, ("x_tangent", x_tangent, I), ("state_tangent", state_tangent), ("y_tangent", y_tangent, H)
    )

    def call(cell, x, state, y, x_tangent, state_tangent, y_tangent, direction):
        B = state.h.shape[1]
        x_shape, y_shape = (B, I), (B, H)
        (x_row, x_k), (y_row, y_k) = entry(x, x_shape, state, y, y_shape, None, 0, 1)
        (x_t_row, x_t_k), (y_t_row, y_t_k) = tangent_entry(
            x_tangent, x_shape, state_tangent, y_tangent, y_shape, None, 0, 1
        )
        packed = address_of(cell.packed)
        turned = address_of(direction.packed) if directed else packed
        core(
            packed, turned, address_of(x), x_row, x_k, address_of(state.scratch), address_of(y), y_row, y_k,
            address_of(x_tangent), x_t_row, x_t_k, address_of(state_tangent.scratch), address_of(y_tangent),
            y_t_row, y_t_k, B,
        )  # fmt: skip

    return call
