"""One step behind a C function pointer: all comes in as addresses, and what is needed inside only lies on the stack.

A state is one vector: h of all layers, then c of all layers.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba.core import types
from numba.core.extending import intrinsic
from numba.np.numpy_support import from_dtype

from fastgate.kernels.cpu.fixed import NUMBER, Fixed, array_at
from fastgate.kernels.cpu.sequences import begin_gates
from fastgate.kernels.cpu.simd import lanes_of
from fastgate.kernels.jit import callback, jit

ALIGNMENT = 64  # bytes
WORDS = 2, types.int64


class Callbacks(NamedTuple):
    step: Any  # compiles void (const void *layers, const real *x, real *state, real *y)
    value: Any  # compiles double (int n, double *x, void *start)
    layers: Fixed  # of each: how many there are, I, P (of h), H, H again or 0 (of c), bias, W_ih, W_hh
    start: Fixed  # those words, a state (1,N), and which of y is the value


@intrinsic
def rows_at(typingctx, pointer, rows, columns):
    """(rows,columns) elements from an address on"""

    def codegen(context, builder, sig, args):
        return array_at(context, builder, sig.return_type, args[0], args[1:])

    return types.Array(pointer.dtype, 2, "C")(pointer, types.intp, types.intp), codegen


@intrinsic
def rows_on_stack(typingctx, rows, columns, like):
    """(rows,columns) elements of the type of `like`, until the calling function returns"""

    def codegen(context, builder, sig, args):
        data = builder.alloca(context.get_data_type(like.dtype), builder.mul(args[0], args[1]))
        data.align = ALIGNMENT
        return array_at(context, builder, sig.return_type, data, args[:2])

    return types.Array(like.dtype, 2, "C")(types.intp, types.intp, like), codegen


def make_callbacks(step_forward, variant):
    @cache
    def callbacks_for(dtype, weight):
        """The `Callbacks` for a dtype and that of packed weights."""
        real, panels = from_dtype(dtype), (3, from_dtype(weight))
        layers_fixed, start_fixed = Fixed(*[NUMBER] * 5, (2, real), panels, panels), Fixed(WORDS, (2, real), NUMBER)
        read_layer, read_start = layers_fixed.reader, start_fixed.reader
        columns, start_columns = layers_fixed.columns, start_fixed.columns
        own_variant = f"{variant}_{weight}"

        @jit(variant=own_variant, inline=True)
        def advance(layers, x, state, y):
            """layers (L,n)  x (1,I)  state (1,N) -> y (1,P)  state, advanced"""
            count, _, size, units, memory_units, bias, W_ih, W_hh = read_layer(layers, 0, layers)
            width = lanes_of(x)
            states = rows_on_stack(3, -(-units // width) * width, x)  # h before, h after, c
            a = rows_on_stack(1, bias.shape[1], x)
            row = 0
            for layer in range(count):
                _, _, _, _, _, bias, W_ih, W_hh = read_layer(layers, layer, layers)
                begin_gates(a, 0, x, row, W_ih, bias, 1)
                own_h, own_c = layer * size, count * size + layer * memory_units
                for u in range(states.shape[1]):
                    states[0, u] = state[0, own_h + u] if u < size else 0.0
                    states[2, u] = state[0, own_c + u] if u < memory_units else 0.0
                step_forward(a, 0, states, 0, 1, states, 2, 2, W_hh, 0, units, size, 1, a, 0, False, a, 0)
                for u in range(size):
                    state[0, own_h + u] = states[1, u]
                for u in range(memory_units):
                    state[0, own_c + u] = states[2, u]
                x, row = states, 1
            for u in range(size):
                y[0, u] = states[1, u]

        def step(layers, x, state, y):
            """layers (L,n)  x (I)  state (N) -> y (P)  state, advanced"""
            first = rows_at(layers, 1, columns)
            count, inputs, size, _, memory_units, _, _, _ = read_layer(first, 0, first)
            whole = rows_at(state, 1, count * (size + memory_units))
            advance(rows_at(layers, count, columns), rows_at(x, 1, inputs), whole, rows_at(y, 1, size))

        def value(n, x, start):
            """x (n)  start (m) -> one of y, of a step from the state in `start`, which stays; NaN if n is not I"""
            words = rows_at(start, 1, start_columns)
            layers, begin, place = read_start(words, 0, words)
            _, inputs, size, _, _, _, _, _ = read_layer(layers, 0, layers)
            if n != inputs:
                return np.nan
            own_x, state = rows_on_stack(1, inputs, begin), rows_on_stack(1, begin.shape[1], begin)
            y = rows_on_stack(1, size, begin)
            given = rows_at(x, 1, inputs)
            for k in range(inputs):
                own_x[0, k] = given[0, k]
            for u in range(begin.shape[1]):
                state[0, u] = begin[0, u]
            advance(layers, own_x, state, y)
            return y[0, place]

        words, numbers = types.CPointer(types.int64), types.CPointer(real)
        step_signature = types.void(words, numbers, numbers, numbers)
        value_signature = types.float64(types.intc, types.CPointer(types.float64), words)
        return Callbacks(
            cache(lambda: callback(step, step_signature, variant=own_variant)),
            cache(lambda: callback(value, value_signature, variant=own_variant)),
            layers_fixed,
            start_fixed,
        )

    return callbacks_for
