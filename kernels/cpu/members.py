"""Many small layers of the same shapes in one call: their arrays as words, run one after the other in compiled code.

A worker has some of the members and one ready `Forward` or `Backward`, whose scratch memory they use in turn.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba.core import types

from fastgate.kernels import memory
from fastgate.kernels.cpu.direction import Trace, with_memory
from fastgate.kernels.cpu.features import padded
from fastgate.kernels.cpu.fixed import MATRIX, NUMBER, Fixed
from fastgate.kernels.cpu.gradients import all_gradients
from fastgate.kernels.cpu.turns import NONE
from fastgate.kernels.jit import jit

CUBE, WORDS = (3, None), (2, types.int64)
FORWARD_WEIGHTS, BACKWARD_WEIGHTS = Fixed(MATRIX, CUBE, CUBE), Fixed(CUBE, CUBE)
FORWARD_DATA = Fixed(*[CUBE] * 6, NUMBER, *[MATRIX] * 3, WORDS)
BACKWARD_DATA = Fixed(*[CUBE] * 5, NUMBER, *[MATRIX] * 4, WORDS, CUBE, CUBE, *[MATRIX] * 4, WORDS)


class Each(NamedTuple):
    """An argument of which every member has its own."""

    array: Any  # (M,...)


def _table(kinds, arguments, first, last):
    """Numbers, arrays that all members share, and `Each` of them -> words of members [first, last)"""
    own = [argument.array[first] if isinstance(argument, Each) else argument for argument in arguments]
    words, column = np.repeat(kinds.words([own]), last - first, axis=0), 0
    for (ndim, _), argument in zip(kinds.kinds, arguments, strict=True):
        if isinstance(argument, Each):
            words[:, column] += np.arange(last - first) * argument.array.strides[0]
        column += 1 + ndim
    return words


class ForwardMembers:
    """The direction of all members that a ready `Forward` is for; it takes arrays or `Each` of them, as that does."""

    def __init__(self, cell, run, weights):
        """weights: words of all members' `Weights`"""
        self.run, self.weights, self.keeps_gates = run, weights, run.keeps_gates
        self.kernel, self.like = forward_members(cell.forward, cell.variant), np.empty((1, 1), run.dtype)

    def __call__(self, x, y, start, end, trace, first, last):
        """x -> y  states end  trace of `Each`, unless it is None; of members [first, last)"""
        run, keep = self.run, trace is not None
        states = with_memory(start, end, run.no_state)
        kept = trace if keep else (run.h, run.c, run.none)
        data = _table(FORWARD_DATA, (x, y, *states, run.state, *kept, run.fixed), first, last)
        self.kernel(self.weights, data, self.like, NONE, first, last, keep, keep and self.keeps_gates)


def new_trace(run, members):
    """Memory for what a `Forward` records of each member: h, c (M,B+P,Hp)  gates (M,P,G*H)"""

    def each(shape):
        return Each(memory.empty((members, *shape), run.dtype))

    empty = Each(np.empty((members, *run.none.shape), run.dtype))
    return Trace(each(run.h_kept), each(run.c_kept) if run.has_memory else empty, each(run.gates_kept))


class BackwardMembers:
    """The same for `Backward`, of cells without `Extras`."""

    def __init__(self, cell, run, weights):
        self.run, self.weights = run, weights
        self.kernel, self.like = backward_members(cell.backward, cell.variant), np.empty((1, 1), run.dtype)

    def __call__(self, trace, x, dy, d_end, d_start, dx, sums, first, last):
        """trace, x, dy  states d_end -> dx, added to in the second direction  states d_start  sums, as `new_sums`"""
        run = self.run
        da = memory.scratch("da", run.da_shape, run.dtype)
        states = with_memory(d_end, d_start, run.no_state)
        through_time = dy, *states, run.state, *trace, da, run.fixed
        data = _table(BACKWARD_DATA, (*through_time, x, dx, *sums, run.gradients.fixed), first, last)
        self.kernel(self.weights, data, self.like, NONE, first, last)


def new_sums(members, rows, input_size, size, dtype):
    """Memory for sums: W_ih (M,G*H,Ip)  W_hh (M,G*H,Hp)  b_ih, b_hh (M,1,G*H)"""
    columns = padded(input_size, dtype), padded(size, dtype)
    shapes = *((members, rows, count) for count in columns), *[(members, 1, rows)] * 2
    return [Each(memory.empty(shape, dtype)) for shape in shapes]


@cache
def forward_members(forward, variant):
    read_weights, read_data = FORWARD_WEIGHTS.reader, FORWARD_DATA.reader

    @jit(variant=variant)
    def run(weights, data, like, turns, first, last, keep, keep_gates):
        """weights, data (M,n)[first:last], words -> what `forward` writes"""
        for member in range(first, last):
            bias, W_ih, W_hh = read_weights(weights, member, like)
            x, y, h_start, c_start, h_end, c_end, state, h, c, gates, fixed = read_data(data, member - first, like)
            forward(
                x, y, h_start, c_start, h_end, c_end, state, h, c, gates, bias, W_ih, W_hh,
                fixed, 0, turns, 0, keep, keep_gates,
            )  # fmt: skip

    return run


@cache
def backward_members(backward, variant):
    read_weights, read_data = BACKWARD_WEIGHTS.reader, BACKWARD_DATA.reader

    @jit(variant=variant)
    def run(weights, data, like, turns, first, last):
        """weights, data (M,n)[first:last], words -> what `backward` and `all_gradients` write"""
        for member in range(first, last):
            W_ih, W_hh = read_weights(weights, member, like)
            (
                dy, dh_end, dc_end, dh_start, dc_start, state, h, c, gates, da, fixed,
                x, dx, dW_ih, dW_hh, db_ih, db_hh, gradients,
            ) = read_data(data, member - first, like)  # fmt: skip
            backward(
                dy, dh_end, dc_end, dh_start, dc_start, state, h, c, gates, da, W_hh, fixed, 0, turns, 0
            )  # fmt: skip
            for part in range(gradients.shape[0]):
                all_gradients(x, dx, h, gates, da, W_ih, dW_ih, dW_hh, db_ih, db_hh, gradients, part, True)

    return run
