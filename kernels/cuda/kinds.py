"""Which cell of which options: what a layer needs to know of it, and its equations for a dtype."""

from functools import cache, cached_property, partial

import numpy as np

from fastgate.kernels import equations
from fastgate.kernels.cuda import cells
from fastgate.kernels.nonlinearities import activation

SIGMOID, TANH = ("sigmoid",), ("tanh",)


def _lstm(pairs, *, coupled=False, peepholes=False):
    make = equations.make_coupled_lstm if coupled else equations.make_lstm
    own = make(*pairs)[2:] if peepholes else make(*pairs)[:2]
    return partial(
        cells.make_coupled_lstm if coupled else cells.make_lstm, cell=own[0], cell_vjp=own[1], peepholes=peepholes
    )


def _gru(pairs):
    *_, own, own_vjp = equations.make_gru(*pairs)
    return partial(cells.make_gru, cell=own, cell_vjp=own_vjp)


def _gru_reset_before(pairs, *, carries_reset):
    reset, reset_vjp, update, update_vjp, *_ = equations.make_gru(*pairs)
    functions = {"reset_step": reset, "reset_vjp": reset_vjp, "update": update, "update_vjp": update_vjp}
    return partial(cells.make_gru_reset_before, **functions, carries_reset=carries_reset)


def _rnn(pairs):
    own, own_vjp = equations.make_rnn(*pairs)
    return partial(cells.make_rnn, cell=own, cell_vjp=own_vjp)


# What makes the maker of a cell from its activations, the usual ones, and which of them a clip acts before.
KINDS = {
    "lstm": (_lstm, (SIGMOID, TANH, TANH), (True, True, False)),
    "gru": (_gru, (SIGMOID, TANH), (True, True)),
    "gru_reset_before": (partial(_gru_reset_before, carries_reset=False), (SIGMOID, TANH), (True, True)),
    "gru_reset_carry": (partial(_gru_reset_before, carries_reset=True), (SIGMOID, TANH), (True, True)),
    "rnn": (_rnn, (TANH,), (True,)),
}


class Kind:
    """A cell with its options, under the names that the CPU's `Cell` has."""

    def __init__(self, kind, activations, clip, precision, projected, masked, options):
        make_maker, usual, clipped = KINDS[kind]
        pairs = [
            activation(name, tuple(parameters), clip if is_clipped else None)
            for (name, *parameters), is_clipped in zip(activations or usual, clipped, strict=True)
        ]
        self.name, self.precision = kind, precision
        self.is_projected, self.is_masked = projected, masked
        self._make = make_maker(pairs, **dict.fromkeys(options, True))

    def of(self, dtype):
        """The `cells.Cell`, the same object for the same dtype."""
        return self._float64 if np.dtype(dtype).itemsize == 8 else self._float32

    @property
    def precision_of_gradients(self):
        """Of products that have a gradient as a factor: many of them are too small, and some too large, for float16."""
        return "bfloat16" if self.precision == "float16" else self.precision

    @cached_property
    def _float32(self):
        return self._made(np.float32)

    @cached_property
    def _float64(self):
        return self._made(np.float64)

    def _made(self, real):
        made = self._make(real)._replace(is_masked=self.is_masked)
        return cells.projected(made) if self.is_projected else made

    @property
    def gates(self):
        return tuple(range(self._float32.gates))

    @property
    def gradients(self):
        return self._float32.gradients

    @property
    def peephole_gates(self):
        return self._float32.peepholes

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
        return self._float32.reset is not None


def cell(
    kind, activations=None, clip=None, *, precision="highest", coupled=False, peepholes=False, projected=False,
    masked=False,
):  # fmt: skip
    """The `Kind`."""
    options = (name for name, is_given in (("coupled", coupled), ("peepholes", peepholes)) if is_given)
    return _kind(kind, activations, clip, precision, projected, masked, tuple(options))


_kind = cache(Kind)
