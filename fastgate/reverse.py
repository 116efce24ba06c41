"""Sequences run backwards."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fastgate._arrays import Array, as_flag
from fastgate._masks import Mask, as_mask, leading_shape, with_steps
from fastgate._plain import Plain
from fastgate._tape import PlainTape


class Reverse(Plain):
    """The steps in reversed order, those of the whole padded axis: a layer behind it runs as Keras' `go_backwards`.

    In a model the mask is reversed with them; so are lengths, which thereby become a mask: padding is now in front.
    Resets stay between the same two steps.

    Parameters
    ----------
    batch_first : bool
        Which axis of x (B, T, ...) or (T, B, ...) is time. Unbatched (T, features) it is the first.

    Raises
    ------
    ValueError
        If the option is no boolean.
    """

    def __init__(self, batch_first: bool = True) -> None:
        self.batch_first = as_flag("batch_first", batch_first)
        self._freeze()

    def __call__(self, x: npt.ArrayLike) -> Array:
        """Reverse the steps.

        Parameters
        ----------
        x : array_like, (B, T, ...), or (T, B, ...) with ``batch_first=False``, or unbatched (T, features)

        Returns
        -------
        ndarray, as x
            A fresh array, in float32 if x is that, and else in float64.
        """
        own, axis = with_steps(x, self.batch_first)
        return _reversed(own, axis)

    def forward(self, x: npt.ArrayLike) -> tuple[Array, PlainTape]:
        """The same, with what `backward` needs.

        Parameters
        ----------
        x : array_like, as in calling the layer

        Returns
        -------
        y : ndarray, as x
        tape : PlainTape
        """
        own, axis = with_steps(x, self.batch_first)
        return _reversed(own, axis), self._tape(own, axis)

    def _backward(self, kept: Any, dy: Array) -> Array:
        (axis,) = kept
        return _reversed(dy, axis)

    def compute_mask(self, x: npt.ArrayLike, mask: Any = None) -> Mask | None:
        """The mask, reversed as well.

        Parameters
        ----------
        x : array_like, as in calling the layer
        mask : array_like of bool, (B, T), (T, B) or (T,), optional

        Returns
        -------
        ndarray of bool, as the mask; or None
        """
        own, axis = with_steps(x, self.batch_first)
        return None if mask is None else _reversed(as_mask(mask, leading_shape(own)), axis)

    def compute_reset(self, reset: npt.ArrayLike) -> Mask:
        """Where states are reset among the reversed steps: between the same two as before.

        Parameters
        ----------
        reset : array_like of bool, (B, T), (T, B) or (T,)

        Returns
        -------
        ndarray of bool, as reset
            False at the first step: what was reset there had no step before it, and has none behind it now.
        """
        own = np.asarray(reset)
        axis = int(self.batch_first and own.ndim == 2)
        turned = np.roll(np.flip(own, axis), 1, axis)
        turned[(slice(None),) * axis + (slice(0, 1),)] = False
        return turned

    def __repr__(self) -> str:
        return f"Reverse({'' if self.batch_first else 'batch_first=False'})"


def _reversed(array: Array, axis: int) -> Array:
    return np.flip(array, axis).copy()
