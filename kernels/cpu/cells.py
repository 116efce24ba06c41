"""Every cell as data: how its gates lie in memory, and its compiled drivers.

A row of gates has `places`, each a gate's H units padded to whole vectors. The input's weights fill the first ones and
the recurrent weights those from `recurrent_place` on; the orders name PyTorch's gates (i f g o, r z n) at those places.
"""

from typing import Any, NamedTuple

from fastgate.kernels.cpu import gru, gru_reset_before, lstm, rnn
from fastgate.kernels.cpu.sequences import make_backward, make_forward, make_step


class RecurrentProduct(NamedTuple):
    """One term of the gradient of W_hh: (states or gates at a place).T @ (da at places)."""

    of_gates: bool
    place: int
    da_place: int
    count: int
    total_place: int


class Cell(NamedTuple):
    places: int
    input_order: tuple[int, ...]
    recurrent_order: tuple[int, ...]
    recurrent_place: int
    recurrent_products: tuple[RecurrentProduct, ...]
    has_memory: bool  # a state c beside h
    keeps_gates: bool  # backward needs more than h
    has_single_bias: bool  # there is no bias in the recurrent product
    has_candidate_bias: bool  # that of the candidate acts apart from the input's
    forward: Any
    backward: Any
    step_for: Any  # dtype, that of packed weights -> its step


def _drivers(variant, step_forward, step_backward):
    return {
        "forward": make_forward(step_forward, variant),
        "backward": make_backward(step_backward, variant),
        "step_for": make_step(step_forward, variant),
    }


CELLS = {
    "lstm": Cell(
        places=4,
        input_order=(0, 1, 2, 3),
        recurrent_order=(0, 1, 2, 3),
        recurrent_place=0,
        recurrent_products=(RecurrentProduct(False, 0, 0, 4, 0),),
        has_memory=True,
        keeps_gates=True,
        has_single_bias=False,
        has_candidate_bias=False,
        **_drivers("lstm", lstm.step_forward, lstm.step_backward),
    ),
    "gru": Cell(
        places=4,
        input_order=(2, 0, 1),
        recurrent_order=(0, 1, 2),
        recurrent_place=1,
        recurrent_products=(RecurrentProduct(False, 0, 1, 3, 0),),
        has_memory=False,
        keeps_gates=True,
        has_single_bias=False,
        has_candidate_bias=True,
        **_drivers("gru", gru.step_forward, gru.step_backward),
    ),
    "gru_reset_before": Cell(
        places=4,
        input_order=(2, 0, 1),
        recurrent_order=(0, 1, 2),
        recurrent_place=1,
        recurrent_products=(RecurrentProduct(False, 0, 1, 2, 0), RecurrentProduct(True, 3, 0, 1, 2)),
        has_memory=False,
        keeps_gates=True,
        has_single_bias=True,
        has_candidate_bias=False,
        **_drivers("gru_reset_before", gru_reset_before.step_forward, gru_reset_before.step_backward),
    ),
    **{
        f"rnn_{name}": Cell(
            places=1,
            input_order=(0,),
            recurrent_order=(0,),
            recurrent_place=0,
            recurrent_products=(RecurrentProduct(False, 0, 0, 1, 0),),
            has_memory=False,
            keeps_gates=False,
            has_single_bias=False,
            has_candidate_bias=False,
            **_drivers(f"rnn_{name}", *steps),
        )
        for name, steps in {
            "tanh": (rnn.tanh_step_forward, rnn.tanh_step_backward),
            "relu": (rnn.relu_step_forward, rnn.relu_step_backward),
        }.items()
    },
}
