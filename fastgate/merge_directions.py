"""Both directions of a recurrent layer, merged into one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastgate import _errors
from fastgate._arrays import Array, as_choice, quiet
from fastgate._places import as_any_floating
from fastgate._plain import Plain
from fastgate._tape import PlainTape


class Mode(NamedTuple):
    """y of both halves, and their gradients of (halves, dy)."""

    forward: Callable[[Array, Array], Array]
    backward: Callable[[Array, Array, Array], tuple[Array, Array]]


MODES = {
    "sum": Mode(lambda a, b: a + b, lambda a, b, dy: (dy, dy)),
    "mul": Mode(lambda a, b: a * b, lambda a, b, dy: (dy * b, dy * a)),
    "ave": Mode(lambda a, b: (a + b) / 2, lambda a, b, dy: (dy / 2, dy / 2)),
}


class MergeDirections(Plain):
    """The halves of the last axis, forward and reverse of a bidirectional layer, merged as Keras' `Bidirectional` does.

    Without it both stand side by side, which Keras calls "concat".

    Parameters
    ----------
    mode : "sum", "mul" or "ave"
        Sum, product, or mean.

    Raises
    ------
    ValueError
        If there is no such mode.

    Examples
    --------
    >>> import numpy as np, fastgate as fg
    >>> model = fg.Sequential(fg.GRU(3, 5, bidirectional=True), fg.MergeDirections("sum"), fg.Linear(5, 2))
    >>> model(np.zeros((4, 7, 3))).shape
    (4, 7, 2)
    """

    def __init__(self, mode: str) -> None:
        self.mode = as_choice("mode", mode, tuple(MODES))
        self._freeze()

    @quiet
    def __call__(self, x: npt.ArrayLike) -> Array:
        """Merge both halves.

        Parameters
        ----------
        x : array_like, (..., 2 * features)

        Returns
        -------
        ndarray, (..., features)
            In float32 if x is that, and else in float64.

        Raises
        ------
        TypeError, ValueError
            If the last axis has no halves.
        """
        return MODES[self.mode].forward(*_halves(as_any_floating("x", x)))

    def forward(self, x: npt.ArrayLike) -> tuple[Array, PlainTape]:
        """The same, with what `backward` needs.

        Parameters
        ----------
        x : array_like, (..., 2 * features)

        Returns
        -------
        y : ndarray, (..., features)
        tape : PlainTape
            For "mul" with a copy of x.

        Raises
        ------
        TypeError, ValueError
            If the last axis has no halves.
        """
        own = as_any_floating("x", x)
        y = self(own)
        kept = own.copy() if self.mode == "mul" else None
        return y, self._tape(y, kept)

    @quiet
    def _backward(self, kept: Any, dy: Array) -> Array:
        (x,) = kept
        halves: tuple[Any, Any] = (None, None) if x is None else _halves(x)
        return np.concatenate(MODES[self.mode].backward(*halves, dy), axis=-1)

    def __repr__(self) -> str:
        return f"MergeDirections({self.mode!r})"


def _halves(x: Array) -> tuple[Array, Array]:
    if x.ndim == 0 or x.shape[-1] % 2:
        raise _errors.wrong_shape("x", "(..., 2 * features)", x.shape)
    if not isinstance(x, np.ndarray):
        first, second = np.split(x, 2, axis=-1)
        return first, second
    middle = x.shape[-1] // 2
    return x[..., :middle], x[..., middle:]  # in a third of the time that NumPy's split takes
