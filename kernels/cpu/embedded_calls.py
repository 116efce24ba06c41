"""What a user's compiled loop calls: shapes are compared once, then addresses go to the kernels.

These functions become part of their caller, which loses no time on handing over arrays. With FASTGATE_CHECK=1 a wrong
shape says which argument it is of; without it one sentence says that something is wrong, and nothing is touched either.
"""

from functools import cache

import numpy as np
from numba.core import types
from numba.core.errors import TypingError
from numba.core.extending import overload, register_jitable

from fastgate.kernels.cpu.embedded import ALIGNMENT, State, Tape, plan_of
from fastgate.kernels.cpu.embedded_step import step_core
from fastgate.kernels.cpu.pointers import address_of, moved
from fastgate.kernels.jit import INLINED, jit

THIN = INLINED | {"_nrt": False}
CHECKING = INLINED
NO_FIT = "fastgate.jit: the shapes of the arguments do not fit; with FASTGATE_CHECK=1 set the error says which one"


@jit(thin=True)
def step(cell, x, state, y, tape=None, t=0):
    """x (B,I)  state -> y (B,H)  state, advanced  tape[t], if there is one"""
    _step(cell, x, state, y, tape, t)


@jit(thin=True)
def forward(cell, x, state, y, tape=None):
    """x (T,B,I)  state -> y (T,B,H)  state, advanced  tape, if there is one"""
    _forward(cell, x, state, y, tape)


@jit(thin=True, allocates=True)
def new_state(cell, batch):
    """-> zeros: h, c (L,B,H)"""
    return _new_state(cell, batch)


def _step(cell, x, state, y, tape, t):
    """Compiled below."""


def _forward(cell, x, state, y, tape):
    """Compiled below."""


def _new_state(cell, batch):
    """Compiled below."""


# ------------------------------------------------------------------------------------------ what is known of types


def plan_for(cell):
    spec = getattr(getattr(cell, "instance_class", None), "spec", None)
    if spec is None:
        raise TypingError(f"cell: expected what layer.jit() of this version of fastgate returned, got {cell}")
    if spec.kind == "linear":
        raise TypingError("cell: expected that of a recurrent layer, got that of a Linear, which `linear` is for")
    return plan_of(spec)


def require_array(name, kind, plan, axes, *, written=False):
    """A TypingError that names the argument unless it is an array that can be taken as it is."""
    dtype = getattr(types, plan.spec.dtype)
    expected = f"an array of {dtype} with {axes} axes, or {axes - 1} for a batch of one"
    if not isinstance(kind, types.Array) or kind.dtype != dtype or kind.ndim not in (axes, axes - 1):
        raise TypingError(f"{name}: expected {expected}, got {kind}")
    if written and not kind.mutable:
        raise TypingError(f"{name}: expected an array that can be written, got a read-only one")


def is_none(kind):
    return isinstance(kind, types.NoneType) or (isinstance(kind, types.Omitted) and kind.value is None)


def compiled(function, spec_of_call=None):
    return overload(function, jit_options=THIN, strict=False)


# --------------------------------------------------------------------------------------------------- shapes, strides


def make_reader(axes):
    """Of an array with `axes` axes, or one fewer where a batch is one row: whether it fits, and strides in elements."""

    def fits(array, *sizes):
        """array.shape == sizes, of which the last but one is the batch"""

    def strides(array):
        """-> those of all `axes`"""

    @overload(fits, jit_options=THIN, strict=False)
    def choose(array, *sizes):
        if array.ndim == axes:
            return lambda array, *sizes: array.shape == sizes
        if axes == 2:
            return lambda array, *sizes: array.shape[0] == sizes[1] and sizes[0] == 1
        return lambda array, *sizes: array.shape == (sizes[0], sizes[2]) and sizes[1] == 1

    @overload(strides, jit_options=THIN, strict=False)
    def choose_strides(array):
        S = array.dtype.bitwidth // 8
        if array.ndim == axes:
            if axes == 2:
                return lambda array: (array.strides[0] // S, array.strides[1] // S)
            return lambda array: (array.strides[0] // S, array.strides[1] // S, array.strides[2] // S)
        if axes == 2:
            return lambda array: (0, array.strides[0] // S)
        return lambda array: (array.strides[0] // S, 0, array.strides[1] // S)

    return fits, strides


fits_2, strides_2 = make_reader(2)
fits_3, strides_3 = make_reader(3)


@cache
def state_checks(plan):
    ROWS = plan.state_rows * plan.Hp

    @register_jitable(**THIN)
    def fits_state(state):
        return state.scratch.size == state.h.shape[1] * ROWS

    return fits_state


@overload(_new_state, jit_options=INLINED, strict=False)
def compile_new_state(cell, batch):
    plan = plan_for(cell)
    dtype = np.dtype(plan.spec.dtype)
    L, H, Hp, ROWS, SIZE, EXTRA = plan.L, plan.H, plan.Hp, plan.state_rows, dtype.itemsize, ALIGNMENT // dtype.itemsize
    C = plan.H if plan.has_memory else 0

    def build(cell, batch):
        if batch < 1:
            raise ValueError("batch: expected at least 1")
        size, count = batch * ROWS * Hp, L * batch * Hp
        raw = np.zeros(size + EXTRA, dtype)
        start = (-raw.ctypes.data) % ALIGNMENT // SIZE
        scratch = raw[start : start + size]
        h = scratch[:count].reshape((L, batch, Hp))[:, :, :H]
        c = scratch[size - count :].reshape((L, batch, Hp))[:, :, :0]
        if C > 0:
            c = scratch[count : 2 * count].reshape((L, batch, Hp))[:, :, :C]
        return State(h, c, scratch)

    return build


@overload(_step, jit_options=THIN, strict=False)
def compile_step(cell, x, state, y, tape, t):
    plan = plan_for(cell)
    require_array("x", x, plan, 2)
    require_array("y", y, plan, 2, written=True)
    recorded = not is_none(tape)
    core, fits_state = step_core(plan.spec, recorded), state_checks(plan)
    I, H, AFTER, Hp = plan.spec.input_size, plan.H, plan.L * plan.states, plan.Hp

    if y.layout == "C":

        def run(cell, x, state, y, tape, t):
            B = state.h.shape[1]
            if not (fits_2(x, B, I) and fits_2(y, B, H) and fits_state(state)):
                raise ValueError(NO_FIT)
            x_row, x_k = strides_2(x)
            states = address_of(state.scratch)
            core(address_of(cell.packed), address_of(x), x_row, x_k, states, address_of(y), B, states)

        return run
    raise TypingError("y: only C so far")
