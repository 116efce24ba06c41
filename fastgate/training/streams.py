"""Truncated back-propagation through a long stream: pieces that follow one another, the state carried between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastgate import _errors
from fastgate._arrays import Array, as_array
from fastgate.training.columns import described
from fastgate.training.layout import Batch, Layout


class Streams:
    """Streams side by side, cut into pieces of so many steps: (B, piece, ...), or (piece, B, ...).

    One stream x (T, ...) is first cut into B equal ones; what is left over at its end, fewer than B steps, is not used.
    Several are taken as they are. The last piece of an epoch may be shorter. A memory map is read piece by piece.
    """

    can_resume = True

    def __init__(self, x: Any, y: Any, weights: Any = None, *, piece: int, count: int, layout: Layout) -> None:
        self._layout, self._piece, self._count, self._turn = layout, piece, count, layout.time_first
        given = {"x": x, "y": y, "weights": weights}
        arrays = {name: as_array(name, value) for name, value in given.items() if value is not None}
        step_axes = layout.inputs[0].step_axes
        self._is_one = is_one = arrays["x"].ndim == 1 + step_axes
        leading = arrays["x"].shape[: 1 if is_one else 2]
        if arrays["x"].ndim not in (1 + step_axes, 2 + step_axes):
            expected = f"of {1 + step_axes} dimensions (one stream) or {2 + step_axes} (several)"
            raise _errors.wrong_shape("x", expected, arrays["x"].shape)
        for name, array in arrays.items():
            if array.shape[: len(leading)] != leading:
                raise _errors.wrong_shape(name, f"({', '.join(map(str, leading))}, ...), the steps of x", array.shape)
        self._arrays = arrays
        self.T = leading[0] // count if is_one else leading[0 if self._turn else 1]
        if self.T < 1:
            raise _errors.wrong_shape("x", f"at least {count} steps, one for each stream", arrays["x"].shape)
        self.steps = -(-self.T // piece)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        for i in range(start, self.steps):
            steps = slice(i * self._piece, min((i + 1) * self._piece, self.T))
            cut = {name: self._cut(array, steps) for name, array in self._arrays.items()}
            if self._turn:
                cut["x"] = cut["x"].swapaxes(0, 1)
            yield Batch(cut["x"], cut.get("y"), weights=cut.get("weights"), carries=i > 0)

    def split(self, fraction: float) -> tuple[Streams, Streams]:
        """All but the last steps, and the last, of each array as it was given."""
        axis = 1 if not self._is_one and not self._turn else 0
        steps = self._arrays["x"].shape[axis]
        first = steps - min(max(1, round(steps * fraction)), steps - 1)
        sides = []
        for cut in (slice(None, first), slice(first, None)):
            arrays = {name: array[cut] if axis == 0 else array[:, cut] for name, array in self._arrays.items()}
            sides.append(Streams(**arrays, piece=self._piece, count=self._count, layout=self._layout))
        return sides[0], sides[1]

    def description(self) -> dict[str, Any]:
        axis = 1 if not self._is_one and not self._turn else 0
        known = {name: described(array, axis) for name, array in self._arrays.items()}
        return {"steps of a piece": self._piece} | known

    def _cut(self, array: Array, steps: slice) -> Array:
        """Samples first."""
        if self._is_one:
            starts = range(0, self._count * self.T, self.T)
            return np.stack([array[start + steps.start : start + steps.stop] for start in starts])
        return array[steps].swapaxes(0, 1) if self._turn else array[:, steps]
