"""What a step that is skipped gives: the output of the last one that was not."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fastgate._arrays import Array, as_flag
from fastgate._masks import as_mask, leading_shape, widened, with_steps
from fastgate._places import as_floating_beside
from fastgate._plain import Plain
from fastgate._tape import PlainTape


class RepeatPast(Plain):
    """At a masked step, what the last step before it was that is not masked; 0 where there is none.

    That is what a recurrent layer of Keras gives at masked steps, where one of fastgate gives 0: put it behind one for
    the same numbers. Back, a step gets the gradients of all that repeat it. Without a mask it hands its input on. In a
    model it gets the mask, or lengths as a mask.

    Parameters
    ----------
    batch_first : bool
        Which axis of x (B, T, ...) or (T, B, ...) is time. Unbatched (T, features) it is the first.

    Raises
    ------
    ValueError
        If the option is no boolean.

    Examples
    --------
    >>> import numpy as np, fastgate as fg
    >>> x, mask = np.array([[1.0], [2.0], [3.0], [4.0]]), [False, True, False, True]
    >>> fg.RepeatPast()(x, mask=mask)[:, 0]
    array([0., 2., 2., 4.])
    """

    def __init__(self, batch_first: bool = True) -> None:
        self.batch_first = as_flag("batch_first", batch_first)
        self._freeze()

    def __call__(
        self, x: npt.ArrayLike, *, mask: npt.ArrayLike | None = None, reset: npt.ArrayLike | None = None
    ) -> Array:
        """Repeat what is past.

        Parameters
        ----------
        x : array_like, (B, T, ...), or (T, B, ...) with ``batch_first=False``, or unbatched (T, features)
            Never read where the mask is False.
        mask : array_like of bool, (B, T), (T, B) or (T,), optional
        reset : array_like of bool, shaped as `mask`, optional
            Steps before which what is past is forgotten: 0 is given until the next step that is not masked.

        Returns
        -------
        ndarray, as x
            In float32 if x is that, and else in float64.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or shape.
        """
        return self.forward(x, mask=mask, reset=reset)[0]

    def forward(
        self, x: npt.ArrayLike, *, mask: npt.ArrayLike | None = None, reset: npt.ArrayLike | None = None
    ) -> tuple[Array, PlainTape]:
        """The same, with what `backward` needs.

        Parameters
        ----------
        x, mask, reset
            As in calling the layer.

        Returns
        -------
        y : ndarray, as x
        tape : PlainTape

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or shape.
        """
        own, axis = with_steps(x, self.batch_first)
        if mask is None:
            return own, self._tape(own, None, None, axis)
        counting = as_mask(mask, leading_shape(own)).copy()
        begins = np.zeros_like(counting) if reset is None else as_mask(reset, counting.shape, name="reset").copy()
        steps = np.arange(own.shape[axis]).reshape(-1, *(1,) * (counting.ndim - 1 - axis))
        last = np.maximum.accumulate(np.where(counting, steps, -1), axis=axis)
        last[last < np.maximum.accumulate(np.where(begins, steps, 0), axis=axis)] = -1
        given = np.asarray(own)  # on the host, wherever x lies: Keras' models alone need it
        y = np.take_along_axis(given, widened(np.maximum(last, 0), given), axis)
        y[last < 0] = 0
        there = as_floating_beside("y", y, own)
        return there, self._tape(there, counting, begins, axis)

    def _backward(self, kept: Any, dy: Array) -> Array:
        """To the gradient of its step each adds those of the steps that repeat it; 0 where the mask is False."""
        counting, begins, axis = kept
        if counting is None:
            return dy.copy()
        dx: Array = np.array(dy)
        steps, here, cut = (np.moveaxis(array, axis, 0) for array in (dx, counting, begins))
        for t in range(len(steps) - 1, -1, -1):
            skipped = ~here[t]
            if t:
                steps[t - 1] += np.where(widened(skipped & ~cut[t], steps[t]), steps[t], 0)
            steps[t][skipped] = 0
        return as_floating_beside("dx", dx, dy)

    def __repr__(self) -> str:
        return f"RepeatPast({'' if self.batch_first else 'batch_first=False'})"
