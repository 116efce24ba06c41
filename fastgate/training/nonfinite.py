"""Where in a model the first number appears that is not finite: looked for once it is known that there is one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np

from fastgate import _passes
from fastgate._arrays import Array, as_pairs, is_there
from fastgate._places import placed
from fastgate._protocol import Member
from fastgate._valid import ALL, Valid
from fastgate.training.layout import Batch
from fastgate.training.objective import Objective, Outputs


def is_finite(vector: Array) -> bool:
    """Whether all entries are. A sum of squares would tell too, but by BLAS, whose threads compete with ours."""
    if not isinstance(vector, np.ndarray):  # on a GPU: what does not even overflow when it is squared is finite
        return bool(np.isfinite(vector.sum_of_squares())) or is_finite(np.asarray(vector))
    return bool(np.count_nonzero(np.isfinite(vector)) == vector.size)


def first_in_forward(model: Any, objective: Objective, batch: Batch, given: Outputs, options: dict[str, Any]) -> str:
    """Run the step's forward pass again and say from where on nothing is finite; steps that are masked do not count."""
    is_pair = hasattr(model, "encoder")
    parts = [("encoder ", model.encoder), ("decoder ", model.decoder)] if is_pair else [("", model)]
    inputs = zip(*as_pairs(batch.x, batch.lengths), strict=True) if is_pair else [(batch.x, batch.lengths)]
    state = options.get("state")
    keys = iter(_passes.keys_of(options["rng_key"], sum(len(part._members) for _, part in parts)))
    with np.errstate(all="ignore"):
        for (name, part), (x, lengths) in zip(parts, inputs, strict=True):
            found, state = _first_in(part, name, x, lengths, state, keys)
            if found is not None:
                return found
    target = np.asarray(given.target)
    if _is_bad(target):
        without = np.where(np.isfinite(target), target, 0).astype(target.dtype)
        if math.isfinite(objective.loss(given._replace(target=without))[0]):
            return "y"
    return "the loss itself, of outputs and targets as they are"


def _first_in(
    model: Any, name: str, x: Any, lengths: Any, state: Any, keys: Iterator[int | None]
) -> tuple[str | None, list[Any]]:
    """Where what is not finite begins, if it comes out at the end; and the final states.

    What a layer takes for nothing, as one that masks it, is no fault.
    """
    y, valid, _ = model._read(placed(x, model.device, model.dtype), lengths)
    starts = model._read_states("state", state)
    ends: list[Any] = []
    first = "x" if _is_bad(np.asarray(y), valid) else None
    for group in _groups(model._members):
        own = [next(keys) for _ in group]
        y, found, _, valid = _passes.forward(group, y, starts[len(ends) :], valid, True, own)
        ends += found
        first = (first or f"the output of {name}{group[0].place}") if _is_bad(np.asarray(y), valid) else None
    return first, ends


def _groups(members: Sequence[Member]) -> Iterator[Sequence[Member]]:
    """Each layer alone, but a `FinalState` with the recurrent one before it."""
    for i, member in enumerate(members):
        if not member.is_final:
            has_final = i + 1 < len(members) and members[i + 1].is_final
            yield members[i : i + 1 + has_final]


def first_in_backward(model: Any, batch: Batch, dy: Array, options: dict[str, Any]) -> str:
    """Run the whole step again and say which gradient is not finite first, on the way back."""
    if _is_bad(dy):
        return "the gradient of the loss in the model's output"
    watched, found = _watched(model)
    with np.errstate(all="ignore"):
        _, tape = watched.forward(batch.x, **options)
        watched.backward(tape, dy)
    return found[0] if found else "nowhere"


class _Watched:
    """A layer in all respects, which notes a gradient that comes out of it and is not finite."""

    def __init__(self, layer: Any, place: str, found: list[str]) -> None:
        self._layer, self._place, self._found = layer, place, found

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._layer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)

    def backward(self, *arguments: Any, **options: Any) -> Any:
        gradients = self._layer.backward(*arguments, **options)
        inside = [*_arrays(getattr(gradients, "params", None)), *_arrays(getattr(gradients, "x", None))]
        if any(map(_is_bad, inside or _arrays(gradients))):
            self._found.append(f"the gradient that comes from {self._place}")
        return gradients


def _watched(model: Any) -> tuple[Any, list[str]]:
    """A copy of the model, of the same parameters, whose layers note what is not finite; and where they note it."""
    found: list[str] = []
    own = copy(model)  # other threads may be using the model
    parts = [name for name in ("encoder", "decoder") if hasattr(model, name)]
    for name in parts or [""]:
        part = copy(getattr(model, name)) if name else own
        place = f"{name} ".lstrip()
        part._members = tuple(replace(m, layer=_Watched(m.layer, place + m.place, found)) for m in part._members)
        if name:
            own.__dict__[name] = part
    return own, found


def _is_bad(array: Array, valid: Valid = ALL) -> bool:
    """Whether it has an entry that is not finite, in a step that counts."""
    if array.dtype.kind != "f":
        return False
    mask, array = valid.at_end(array), np.asarray(array)
    return not np.isfinite(array if mask is None else array[mask]).all()


def _arrays(value: Any) -> list[Array]:
    if value is None:
        return []
    if is_there(value):
        return [value]
    if hasattr(value, "flat") and not isinstance(value, np.ndarray):
        return [value.flat]
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, tuple):
        return [array for part in value for array in _arrays(part)]
    return [np.asarray(value)]
