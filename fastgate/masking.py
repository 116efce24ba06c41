"""From padding in the features themselves to a mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fastgate import _errors
from fastgate._arrays import Array, as_number, quiet
from fastgate._masks import Mask, both
from fastgate._places import as_any_floating, as_numbers, cleared
from fastgate._plain import Plain
from fastgate._tape import PlainTape


class Masking(Plain):
    """Says which steps are padding, those all of whose features equal `value`, and sets them to 0, as Keras does.

    In a model, the recurrent layers behind it skip these steps, and `fit` does not count them. The gradient is 0
    there, and not read.

    Parameters
    ----------
    value : float
        Finite. Compared in float32 if x is that.

    Raises
    ------
    TypeError, ValueError
        If the value is no finite number.

    Examples
    --------
    >>> import numpy as np, fastgate as fg
    >>> model = fg.Sequential(fg.Masking(-1.0), fg.LSTM(3, 5))
    >>> x = np.array([[[1.0, 2.0, 3.0], [-1.0, -1.0, -1.0], [4.0, -1.0, 6.0]]])
    >>> fg.Masking(-1.0).compute_mask(x)
    array([[ True, False,  True]])
    >>> model(x)[0, 1]
    array([0., 0., 0., 0., 0.], dtype=float32)
    """

    def __init__(self, value: float = 0.0) -> None:
        self.value = as_number("value", value)
        if not np.isfinite(self.value):
            raise _errors.wrong_value("value", "a finite number", value)
        self._freeze()

    def __call__(self, x: npt.ArrayLike) -> Array:
        """x, with 0 in the steps that are padding.

        Parameters
        ----------
        x : array_like, (..., features)

        Returns
        -------
        ndarray, as x
            In float32 if x is that, and else in float64.
        """
        own = _features(x)
        return cleared(own, ~self._counting(own))

    def forward(self, x: npt.ArrayLike) -> tuple[Array, PlainTape]:
        """The same, with what `backward` needs.

        Parameters
        ----------
        x : array_like, (..., features)

        Returns
        -------
        y : ndarray, as x
        tape : PlainTape
        """
        own = _features(x)
        counting = self._counting(own)
        return cleared(own, ~counting), self._tape(own, counting)

    def _backward(self, kept: Any, dy: Array) -> Array:
        """0 where there is padding, whatever dy holds there."""
        (counting,) = kept
        return cleared(dy, ~counting)

    def compute_mask(self, x: npt.ArrayLike, mask: Any = None) -> Mask:
        """Which steps count.

        Parameters
        ----------
        x : array_like, (..., features)
        mask : array_like of bool, (...), optional
            Those that counted so far.

        Returns
        -------
        ndarray of bool, (...)
        """
        return both(mask, self._counting(_features(x)))

    @quiet  # a value beyond float32 is its infinity
    def _counting(self, x: Array) -> Mask:
        return np.asarray((np.asarray(x) != self.value).any(axis=-1))  # masks lie on the host, wherever x does

    def __repr__(self) -> str:
        return f"Masking({self.value:g})" if self.value else "Masking()"


def _features(x: Any) -> Array:
    given = as_numbers("x", x)
    if given.ndim == 2 and given.dtype.kind in "iu":  # (batch, time) in all likelihood, and no features
        raise _errors.ids_for_features(given.shape)
    own = as_any_floating("x", given)
    if own.ndim == 0:
        raise _errors.wrong_shape("x", "(..., features)", own.shape)
    return own
