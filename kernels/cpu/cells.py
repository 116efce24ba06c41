"""Every cell as data: how its gates lie in memory, and its compiled drivers.

Gates are numbered as in PyTorch (i f g o, r z n). Forward, the pre-activations of a row lie in groups (`layout.py`):
the input's product fills the first groups, the recurrent one those from `recurrent_group` on. Backward, a row of da has
`da_places`: those of the input's gates first, in the order of `input_gates`.
"""

from typing import Any, NamedTuple

from fastgate.kernels.cpu import gru, gru_reset_before, lstm, rnn
from fastgate.kernels.cpu.sequences import make_backward, make_forward, make_step


class Place(NamedTuple):
    """What a gate's columns of da are the gradient of: rows of W_ih, of W_hh, or of both."""

    input_gate: int = -1
    recurrent_gate: int = -1
    reset_place: int = 0  # the operand of W_hh is not h but what the tape's gates keep here
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

    @property
    def input_gates(self):
        return sum(self.input_groups, ())

    @property
    def recurrent_gates(self):
        return sum(self.recurrent_groups, ())


def _drivers(variant, step_forward, step_backward, first_place, places):
    return {
        "forward": make_forward(step_forward, variant),
        "backward": make_backward(step_backward, first_place, places, variant),
        "step_for": make_step(step_forward, variant),
    }


CELLS = {
    "lstm": Cell(
        group_sizes=(4,),
        input_groups=((0, 1, 2, 3),),
        recurrent_groups=((0, 1, 2, 3),),
        recurrent_group=0,
        gates_kept=4,
        da_places=tuple(Place(gate, gate) for gate in range(4)),
        has_memory=True,
        has_single_bias=False,
        has_candidate_bias=False,
        has_slices=True,
        **_drivers("lstm", lstm.step_forward, lstm.step_backward, 0, 4),
    ),
    "gru": Cell(
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
        **_drivers("gru", gru.step_forward, gru.step_backward, 1, 3),
    ),
    **{
        name: Cell(
            group_sizes=(1, 2, 1),
            input_groups=((2,), (0, 1)),
            recurrent_groups=((0, 1), (2,)),
            recurrent_group=1,
            gates_kept=4,
            da_places=(
                Place(2, 2, reset_place=3, has_bias=False),
                Place(0, 0, has_bias=False),
                Place(1, 1, has_bias=False),
            ),
            has_memory=False,
            has_single_bias=True,
            has_candidate_bias=False,
            has_slices=False,
            **_drivers(name, *steps, 1, 2),
        )
        for name, steps in {
            "gru_reset_before": (gru_reset_before.step_forward, gru_reset_before.step_backward),
            "gru_reset_carry": (gru_reset_before.carry_step_forward, gru_reset_before.carry_step_backward),
        }.items()
    },
    **{
        f"rnn_{name}": Cell(
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
            **_drivers(f"rnn_{name}", *steps, 0, 1),
        )
        for name, steps in {
            "tanh": (rnn.tanh_step_forward, rnn.tanh_step_backward),
            "relu": (rnn.relu_step_forward, rnn.relu_step_backward),
        }.items()
    },
}
