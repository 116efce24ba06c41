"""Which steps of the sequences inside a model count, from its input to its output."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastgate import _errors
from fastgate._arrays import Array, as_array
from fastgate._masks import Mask, as_mask_of, within


class Valid(NamedTuple):
    """All of them, those within the lengths, or those of a mask."""

    lengths: Array | None = None  # where they say it
    mask: Mask | None = None  # (B, T), (T, B) or unbatched (T,); where lengths say it, too

    def at_end(self, y: Any) -> Mask | None:
        """The mask beside the output of a model; None where that does not have the steps any more."""
        mask = self.mask
        has_steps = mask is not None and np.ndim(y) > mask.ndim and np.shape(y)[: mask.ndim] == mask.shape
        return mask if has_steps else None


ALL = Valid()
ALL_TOLD: dict[str, Any] = {"lengths": None, "mask": None}


def read_valid(x: Any, lengths: Any, mask: Any, batch_first: bool) -> tuple[Any, Valid]:
    """A model's input, as an array where there are lengths or a mask; and what they say."""
    if lengths is None and mask is None:
        return x, ALL
    array = as_array("x", x)
    if mask is None:
        if array.ndim < 2:
            raise _errors.wrong_shape("x", "of a batch of sequences, beside lengths", array.shape)
        return array, Valid(*within(lengths, array.shape[:2], batch_first))
    if lengths is not None:
        raise _errors.unwanted("mask", "None beside lengths", mask)
    return array, Valid(None, as_mask_of(array, mask).copy())


def zeros_where(beyond: Array | None, array: Array) -> Array:
    """The array itself where there is nothing to clear, or it has no such steps."""
    if beyond is None or array.shape[: beyond.ndim] != beyond.shape or not beyond.any():
        return array
    own = array.copy()
    own[beyond] = 0
    return own
