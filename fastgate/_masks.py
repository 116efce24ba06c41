"""Which steps of padded sequences count: what layers without a state have in common where they meet a mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fastgate import _errors
from fastgate._arrays import Array, as_array, as_booleans, as_lengths
from fastgate._places import as_any_floating

Mask = npt.NDArray[np.bool_]


def as_mask(mask: Any, shape: tuple[int, ...], *, name: str = "mask", axes: str = "") -> Mask:
    """Booleans of just this shape."""
    array = as_booleans(name, mask)
    if array.shape != shape:
        raise _errors.wrong_shape(name, f"{axes + ' = ' if axes else ''}{shape}", array.shape)
    return array


def as_mask_of(array: Any, mask: Any, *, name: str = "mask") -> Mask:
    """Booleans for the steps of an array with or without features, (B,T), (T,B), unbatched (T,) or of one step (B,)."""
    shape, own = np.shape(array), as_array(name, mask, "booleans")
    axes = own.ndim if len(shape) < 3 and own.ndim < 2 else 2
    return as_mask(own, shape[:axes], name=name)


def within(lengths: Any, leading: tuple[int, ...], batch_first: bool) -> tuple[Array, Mask]:
    """Lengths (B,), and as a mask (B, T) or (T, B)."""
    B, T = leading if batch_first else leading[::-1]
    own = as_lengths(lengths, B, T)
    mask: Mask = np.arange(T) < own[:, None]
    return own, mask if batch_first else mask.T


def both(first: Any, second: Mask) -> Mask:
    """The steps that count in each of two masks of one shape, of which the first may be None."""
    return second if first is None else as_mask(first, second.shape) & second


def with_steps(x: Any, batch_first: bool) -> tuple[Array, int]:
    """x (B,T,...), (T,B,...) or unbatched (T,F) in its floating dtype, and the axis of its steps."""
    own = as_any_floating("x", x)
    if own.ndim < 2:
        order = "batch, time" if batch_first else "time, batch"
        raise _errors.wrong_shape("x", f"({order}, features) or (time, features)", own.shape)
    return own, int(batch_first and own.ndim > 2)


def leading_shape(x: Array) -> tuple[int, ...]:
    """That of a mask beside x: without the features, and without what may lie between."""
    return x.shape[: min(2, x.ndim - 1)]


def widened(mask: Array, array: Array) -> Array:
    """With axes of one for those of the array that the mask does not have."""
    return mask.reshape(mask.shape + (1,) * (array.ndim - mask.ndim))
