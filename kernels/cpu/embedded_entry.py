"""The way into a call that has a state: its arguments compared with the cell, before anything is read or written."""

from fastgate.kernels.cpu.embedded import CHECKED, State, Tape
from fastgate.kernels.cpu.embedded_shapes import (
    is_none,
    last_axis_check,
    require_array,
    require_tuple,
    shape_check,
    thin,
)
from fastgate.kernels.jit import jit


def make_entry(plan, axes, read, state, written, tape=None):
    """entry(read, read_shape, state, written, written_shape, tape, t, count) -> strides of both arrays

    Given are types: (name, type, size of the last axis) of an array that is read and of one that is written, (name,
    type) of a state, and a tape of which the steps t to t + count - 1 are wanted.
    """
    words = "batch of the state" if axes == 2 else "steps, batch of the state"
    for (name, kind, _), changes in ((read, False), (written, True)):
        require_array(name, kind, plan.spec.dtype, axes, written=changes)
    check_read, check_written = (last_axis_check(name, words, size) for name, _, size in (read, written))
    check_state, check_tape = make_state_check(plan, *state), make_tape_check(plan, tape)

    @thin
    def entry(read, read_shape, state, written, written_shape, tape, t, count):
        B = read_shape[-2]
        check_state(state, B)
        read_strides, written_strides = check_read(read, read_shape), check_written(written, written_shape)
        check_tape(tape, t, count, B)
        return read_strides, written_strides

    return entry


def make_state_check(plan, name, kind):
    require_tuple(name, kind, State, plan.spec.dtype)
    L, H, SIZE, C = plan.L, plan.H, plan.state_rows * plan.Hp, plan.H if plan.has_memory else 0
    words = f"{name}: expected what new_state of this cell and batch returned, with"
    check_h, check_c = (shape_check(f"{words} {part} ({L}, batch, {units})") for part, units in (("h", H), ("c", C)))
    check_scratch = shape_check(f"{words} {SIZE} * batch in scratch")

    @thin
    def check(state, B):
        check_h(state.h, (L, B, H))
        check_c(state.c, (L, B, C))
        check_scratch(state.scratch, (B * SIZE,))

    return check


def make_tape_check(plan, tape):
    if is_none(tape):
        return thin(lambda tape, t, count, B: None)
    require_tuple("tape", tape, Tape, plan.spec.dtype)
    SIZE, SCRATCH = plan.record_at(plan.L), plan.backward_rows
    words = "tape: expected what new_tape of this cell and batch returned, with"
    check_records = shape_check(f"{words} {SIZE} * batch in each of records")
    check_scratch = shape_check(f"{words} {SCRATCH} in scratch")

    @thin
    def check(tape, t, count, B):
        steps = tape.records.shape[0]
        check_records(tape.records, (steps, B * SIZE))
        check_scratch(tape.scratch, (SCRATCH,))
        if t < 0 or t > steps - count:
            if CHECKED:
                wrong_steps(t, count, steps)
            raise ValueError("tape, t: expected 0 <= t < steps of the tape")

    return check


@jit(allocates=True)
def wrong_steps(t, count, steps):
    """The steps t to t + count - 1 of records (T,R) with T = steps -> ValueError"""
    last = t + count - 1
    wanted = str(t) if count == 1 else str(t) + " to " + str(last)
    raise ValueError("tape, t: expected 0 <= t < " + str(steps) + ", the steps of the tape; got t = " + wanted)
