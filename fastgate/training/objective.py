"""What a training makes small and what it measures, over batches that do not count alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastgate import _errors
from fastgate._arrays import Array
from fastgate.losses import LOSSES
from fastgate.metrics import METRICS, PARTS
from fastgate.training.batches import Batch, Layout

Function = Callable[..., Any]


class Objective:
    """A loss and metrics, by name or as functions of (y, target) and, where there are some, `weights` and `lengths`."""

    def __init__(self, loss: str | Function, metrics: Sequence[str | Function] | str, layout: Layout) -> None:
        metrics = (metrics,) if isinstance(metrics, str) or callable(metrics) else metrics
        self._loss, self._layout = _find("loss", loss, LOSSES), layout
        self.metrics = {_name_of(metric): _find("metrics", metric, METRICS) for metric in metrics}
        self.name = _name_of(loss)

    def outputs(self, y: Array) -> Array:
        """What the model gave, samples first."""
        return y.swapaxes(0, 1) if self._layout.time_first and self._layout.per_step else y

    def loss(self, y: Array, batch: Batch) -> tuple[float, Array]:
        """The loss and its gradient in y, which is as the model lays it out."""
        loss, dy = self._loss(self.outputs(y), batch.y, **options_of(batch))
        return loss, self.outputs(dy)  # exchanging the axes once more


class Sums:
    """Of a loss and metrics over batches: however the same samples are cut into them, the same but for rounding.

    Metrics of fastgate add up. Any other needs all outputs at once: it is measured only if they are kept.
    """

    def __init__(self, objective: Objective, *, keeps_outputs: bool) -> None:
        self._objective = objective
        own = objective.metrics.items()
        self._adding = {name: PARTS[metric] for name, metric in own if metric in PARTS}
        self._whole = {name: metric for name, metric in own if metric not in PARTS} if keeps_outputs else {}
        self._kept: list[tuple[Array, Batch]] = []
        self._loss, self._weight = 0.0, 0.0
        self._parts: dict[str, Array] = {}

    def add(self, loss: float, weight: float, y: Array, batch: Batch) -> None:
        """One batch; y is as the model lays it out."""
        self._loss += loss * weight
        self._weight += weight
        if self._adding or self._whole:
            y = self._objective.outputs(y)
        for name, part in self._adding.items():
            sums = part.sums(y, batch.y, **options_of(batch))
            self._parts[name] = part.add(self._parts[name], sums) if name in self._parts else sums
        if self._whole:
            self._kept.append((y, batch))

    def means(self, prefix: str = "") -> dict[str, float]:
        """The loss, and the metrics."""
        if not self._weight:
            raise _errors.nothing_counts()
        found = {"loss": self._loss / self._weight}
        found |= {name: part.value(self._parts[name]) for name, part in self._adding.items()}
        if self._whole:
            y, whole = _joined(self._kept)
            found |= {name: float(metric(y, whole.y, **options_of(whole))) for name, metric in self._whole.items()}
        return {prefix + name: value for name, value in found.items()}

    def state(self) -> dict[str, Any]:
        """For checkpoints."""
        return {"loss": self._loss, "weight": self._weight, "parts": self._parts}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        self._loss, self._weight, self._parts = state["loss"], state["weight"], state["parts"]


def options_of(batch: Batch) -> dict[str, Array]:
    """Those that a loss or metric is given: a function of one's own need not know what is not there."""
    options = {} if batch.y_lengths is None else {"lengths": batch.y_lengths}
    return options if batch.weights is None else options | {"weights": batch.weights}


def weight_of(y: Array, batch: Batch) -> float:
    """How much a batch counts; `y` is its output, samples first."""
    lengths, weights = batch.y_lengths, batch.weights
    if weights is None:
        return float(np.prod(y.shape[:-1])) if lengths is None else float(np.sum(lengths))
    if weights.ndim == 1:
        steps = float(np.prod(y.shape[1:-1])) if lengths is None else lengths
        return float(np.sum(weights * steps, dtype=np.float64))
    valid = slice(None) if lengths is None else np.arange(weights.shape[1]) < np.asarray(lengths)[:, None]
    return float(np.sum(weights[valid], dtype=np.float64))


def _find(argument: str, value: str | Function, known: dict[str, Function]) -> Function:
    if callable(value):
        return value
    if value not in known:
        raise _errors.wrong_value(argument, f"{', '.join(map(repr, known))} or a function", value)
    return known[value]


def _name_of(value: str | Function) -> str:
    return value if isinstance(value, str) else getattr(value, "__name__", type(value).__name__)


def _joined(kept: list[tuple[Array, Batch]]) -> tuple[Array, Batch]:
    """All batches as one; padded to the longest, where there is a time axis."""
    batches = [batch for _, batch in kept]
    lengths = None if batches[0].y_lengths is None else np.concatenate([batch.y_lengths for batch in batches])
    weights = None if batches[0].weights is None else _padded([batch.weights for batch in batches])
    return _padded([y for y, _ in kept]), Batch(
        None, _padded([batch.y for batch in batches]), y_lengths=lengths, weights=weights
    )


def _padded(arrays: list[Any]) -> Array:
    if all(array.shape[1:] == arrays[0].shape[1:] for array in arrays):
        return np.concatenate(arrays)
    steps = max(array.shape[1] for array in arrays)
    return np.concatenate(
        [np.pad(array, ((0, 0), (0, steps - array.shape[1]), *((0, 0),) * (array.ndim - 2))) for array in arrays]
    )
