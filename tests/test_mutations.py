"""The classic slips of back-propagation through time, each put into the source: a gradient check must see every one.

A slip is a replacement of text that must be found exactly once, so that this file speaks up when the code moves. The
changed source is executed as a module of its own; modules that use it are executed anew, all others stay as they are,
and so only what a slip touches is compiled again.
"""

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest
from cases import draw, draw_states, join, make, split

from fastgate.kernels import cpu

KERNELS = Path(cpu.__file__).resolve().parents[1]
B, T, I, H = 2, 3, 2, 2
# Every file in which there may be a slip, after those it imports.
FILES = [
    "equations.py",
    "cpu/lstm.py",
    "cpu/gru.py",
    "cpu/gru_reset_before.py",
    "cpu/sequences.py",
    "cpu/cells.py",
    "cpu/gradients.py",
    "cpu/weight_gradients.py",
]


CELLS = ("lstm", "gru", "gru_reset_before", "gru_reset_carry")


class Slip(NamedTuple):
    cell: str
    file: str
    old: str
    new: str
    sees: str  # a gradient that it makes wrong


SLIPS = {
    "step 0 is left out": Slip(
        "lstm",
        "cpu/sequences.py",
        "if step >= 0:",
        "if step > 0:",
        "x",
    ),
    "dW_hh is taken from the state after the step": Slip(
        "lstm",
        "cpu/weight_gradients.py",
        "schedule.canonical_before,",
        "schedule.canonical + schedule.order.size,",
        "weight_hh_l0",
    ),
    "dc is not carried back": Slip(
        "lstm", "cpu/lstm.py", "store(dc, first + n, own, dc_prev)", "store(dc, first + n, own, dc_prev * 0.0)", "c"
    ),
    "the slope of f is taken from i": Slip(
        "lstm", "equations.py", "da_f = df * gate_slope(f)", "da_f = df * gate_slope(i)", "weight_ih_l0"
    ),
    "the gradient of the bias is forgotten": Slip(
        "lstm",
        "cpu/gradients.py",
        "db_hh[0, gate_hh * H + u] = db_ih[0, gate_ih * H + u]",
        "pass",
        "bias_hh_l0",
    ),
    "dh of the final state is ignored": Slip(
        "lstm",
        "cpu/sequences.py",
        "enter_state(dh_end, state, order, first, last, unit, h_units, dh)",
        "dh[first:last] = 0.0",
        "h",
    ),
    "dc of the final state is ignored": Slip(
        "lstm",
        "cpu/sequences.py",
        "enter_state(dc_end, state, order, first, last, unit, units, dc)",
        "dc[first:last] = 0.0",
        "c",
    ),
    "the slope of tanh(c) is taken from c": Slip(
        "lstm", "equations.py", "dh * o * output_slope(shown)", "dh * o * output_slope(c)", "c"
    ),
    "dh is not carried back through W_hh": Slip(
        "lstm",
        "cpu/sequences.py",
        "else:  # what the step after this one sends back",
        "elif turn > 9:  # what the step after this one sends back",
        "h",
    ),
    "what z keeps of the GRU's state is not carried back": Slip(
        "gru", "cpu/gru.py", "store(dh, first + m, own, dh_prev)", "store(dh, first + m, own, dh_prev * 0.0)", "h"
    ),
    "what reaches h through r is lost where the reset gate acts before": Slip(
        "gru_reset_before",
        "equations.py",
        "dh_prev = dh_reset * r",
        "dh_prev = dh_reset * 0.0",
        "h",
    ),
    "what z keeps of the reset state is not carried back": Slip(
        "gru_reset_carry",
        "cpu/gru_reset_before.py",
        "d_carried if joins else zero_of(da))",
        "zero_of(da))",
        "h",
    ),
    "the GRU's gates r and z change places in dW_hh": Slip(
        "gru",
        "cpu/weight_gradients.py",
        "            place.recurrent_gate,\n",
        "            [1, 0, 2, -1][place.recurrent_gate],\n",
        "weight_hh_l0",
    ),
}


def errors_of_gradients(layer):
    """name -> largest error of a gradient against central differences, relative to its largest entry.

    Random gradients of y and of the final state, which is where half of the slips would hide.
    """
    rng = np.random.default_rng(5)
    x, start = draw(rng, layer, B, T)
    dy, dstate = rng.standard_normal((B, T, H)), draw_states(rng, layer, B)
    flat = layer.params.flat.copy()

    def loss():
        y, end = layer(x, join(start))
        return np.sum(y * dy) + sum(np.sum(a * b) for a, b in zip(split(end), dstate, strict=True))

    def difference(array, write=lambda: None, step=1e-5):
        found = np.empty(array.size)
        for n in range(array.size):
            kept = array.reshape(-1)[n]
            ends = []
            for moved in (kept + step, kept - step):
                array.reshape(-1)[n] = moved
                write()
                ends.append(loss())
            array.reshape(-1)[n] = kept
            found[n] = (ends[0] - ends[1]) / (2 * step)
        write()
        return found.reshape(array.shape)

    expected = {"x": difference(x)} | dict(zip("hc", map(difference, start), strict=False))
    vector = difference(flat, lambda: setattr(layer.params, "flat", flat))
    _, _, tape = layer.forward(x, join(start))
    gradients = layer.backward(tape, dy, join(dstate))
    found = {"x": gradients.x} | dict(zip("hc", split(gradients.state), strict=False)) | dict(gradients.params)
    at = 0
    for name, array in gradients.params.items():
        expected[name] = vector[at : at + array.size].reshape(array.shape)
        at += array.size
    return {name: np.abs(found[name] - expected[name]).max() / np.abs(expected[name]).max() for name in found}


def execute(file, change=lambda source: source):
    """The file as a new module under its own name, its source changed."""
    name = "fastgate.kernels." + file.removesuffix(".py").replace("/", ".")
    module = ModuleType(name)
    # No such file: Numba then keeps nothing on disk.
    exec(compile(change((KERNELS / file).read_text(encoding="utf-8")), f"<changed {file}>", "exec"), vars(module))
    return name, module


def with_slip(slip, layer, monkeypatch):
    """Let `layer` run on kernels with the slip in them."""

    def change(source):
        assert source.count(slip.old) == 1, f"{slip.file} has changed: find the place of this slip anew"
        return source.replace(slip.old, slip.new)

    for file in FILES[FILES.index(slip.file) :]:
        name, module = execute(file, change) if file == slip.file else execute(file)
        monkeypatch.setitem(sys.modules, name, module)
        package, _, own = name.rpartition(".")
        monkeypatch.setattr(sys.modules[package], own, module)
    if slip.file in ("cpu/gradients.py", "cpu/weight_gradients.py"):
        monkeypatch.setattr(cpu, "Backward", execute("cpu/direction.py")[1].Backward)
    else:
        cells = importlib.import_module("fastgate.kernels.cpu.cells").CELLS
        layer._cell = layer._cell._replace(backward=cells[slip.cell].backward)


@pytest.mark.parametrize("cell", CELLS)
def test_without_a_slip_every_gradient_is_right(cell):
    errors = errors_of_gradients(make(cell, I, H))
    assert max(errors.values()) < 1e-8, errors


@pytest.mark.parametrize("name", SLIPS)
def test_gradient_check_sees(name, monkeypatch):
    slip = SLIPS[name]
    layer = make(slip.cell, I, H)
    with_slip(slip, layer, monkeypatch)
    errors = errors_of_gradients(layer)
    assert not errors[slip.sees] < 1e-3, errors  # NaN is seen too


def test_executing_the_sources_anew_changes_nothing_by_itself(monkeypatch):
    """What turns the tests above red is the slip, not the way it is put in."""
    layer = make("lstm", I, H)
    with_slip(Slip("lstm", "equations.py", "da_f = df", "da_f = df", ""), layer, monkeypatch)
    errors = errors_of_gradients(layer)
    assert max(errors.values()) < 1e-8, errors
