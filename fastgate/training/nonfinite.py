"""Where in a model the first number appears that is not finite: looked for once it is known that there is one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastgate._arrays import Array
from fastgate.training.batches import Batch


def is_finite(vector: Array) -> bool:
    """Whether all entries are; the sum of their squares tells, unless it overflows."""
    return bool(np.isfinite(np.dot(vector, vector)) or np.isfinite(vector).all())


def first_in_forward(model: Any, batch: Batch, key: int, state: Any) -> str:
    """Run the step's forward pass again and say what is not finite first."""
    parts = batch.x if isinstance(batch.x, tuple) else (batch.x,)
    lengths = batch.lengths if isinstance(batch.lengths, tuple) else (batch.lengths,)
    for x, own in zip(parts, lengths, strict=True):
        if _is_bad(np.asarray(x), None if own is None else np.asarray(own), time_first=not model.batch_first):
            return "x"
    with _watched(model) as found:
        model.forward(batch.x, lengths=batch.lengths, rng_key=key, **({} if state is None else {"state": state}))
    return found[0] if found else "the loss itself, of outputs and targets as they are"


def first_in_backward(model: Any, batch: Batch, key: int, state: Any, dy: Array) -> str:
    """Run the whole step again and say which gradient is not finite first, on the way back."""
    if _is_bad(dy):
        return "the gradient of the loss in the model's output"
    with _watched(model) as found:
        options = {} if state is None else {"state": state}
        _, tape = model.forward(batch.x, lengths=batch.lengths, rng_key=key, **options)
        found.clear()
        model.backward(tape, dy)
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


@contextmanager
def _watched(model: Any) -> Iterator[list[str]]:
    """Inside the ``with`` the layers of the model, and of those that it is made of, note what is not finite."""
    found: list[str] = []
    parts = [getattr(model, name) for name in ("encoder", "decoder") if hasattr(model, name)] or [model]
    members = [part._members for part in parts]
    try:
        for name, part, own in zip(("encoder ", "decoder ") if len(parts) > 1 else ("",), parts, members, strict=True):
            part._members = tuple(
                m._replace(layer=_Watched(m.layer, name + m.place, not part.batch_first, found)) for m in own
            )
        with np.errstate(all="ignore"):
            yield found
    finally:
        for part, own in zip(parts, members, strict=True):
            part._members = own


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
