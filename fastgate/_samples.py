"""Gradients of each sequence of a batch by itself, on the way back through a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fastgate import _errors
from fastgate._arrays import Array, as_real
from fastgate._params import NamedArrays
from fastgate._protocol import Member
from fastgate._tape import LayerTape


def count(members: Sequence[Member], tapes: Sequence[Any], axis: int) -> int | None:
    """How many sequences there are, on this axis of the input; None if there is one without such an axis."""
    for m, tape in zip(members, tapes, strict=True):
        if m.is_recurrent:
            return None if tape.batch.is_unbatched else int(tape.batch.size)
    sizes = [tape.y_shape[axis] for tape in tapes if isinstance(tape, LayerTape)]
    if not sizes:
        raise _errors.wrong_value("per_sample", "False for a model without parameters", True)
    return int(sizes[0])


def backward(m: Member, tape: Any, dy: Any, axis: int, target: NamedArrays) -> Array | None:
    """dy -> target (B,P) of a layer without state; dx returned

    Its rows have nothing to do with one another, so that one sequence after the other goes back.
    """
    if not isinstance(tape, LayerTape):
        raise _errors.wrong_value("per_sample", f"False, as {m.place} adds its gradients up itself", True)
    own = as_real("dy", dy)
    if own.shape != tape.y_shape:
        raise _errors.wrong_shape("dy", f"that of y, {tape.y_shape}", own.shape)
    found = []
    for number, row in enumerate(target.flat):
        at = (slice(None),) * axis + (slice(number, number + 1),)
        x, one_dy = np.ascontiguousarray(tape.x[at]), own[at]
        one = m.layer.backward(replace(tape, x=x, y_shape=one_dy.shape), one_dy)
        row[...] = one.params.flat
        found.append(one.x)
    if not found:
        found = [m.layer.backward(tape, own).x]
    return None if found[0] is None else np.concatenate(found, axis)
