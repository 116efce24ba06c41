"""Which steps of the sequences inside a model count, from its input to its output."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastgate import _errors
from fastgate._arrays import Array, as_array, is_there
from fastgate._masks import Mask, as_mask_of, within
from fastgate._places import as_numbers, cleared


class Valid(NamedTuple):
    """All of them, those within the lengths, or those of a mask; and before which the states are reset."""

    lengths: Array | None = None  # where they say it
    mask: Mask | None = None  # (B, T), (T, B) or unbatched (T,); where lengths say it, too
    reset: Mask | None = None  # as the mask; None where nothing is

    def at_end(self, y: Any) -> Mask | None:
        """The mask beside the output of a model; None where that does not have the steps any more."""
        mask = self.mask
        has_steps = mask is not None and np.ndim(y) > mask.ndim and np.shape(y)[: mask.ndim] == mask.shape
        return mask if has_steps else None


ALL = Valid()
ALL_TOLD: dict[str, Any] = {"lengths": None, "mask": None, "reset": None}


def read_valid(x: Any, lengths: Any, mask: Any, reset: Any, batch_first: bool) -> tuple[Any, Valid]:
    """A model's input, as an array where anything is said of its steps; and what is said."""
    if lengths is None and mask is None and reset is None:
        return x, ALL
    array, valid = as_numbers("x", x) if is_there(x) else as_array("x", x), ALL
    if mask is not None:
        if lengths is not None:
            raise _errors.unwanted("mask", "None beside lengths", mask)
        valid = Valid(mask=_as_laid_out("mask", mask, array))
    elif lengths is not None:
        if array.ndim < 2:
            raise _errors.wrong_shape("x", "of a batch of sequences, beside lengths", array.shape)
        valid = Valid(*within(lengths, array.shape[:2], batch_first))
    if reset is None:
        return array, valid
    own = _as_laid_out("reset", reset, array)
    if valid.lengths is not None and valid.mask is not None:
        own &= valid.mask  # beyond the lengths nothing is read, and behind a layer that makes a mask nobody knows them
    return array, valid._replace(reset=own) if own.any() else valid


def _as_laid_out(name: str, steps: Any, x: Array) -> Mask:
    """A copy: layers of one's own are given it."""
    return as_mask_of(x, steps, name=name).copy()


def zeros_where(beyond: Array | None, array: Array) -> Array:
    """The array itself where there is nothing to clear, or it has no such steps."""
    if beyond is None or array.shape[: beyond.ndim] != beyond.shape or not beyond.any():
        return array
    return cleared(array, beyond)
