"""Every cell as data: how its gates lie in memory, and its compiled drivers.

Gates are numbered as in PyTorch (i f g o, r z n). Forward, the pre-activations of a row lie in groups (`layout.py`):
the input's product fills the first groups, the recurrent one those from `recurrent_group` on. Backward, a row of da has
`da_places`: those of the input's gates first, in the order of `input_gates`.

The usual cells are in `CELLS`. `cell` makes others, with further options, which compile kernels of their own.
"""

from functools import cache, partial
from typing import Any, NamedTuple

from fastgate.kernels import equations
from fastgate.kernels.cpu import gru, gru_reset_before, jacobian, lstm, rnn
from fastgate.kernels.cpu.callback import make_callbacks
from fastgate.kernels.cpu.sequences import make_backward, make_forward, make_step
from fastgate.kernels.cpu.tangent import make_tangent
from fastgate.kernels.nonlinearities import activation


class Place(NamedTuple):
    """What a gate's columns of da are the gradient of: rows of W_ih, of W_hh, or of both."""

    input_gate: int = -1
    recurrent_gate: int = -1
    operand_place: int = -1  # the operand of W_hh is not h but what the tape's gates keep here
    has_bias: bool = True  # in the recurrent product


class Cell(NamedTuple):
    group_sizes: tuple[int, ...]
    input_groups: tuple[tuple[int, ...], ...]
    recurrent_groups: tuple[tuple[int, ...], ...]
    recurrent_group: int
    gates_kept: int  # by the tape, beside the states
    da_places: tuple[Place, ...]
    has_memory: bool  # a state c beside h
    has_single_bias: bool  # there is no bias in the recurrent product
    has_candidate_bias: bool  # that of the candidate acts apart from the input's
    has_slices: bool  # a step can be shared by workers that each have some of the units
    forward: Any
    backward: Any
    step_for: Any  # dtype, that of packed weights -> its step
    callbacks_for: Any  # the same -> its step for C
    peephole_gates: tuple[int, ...] = ()  # those that see c, the last of them the new one
    is_projected: bool = False  # h has fewer units than c
    is_masked: bool = False  # what W_hh multiplies, see `recurrent_dropout.py`
    equations: tuple[Any, ...] = ()  # one step of a unit: the functions of `equations.py`, one for each phase
    make_tangent: Any = None  # see `tangent`
    variant: str = ""  # tells apart kernels made of it

    @property
    def input_gates(self):
        return sum(self.input_groups, ())

    @property
    def recurrent_gates(self):
        return sum(self.recurrent_groups, ())

    @property
    def tangent(self):
        """What computes forward-mode derivatives; its kernels are compiled on first use."""
        return _tangent(self)


def _lstm(variant, activations, *, coupled=False, peepholes=False, projected=False, masked=False):
    make = equations.make_coupled_lstm if coupled else equations.make_lstm
    pair = make(*activations)[2:] if peepholes else make(*activations)[:2]
    options = {"coupled": coupled, "peepholes": peepholes, "projected": projected, "masked": masked}
    gates = tuple(range(3 if coupled else 4))
    seeing = (gates[:-2] + gates[-1:]) if peepholes else ()
    return Cell(
        group_sizes=(len(gates), *([len(seeing)] if peepholes else []), *([1] if projected else [])),
        input_groups=(gates,),
        recurrent_groups=(gates,),
        recurrent_group=0,
        gates_kept=len(gates) + projected,
        da_places=tuple(Place(gate, gate) for gate in gates),
        has_memory=True,
        has_single_bias=False,
        has_candidate_bias=False,
        has_slices=not projected,
        peephole_gates=seeing,
        is_projected=projected,
        equations=pair[:1],
        make_tangent=lambda cell: make_tangent(
            cell,
            jacobian.of_lstm(pair[1], variant, coupled=coupled, peepholes=peepholes, projected=projected),
            variant,
        ),
        **_drivers(variant, lstm.make_steps(*pair, variant, **options), 0, len(gates), masked),
    )


def _gru(variant, activations, *, masked=False):
    *_, gru_cell, gru_cell_vjp = equations.make_gru(*activations)
    return Cell(
        group_sizes=(1, 2, 1),
        input_groups=((2,), (0, 1)),
        recurrent_groups=((0, 1), (2,)),
        recurrent_group=1,
        gates_kept=4,
        da_places=(Place(2), Place(0, 0), Place(1, 1), Place(recurrent_gate=2)),
        has_memory=False,
        has_single_bias=False,
        has_candidate_bias=True,
        has_slices=True,
        equations=(gru_cell,),
        make_tangent=lambda cell: make_tangent(cell, jacobian.of_gru(gru_cell_vjp, variant), variant),
        **_drivers(variant, gru.make_steps(gru_cell, gru_cell_vjp, variant, masked=masked), 1, 3, masked),
    )


def _gru_reset_before(variant, activations, *, reset_carry, masked=False):
    own, options = equations.make_gru(*activations)[:4], {"reset_carry": reset_carry, "masked": masked}
    return Cell(
        group_sizes=(1, 2, 1),
        input_groups=((2,), (0, 1)),
        recurrent_groups=((0, 1), (2,)),
        recurrent_group=1,
        gates_kept=4,
        da_places=(
            Place(2, 2, operand_place=3, has_bias=False),
            Place(0, 0, has_bias=False),
            Place(1, 1, has_bias=False),
        ),
        has_memory=False,
        has_single_bias=True,
        has_candidate_bias=False,
        has_slices=False,
        equations=own[::2],
        make_tangent=lambda cell: make_tangent(
            cell,
            jacobian.of_gru_reset_before(own[1], own[3], variant, reset_carry=reset_carry),
            variant,
            reset_carry=reset_carry,
        ),
        **_drivers(variant, gru_reset_before.make_steps(*own, variant, **options), 1, 2, masked),
    )


def _rnn(variant, activations, *, masked=False):
    pair = equations.make_rnn(*activations)
    return Cell(
        group_sizes=(1,),
        input_groups=((0,),),
        recurrent_groups=((0,),),
        recurrent_group=0,
        gates_kept=0,
        da_places=(Place(0, 0),),
        has_memory=False,
        has_single_bias=False,
        has_candidate_bias=False,
        has_slices=True,
        equations=pair[:1],
        make_tangent=lambda cell: make_tangent(cell, jacobian.of_rnn(pair[1], variant), variant),
        **_drivers(variant, rnn.make_steps(*pair, variant, masked=masked), 0, 1, masked),
    )


def _with_masks(plain):
    """What differs in a masked cell but its drivers: each gate is a group, and its operand is kept behind all gates."""
    groups = max(len(plain.input_groups), plain.recurrent_group + len(plain.recurrent_groups))  # that are of gates
    places = tuple(
        place if place.recurrent_gate < 0 else place._replace(operand_place=plain.gates_kept + place.recurrent_gate)
        for place in plain.da_places
    )
    return plain._replace(
        group_sizes=(1,) * sum(plain.group_sizes[:groups]) + plain.group_sizes[groups:],
        input_groups=tuple((gate,) for gate in plain.input_gates),
        recurrent_groups=tuple((gate,) for gate in plain.recurrent_gates),
        gates_kept=plain.gates_kept + len(plain.recurrent_gates),
        da_places=places,
        has_slices=False,
        is_masked=True,
    )


@cache
def _tangent(cell):
    return cell.make_tangent(cell)


def _drivers(variant, steps, first_place, places, masked):
    step_forward, step_backward = steps
    return {
        "variant": variant,
        "forward": make_forward(step_forward, variant),
        "backward": make_backward(step_backward, first_place, places, variant, masked),
        "step_for": make_step(step_forward, variant),
        "callbacks_for": make_callbacks(step_forward, variant),
    }


SIGMOID, TANH, RELU = ("sigmoid",), ("tanh",), ("relu",)
# What makes a kind of cell, and its usual activations; a clip acts before those that say so.
KINDS = {
    "lstm": (_lstm, (SIGMOID, TANH, TANH), (True, True, False)),
    "gru": (_gru, (SIGMOID, TANH), (True, True)),
    "gru_reset_before": (partial(_gru_reset_before, reset_carry=False), (SIGMOID, TANH), (True, True)),
    "gru_reset_carry": (partial(_gru_reset_before, reset_carry=True), (SIGMOID, TANH), (True, True)),
    "rnn": (_rnn, (TANH,), (True,)),
}


def cell(kind, activations=None, clip=None, *, coupled=False, peepholes=False, projected=False, masked=False):
    """The `Cell` of a kind, of activations (each a name and its parameters) of what was clipped to [-clip, clip].

    Only an LSTM has the other options, but for `masked`: that is recurrent dropout, for training alone.
    """
    options = {"coupled": coupled, "peepholes": peepholes, "projected": projected, "masked": masked}
    given = (name for name, is_given in options.items() if is_given)
    return _made(kind, activations or KINDS[kind][1], clip, *given)


@cache
def _made(kind, activations, clip, *options):
    make, usual, clipped = KINDS[kind]
    # It stands in the key under which compiled kernels are kept.
    is_usual = activations == usual and clip is None and not options
    variant = kind if is_usual else f"{kind} {activations} clip={clip} {' '.join(options)}"
    pairs = [
        activation(name, tuple(parameters), clip if is_clipped else None)
        for (name, *parameters), is_clipped in zip(activations, clipped, strict=True)
    ]
    made = make(variant, pairs, **dict.fromkeys(options, True))
    return _with_masks(made) if "masked" in options else made


CELLS = {
    "lstm": cell("lstm"),
    "gru": cell("gru"),
    "gru_reset_before": cell("gru_reset_before"),
    "gru_reset_carry": cell("gru_reset_carry"),
    "rnn_tanh": cell("rnn"),
    "rnn_relu": cell("rnn", (RELU,)),
}
