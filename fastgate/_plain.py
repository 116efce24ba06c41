"""What layers without parameters have in common: the way back."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from fastgate import _errors
from fastgate._arrays import Array, empty_beside
from fastgate._frozen import Frozen
from fastgate._params import NamedArrays
from fastgate._places import as_floating_beside
from fastgate._tape import LayerGradients, PlainTape


class Plain(Frozen):
    """Base of the layers whose `forward` leaves a `PlainTape`: they say in `_backward` what becomes of a gradient.

    They compute where their input lies, and need no device of their own.
    """

    def _tape(self, y: Any, *kept: Any) -> PlainTape:
        """With what `_backward` needs."""
        return PlainTape(self, y.shape, kept, empty_beside(y, (0,)))

    def backward(self, tape: PlainTape, dy: npt.ArrayLike) -> LayerGradients:
        """From the gradient in y to that in x.

        Parameters
        ----------
        tape : PlainTape
            From `forward` of this layer.
        dy : array_like, the shape of y

        Returns
        -------
        LayerGradients
            ``x``, a fresh array; ``params`` is empty.

        Raises
        ------
        TypeError, ValueError
            If dy is not shaped as y, or the tape is of another layer.
        """
        if not isinstance(tape, PlainTape):
            raise _errors.wrong_type("tape", "the tape that forward returned", type(tape).__name__)
        if tape.owner is not self:
            raise _errors.foreign_tape(self)
        own = as_floating_beside("dy", dy, tape.like)
        if own.shape != tape.y_shape:
            raise _errors.wrong_shape("dy", f"that of y, {tape.y_shape}", own.shape)
        dx = self._backward(tape.kept, own)
        return LayerGradients(dx, NamedArrays(tape.like, {}))

    def _backward(self, kept: Any, dy: Array) -> Array:
        """dy, shaped as y and in its dtype -> dx, a fresh array; `kept` is that of the tape."""
        raise NotImplementedError
