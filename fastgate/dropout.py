"""Dropout between the layers of a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fastgate import _errors
from fastgate._arrays import Array, as_flag, as_probability, as_size, empty_beside, new_seed, quiet
from fastgate._kernels import on
from fastgate._places import as_any_floating
from fastgate._plain import Plain
from fastgate._tape import PlainTape

APART = 0xFFFFFFFF  # where recurrent layers count their own layers: masks of equal seeds and keys differ from theirs


class Dropout(Plain):
    """Sets each entry to zero with probability `p` in training and scales the others by 1 / (1 - p), as PyTorch does.

    Otherwise it hands its input on. The mask is a pure function of (seed, rng_key, place of the entry): the same key
    draws the same mask, on any number of threads. A model gives each of its layers a key of its own.

    Parameters
    ----------
    p : float, 0 to below 1
    seed : int, optional
        For the masks; drawn at random if None.
    same_every_step : bool
        True: one mask for each sequence and feature, the same at all its steps, as in Keras' ``LSTM(dropout=)`` and
        ``SpatialDropout1D``; x is then (B, T, features), (T, B, features) or unbatched (T, features).
    batch_first : bool
        Which axis is time; it only matters beside `same_every_step`.

    Raises
    ------
    TypeError, ValueError
        If an option has a wrong type or value; the message names it.
    """

    def __init__(
        self,
        p: float = 0.5,
        *,
        seed: int | None = None,
        same_every_step: bool = False,
        batch_first: bool = True,
    ) -> None:
        self.p = as_probability("p", p)
        self.same_every_step = as_flag("same_every_step", same_every_step)
        self.batch_first = as_flag("batch_first", batch_first)
        self.seed = new_seed() if seed is None else as_size("seed", seed, least=0)
        self._freeze()

    def __call__(self, x: npt.ArrayLike) -> Array:
        """The input, in float32 if it is that and else in float64: nothing is dropped outside of training."""
        return as_any_floating("x", x)

    def forward(
        self, x: npt.ArrayLike, *, training: bool = True, rng_key: int | None = None
    ) -> tuple[Array, PlainTape]:
        """Drop entries.

        Parameters
        ----------
        x : array_like, any shape
        training : bool
            False: the input is handed on.
        rng_key : int, 0 or more
            Names the mask. Needed when entries are dropped; the number of the training step is a good choice.

        Returns
        -------
        y : ndarray, as x
        tape : PlainTape

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or value.
        """
        own, key = as_any_floating("x", x), None if rng_key is None else as_size("rng_key", rng_key, least=0)
        if self.same_every_step and own.ndim not in (2, 3):
            order = "batch, time" if self.batch_first else "time, batch"
            raise _errors.wrong_shape("x", f"({order}, features) or (time, features)", own.shape)
        if not as_flag("training", training) or not self.p:
            return own, self._tape(own, None)
        if key is None:
            raise _errors.key_needed(self.p)
        return self._dropped(own, key), self._tape(own, key)

    def _backward(self, kept: Any, dy: Array) -> Array:
        """Through the same mask."""
        (key,) = kept
        return dy.copy() if key is None else self._dropped(dy, key)

    def _dropped(self, array: Array, key: int) -> Array:
        return self._dropped_alike(array, key) if self.same_every_step else self._drop(array.copy(), key)

    @quiet
    def _dropped_alike(self, array: Array, key: int) -> Array:
        """The same at every step."""
        axis = int(self.batch_first and array.ndim == 3)
        factors = empty_beside(array, (*array.shape[:axis], 1, *array.shape[axis + 1 :]))
        factors[...] = 1
        each = np.broadcast_to(self._drop(factors, key), array.shape)
        return np.where(each != 0, array * each, 0)  # 0, whatever was dropped

    def _drop(self, y: Array, key: int) -> Array:
        """In place."""
        if y.size:
            on("cpu" if isinstance(y, np.ndarray) else "cuda").dropout_of_entries(y, self.p, self.seed, key, APART)
        return y

    def __repr__(self) -> str:
        options = ", same_every_step=True" if self.same_every_step else ""
        options += "" if self.batch_first else ", batch_first=False"
        return f"Dropout({self.p}{options})"
