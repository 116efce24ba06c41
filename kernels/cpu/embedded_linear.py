"""A dense layer inside a user's compiled loop: y = W x + b, and its reverse."""

from functools import cache

import numpy as np
from numba.core.errors import TypingError

from fastgate.kernels.cpu.embedded import CHECKED, lanes_for, linear_plan_of
from fastgate.kernels.cpu.embedded_shapes import (
    compiles,
    gradient_check,
    last_axis_check,
    require_array,
    require_gradient,
    rows_of,
    spec_of,
)
from fastgate.kernels.cpu.pointers import address_of, inner_products, load_lanes, moved, scatter_lanes
from fastgate.kernels.jit import equation, jit


@jit(thin=True, allocates=CHECKED)
def linear(cell, x, y):
    """x (B,I) -> y (B,O)"""
    _linear(cell, x, y)


@jit(thin=True, allocates=CHECKED)
def linear_backward(cell, x, dy, dx, gradient):
    """x (B,I)  dy (B,O) -> dx (B,I)  gradient (P), added to"""
    _linear_backward(cell, x, dy, dx, gradient)


def _linear(cell, x, y): ...


def _linear_backward(cell, x, dy, dx, gradient): ...


def plan_for(cell):
    spec = spec_of(cell)
    if spec.kind != "linear":
        raise TypingError("cell: expected that of a Linear, got that of a recurrent layer")
    return linear_plan_of(spec)


@cache
def linear_core(spec):
    plan = linear_plan_of(spec)
    I, W, BLOCKS, SIZE = plan.I, plan.lanes, plan.blocks, (1 + plan.I) * plan.lanes
    LAST = plan.H - (plan.blocks - 1) * plan.lanes

    @equation
    def value_of(own, x, x_k):
        return load_lanes(own, 0, W) + inner_products(1, 1, I, W, x, 0, x_k, moved(own, W), W, 0)[0][0]

    @jit(variant=str(spec), thin=True)
    def run(packed, x, x_row, x_k, y, y_row, y_k, B):
        """x (B,I) -> y (B,O)"""
        for n in range(B):
            row, out = moved(x, n * x_row), moved(y, n * y_row)
            for block in range(BLOCKS - 1):
                value = value_of(moved(packed, block * SIZE), row, x_k)
                scatter_lanes(moved(out, block * W * y_k), y_k, value, W)
            value = value_of(moved(packed, (BLOCKS - 1) * SIZE), row, x_k)
            scatter_lanes(moved(out, (BLOCKS - 1) * W * y_k), y_k, value, LAST)

    return run


@compiles(_linear)
def compile_linear(cell, x, y):
    plan = plan_for(cell)
    I, H, core = plan.I, plan.H, linear_core(plan.spec)
    require_array("x", x, plan.spec.dtype, 2)
    require_array("y", y, plan.spec.dtype, 2, written=True)
    check_x, check_y, count = last_axis_check("x", "batch", I), last_axis_check("y", "batch of x", H), rows_of(x)

    def call(cell, x, y):
        B = count(x)
        (x_row, x_k), (y_row, y_k) = check_x(x, (B, I)), check_y(y, (B, H))
        core(address_of(cell.packed), address_of(x), x_row, x_k, address_of(y), y_row, y_k, B)

    return call


@cache
def linear_backward_core(spec):
    plan = linear_plan_of(spec)
    I, H = plan.I, plan.H
    W = lanes_for(I, np.dtype(spec.dtype).itemsize)
    WHOLE, REST, HAS_BIAS = I // W * W, I % W, spec.bias == "single"

    @jit(variant=str(spec))
    def run(params, x, x_row, x_k, dy, dy_row, dy_k, dx, dx_row, dx_k, gradient, B):
        """x (B,I)  dy (B,O) -> dx (B,I)  gradient (P), added to"""
        for n in range(B):
            row, d_row, out = moved(x, n * x_row), moved(dy, n * dy_row), moved(dx, n * dx_row)
            for o in range(H):
                d = d_row[o * dy_k]
                for k in range(I):
                    gradient[o * I + k] += d * row[k * x_k]
                if HAS_BIAS:
                    gradient[H * I + o] += d
            for k in range(0, WHOLE, W):
                sums = inner_products(1, 1, H, W, d_row, 0, dy_k, moved(params, k), I, 0)
                scatter_lanes(moved(out, k * dx_k), dx_k, sums[0][0], W)
            if REST > 0:
                sums = inner_products(1, 1, H, W, d_row, 0, dy_k, moved(params, WHOLE), I, 0)
                scatter_lanes(moved(out, WHOLE * dx_k), dx_k, sums[0][0], REST)

    return run


@compiles(_linear_backward)
def compile_linear_backward(cell, x, dy, dx, gradient):
    plan = plan_for(cell)
    I, H, SIZE, dtype = plan.I, plan.H, plan.size, plan.spec.dtype
    core = linear_backward_core(plan.spec)
    for name, kind in (("x", x), ("dy", dy), ("dx", dx)):
        require_array(name, kind, dtype, 2, written=name == "dx")
    require_gradient(gradient, dtype)
    check_x, check_dy = last_axis_check("x", "batch", I), last_axis_check("dy", "batch of x", H)
    check_dx, check_gradient, count = last_axis_check("dx", "batch of x", I), gradient_check(SIZE), rows_of(x)

    def call(cell, x, dy, dx, gradient):
        B = count(x)
        (x_row, x_k), (dy_row, dy_k), (dx_row, dx_k) = check_x(x, (B, I)), check_dy(dy, (B, H)), check_dx(dx, (B, I))
        check_gradient(gradient)
        core(
            address_of(cell.params), address_of(x), x_row, x_k, address_of(dy), dy_row, dy_k,
            address_of(dx), dx_row, dx_k, address_of(gradient), B,
        )  # fmt: skip

    return call
