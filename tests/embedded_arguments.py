"""Every array that a function of `fastgate.jit` takes, in every wrong shape: what happens, in this process's mode.

Arrays end at a page that may not be touched. A program of its own, as FASTGATE_CHECK=1 is read when fastgate starts.
"""

import numpy as np
from guarded import guarded

import fastgate as fg
import fastgate.jit as fj

I, H, B, T = 3, 2, 2, 3


def right_arguments():
    """function -> its arguments by name, all of them right, arrays full of ones."""
    layer, linear = fg.RNN(I, H, num_layers=2, seed=0), fg.Linear(I, H, seed=0)
    cell, head = layer.jit(), linear.jit()

    def ones(*shape):
        return np.ones(shape, np.float32)

    def states(*names):
        return {name: fj.new_state(cell, B) for name in names}

    tape, gradient = fj.new_tape(cell, T, B), fj.new_gradient(cell)
    return {
        fj.step: {"cell": cell, "x": ones(B, I), **states("state"), "y": ones(B, H), "tape": tape, "t": T - 1},
        fj.forward: {"cell": cell, "x": ones(T, B, I), **states("state"), "y": ones(T, B, H), "tape": tape},
        fj.step_backward: {"cell": cell, "tape": tape, "t": T - 1, "dy": ones(B, H), **states("dstate"),
                           "dx": ones(B, I), "gradient": gradient},
        fj.backward: {"cell": cell, "tape": tape, "dy": ones(T, B, H), **states("dstate"), "dx": ones(T, B, I),
                      "gradient": gradient},
        fj.jvp_step: {"cell": cell, "x": ones(B, I), **states("state"), "y": ones(B, H), "x_tangent": ones(B, I),
                      **states("state_tangent"), "y_tangent": ones(B, H)},
        fj.linear: {"cell": head, "x": ones(B, I), "y": ones(B, H)},
        fj.linear_backward: {"cell": head, "x": ones(B, I), "dy": ones(B, H), "dx": ones(B, I),
                             "gradient": fj.new_gradient(head)},
    }  # fmt: skip


# What says how long or wide all else must be, so that others are wrong where its first axis is.
LEADING = {(fj.forward, "x"), (fj.backward, "dy"), (fj.linear, "x"), (fj.linear_backward, "x")}


def wrong_values(function, name, value):
    """Of one argument: (what it is instead, what a complete message says came)."""
    if isinstance(value, np.ndarray):
        for axis in range((function, name) in LEADING, value.ndim):
            for change in (-1, 1):
                shape = tuple(size + change * (n == axis) for n, size in enumerate(value.shape))
                yield guarded(np.ones(shape, value.dtype), "end"), f"; got {shape}"
    elif isinstance(value, fj.State):
        for layer, batch, came in (
            *([(fg.LSTM(I, H, num_layers=2), B, (2, B, H))] if function is fj.step else []),  # its c
            (fg.RNN(I, H), B, (1, B, H)),
            (fg.RNN(I, H + 1, num_layers=2), B, (2, B, H + 1)),
            *([(fg.RNN(I, H, num_layers=2), B + 1, (2, B + 1, H))] if name == "state_tangent" else []),
        ):
            yield fj.new_state(layer.jit(), batch), f"; got {came}"
    elif isinstance(value, fj.Tape):
        same, other = fg.RNN(I, H, num_layers=2), fg.LSTM(I, H, num_layers=2)
        for layer, steps, batch in ((same, T - 1, B), (same, T, B + 1), (other, T, B)):
            yield fj.new_tape(layer.jit(), steps, batch), "; got "
    elif name == "t":
        for t in (-1, T, 2**63 - 1, -(2**62)):
            yield t, f"; got t = {t}"


def complaints(functions=None):
    """(function, argument, message, came) of all that can be wrong; nothing may have been written."""
    for function, arguments in right_arguments().items():
        if functions and function not in functions:
            continue
        function(*arguments.values())  # so that it is the wrong argument that is complained of
        for name, value in arguments.items():
            for wrong, came in wrong_values(function, name, value):
                changed = arguments | {name: wrong}
                before = [array.copy() for array in arrays_in(changed)]
                try:
                    function(*changed.values())
                except ValueError as error:
                    message = str(error)
                else:
                    message = "nothing was said"
                for array, kept in zip(arrays_in(changed), before, strict=True):
                    np.testing.assert_array_equal(array, kept, err_msg=f"{function} {name}")
                yield function.__name__, name, message, came


def arrays_in(arguments):
    for value in arguments.values():
        yield from value if isinstance(value, tuple) else [np.asarray(value)]


if __name__ == "__main__":
    # With sentences to put together each takes seconds to compile; forward and backward have the others' names.
    for function, name, message, came in complaints([fj.step, fj.step_backward, fj.jvp_step, fj.linear_backward]):
        assert message.startswith((f"{name}: expected", "tape, t: expected")), (function, name, message)
        assert came in message, (function, name, message, came)
