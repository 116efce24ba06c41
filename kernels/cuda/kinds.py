"""Which cell of which options: what a layer needs to know of it, and its equations for a dtype."""

from functools import cache, cached_property

import numpy as np

from fastgate.kernels import equations
from fastgate.kernels.cuda import cells
from fastgate.kernels.nonlinearities import activation

SIGMOID, TANH = ("sigmoid",), ("tanh",)
# What makes the equations and the cell, the usual activations, and which of them a clip acts before.
KINDS = {
    "lstm": (lambda *a: equations.make_lstm(*a)[:2], cells.make_lstm, (SIGMOID, TANH, TANH), (True, True, False)),
    "gru": (lambda *a: equations.make_gru(*a)[4:], cells.make_gru, (SIGMOID, TANH), (True, True)),
    "gru_reset_before": (
        lambda *a: equations.make_gru(*a)[:4],
        cells.make_gru_reset_before,
        (SIGMOID, TANH),
        (True, True),
    ),
    "rnn": (lambda *a: equations.make_rnn(*a), cells.make_rnn, (TANH,), (True,)),
}


class Kind:
    """A cell with its options, under the names that the CPU's `Cell` has."""

    peephole_gates = ()
    is_masked = is_projected = False

    def __init__(self, kind, activations, clip, precision):
        make_equations, self._make, usual, clipped = KINDS[kind]
        given = activations or usual
        pairs = [
            activation(name, tuple(parameters), clip if is_clipped else None)
            for (name, *parameters), is_clipped in zip(given, clipped, strict=True)
        ]
        self.name, self.precision = kind, precision
        self.is_usual = clip is None and given == usual  # so that what is made for these equations alone fits
        self._equations = make_equations(*pairs)

    def of(self, dtype):
        """The `cells.Cell`, the same object for the same dtype."""
        return self._float64 if np.dtype(dtype).itemsize == 8 else self._float32

    @property
    def precision_of_gradients(self):
        """Of products that have a gradient as a factor: many of them are too small, and some too large, for float16."""
        return "bfloat16" if self.precision == "float16" else self.precision

    @cached_property
    def _float32(self):
        return self._make(np.float32, *self._equations)

    @cached_property
    def _float64(self):
        return self._make(np.float64, *self._equations)

    @property
    def gates(self):
        return tuple(range(self._float32.gates))

    @property
    def gradients(self):
        return self._float32.gradients

    @property
    def has_memory(self):
        return self._float32.memory

    @property
    def has_candidate_bias(self):
        """Whether that of the candidate acts apart from the input's."""
        return self.name == "gru"

    @property
    def has_single_bias(self):
        """Whether there is no bias in the recurrent product."""
        return self.name == "gru_reset_before"


def cell(kind, activations=None, clip=None, *, precision="highest", **options):
    """The `Kind`; a NotImplementedError names an option that is not computed here."""
    if kind == "gru_reset_carry":
        raise NotImplementedError("reset_carry")
    for name, given in options.items():
        if given:
            raise NotImplementedError({"projected": "proj_size", "masked": "recurrent_dropout"}.get(name, name))
    return _made(kind, activations, clip, precision)


@cache
def _made(kind, activations, clip, precision):
    return Kind(kind, activations, clip, precision)
