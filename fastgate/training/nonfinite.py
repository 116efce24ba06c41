"""Where in a model the first number appears that is not finite: looked for once it is known that there is one."""

from __future__ import annotations

import math
from copy import copy
from typing import Any

import numpy as np

from fastgate._arrays import Array
from fastgate.training.layout import Batch
from fastgate.training.objective import Objective, Outputs


def is_finite(vector: Array) -> bool:
    """Whether all entries are; their sum tells, unless it overflows."""
    with np.errstate(over="ignore", invalid="ignore"):
        return math.isfinite(np.add.reduce(vector)) or bool(np.isfinite(vector).all())


def first_in_forward(model: Any, objective: Objective, batch: Batch, given: Outputs, options: dict[str, Any]) -> str:
    """Run the step's forward pass again and say what is not finite first."""
    parts = batch.x if isinstance(batch.x, tuple) else (batch.x,)
    lengths = batch.lengths if isinstance(batch.lengths, tuple) else (batch.lengths,)
    for x, own in zip(parts, lengths, strict=True):
        if _is_bad(np.asarray(x), None if own is None else np.asarray(own), time_first=not model.batch_first):
            return "x"
    watched, found = _watched(model)
    with np.errstate(all="ignore"):
        watched.forward(batch.x, **options)
    if found:
        return found[0]
    target = np.asarray(given.target)
    if _is_bad(target):
        without = np.where(np.isfinite(target), target, 0).astype(target.dtype)
        if math.isfinite(objective.loss(given._replace(target=without))[0]):
            return "y"
    return "the loss itself, of outputs and targets as they are"


def first_in_backward(model: Any, batch: Batch, dy: Array, options: dict[str, Any]) -> str:
    """Run the whole step again and say which gradient is not finite first, on the way back."""
    if _is_bad(dy):
        return "the gradient of the loss in the model's output"
    watched, found = _watched(model)
    with np.errstate(all="ignore"):
        _, tape = watched.forward(batch.x, **options)
        found.clear()
        watched.backward(tape, dy)
    return found[0] if found else "nowhere"


class _Watched:
    """A layer in all respects, which notes what comes out of it that is not finite."""

    def __init__(self, layer: Any, place: str, time_first: bool, found: list[str]) -> None:
        self._layer, self._place, self._time_first, self._found = layer, place, time_first, found

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._layer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)

    def forward(self, *arguments: Any, **options: Any) -> Any:
        given = self._layer.forward(*arguments, **options)
        if _is_bad(given[0], options.get("lengths"), time_first=self._time_first):
            self._found.append(f"the output of {self._place}")
        return given

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
        place, time_first = f"{name} ".lstrip(), not part.batch_first
        part._members = tuple(
            m._replace(layer=_Watched(m.layer, place + m.place, time_first, found)) for m in part._members
        )
        if name:
            own.__dict__[name] = part
    return own, found


def _is_bad(array: Array, lengths: Array | None = None, *, time_first: bool = False) -> bool:
    """Whether it has an entry that is not finite, and within the lengths."""
    if array.dtype.kind != "f":
        return False
    bad = ~np.isfinite(array)
    if lengths is not None and array.ndim > 2:
        T = array.shape[0 if time_first else 1]
        valid = np.arange(T) < lengths[:, None]
        bad = bad[valid.T if time_first else valid]
    return bool(bad.any())


def _arrays(value: Any) -> list[Array]:
    if value is None:
        return []
    if hasattr(value, "flat") and not isinstance(value, np.ndarray):
        return [value.flat]
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, tuple):
        return [array for part in value for array in _arrays(part)]
    return [np.asarray(value)]
