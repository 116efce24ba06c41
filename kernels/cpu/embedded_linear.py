"""A dense layer inside a user's compiled loop: y = W x + b, and its reverse."""

from functools import cache

import numpy as np
from numba.core.errors import TypingError

from fastgate.kernels.cpu.embedded import CHECKED, lanes_for, linear_plan_of
from fastgate.kernels.cpu.embedded_shapes import (
    compiles,
    expected_gradient,
    expected_shape,
    fits,
    require_array,
    require_vector,
    rows_of,
    spec_of,
    strides_of,
    wrong_shape,
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
def linear_core(spec, biased):
    plan = linear_plan_of(spec)
    I, W, BLOCKS, SIZE = plan.I, plan.lanes, plan.blocks, (1 + plan.I) * plan.lanes
    LAST = plan.H - (plan.blocks - 1) * plan.lanes

    @equation
    def value_of(own, x, x_k):
        value = inner_products(1, 1, I, W, x, 0, x_k, moved(own, W), W, 0)[0][0]
        if biased:
            value = load_lanes(own, 0, W) + value
        return value

    @jit(variant=f"{spec} {biased}")
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
    I, H, core = plan.I, plan.H, linear_core(plan.spec, True)
    require_array("x", x, plan.spec.dtype, 2)
    require_array("y", y, plan.spec.dtype, 2, written=True)
    X, Y = expected_shape("x", "batch", I), expected_shape("y", "batch of x", H)
    count = rows_of(x)

    def call(cell, x, y):
        B = count(x)
        x_shape, y_shape = (B, I), (B, H)
        if not fits(x, x_shape):
            if CHECKED:
                wrong_shape(X, x_shape, x.shape)
            raise ValueError(X)
        if not fits(y, y_shape):
            if CHECKED:
                wrong_shape(Y, y_shape, y.shape)
            raise ValueError(Y)
        x_row, x_k = strides_of(x, x_shape)
        y_row, y_k = strides_of(y, y_shape)
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
    require_vector("gradient", gradient, dtype)
    X, DY = expected_shape("x", "batch", I), expected_shape("dy", "batch of x", H)
    DX, count = expected_shape("dx", "batch of x", I), rows_of(x)
    GRADIENT = expected_gradient(SIZE)

    def call(cell, x, dy, dx, gradient):
        B = count(x)
        x_shape, y_shape = (B, I), (B, H)
        if not fits(x, x_shape):
            if CHECKED:
                wrong_shape(X, x_shape, x.shape)
            raise ValueError(X)
        if not fits(dy, y_shape):
            if CHECKED:
                wrong_shape(DY, y_shape, dy.shape)
            raise ValueError(DY)
        if not fits(dx, x_shape):
            if CHECKED:
                wrong_shape(DX, x_shape, dx.shape)
            raise ValueError(DX)
        if gradient.size != SIZE:
            raise ValueError(GRADIENT)
        x_row, x_k = strides_of(x, x_shape)
        dy_row, dy_k = strides_of(dy, y_shape)
        dx_row, dx_k = strides_of(dx, x_shape)
        core(
            address_of(cell.params), address_of(x), x_row, x_k, address_of(dy), dy_row, dy_k,
            address_of(dx), dx_row, dx_k, address_of(gradient), B,
        )  # fmt: skip

    return call
