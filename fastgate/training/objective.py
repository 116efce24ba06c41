"""What a training makes small and what it measures, over batches that do not count alike."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastgate import _errors
from fastgate._arrays import Array
from fastgate._places import as_numbers, given_back
from fastgate.losses import LOSSES, binary_cross_entropy, cross_entropy, huber, mae, mse
from fastgate.metrics import METRICS, accuracy, bits_per_character, parts_of, perplexity
from fastgate.training import errors
from fastgate.training.layout import Batch, Layout
from fastgate.training.targets import complaint

Function = Callable[..., Any]
OF_LOGITS = cross_entropy, binary_cross_entropy, accuracy, perplexity, bits_per_character
OF_NUMBERS = mse, mae, huber
OF_PROBABILITIES = "sigmoid", "softmax", "log_softmax"  # what these give are no logits any more


class Outputs(NamedTuple):
    """What a model gave and should have given, samples first."""

    y: Array
    target: Any
    options: dict[str, Array]  # lengths or mask, and weights, for losses and metrics: whatever is there
    is_turned: bool  # the model has time first

    @property
    def weight(self) -> float:
        """How much they count."""
        lengths, weights, counts = (self.options.get(name) for name in ("lengths", "weights", "mask"))
        if lengths is not None:
            counts = np.arange(self.y.shape[1]) < lengths[:, None]
        if weights is None:
            return float(math.prod(self.y.shape[:-1]) if counts is None else np.count_nonzero(counts))
        if weights.ndim == 1:
            steps = math.prod(self.y.shape[1:-1]) if counts is None else counts.sum(axis=1)
            return float(np.sum(weights * steps, dtype=np.float64))
        return float(np.sum(weights if counts is None else weights[counts], dtype=np.float64))


class Objective:
    """A loss and metrics, by name or as functions of (y, target) and whatever there is of weights, lengths, mask."""

    def __init__(self, loss: str | Function, metrics: Sequence[str | Function] | str, layout: Layout) -> None:
        metrics = (metrics,) if isinstance(metrics, str) or callable(metrics) else metrics
        if not isinstance(metrics, (list, tuple)):
            raise _errors.wrong_type("metrics", "a list of names and functions", type(metrics).__name__)
        self._loss, self._layout = _find("loss", loss, LOSSES), layout
        self._has_doubted = self._is_checked = False
        self.metrics = {_name_of(metric): _find("metrics", metric, METRICS) for metric in metrics}
        self.name = _name_of(self._loss)
        if len(self.metrics) < len(metrics) or "loss" in self.metrics:
            expected = "one of each name (a function's __name__), and none named 'loss'"
            raise _errors.wrong_value("metrics", expected, [_name_of(metric) for metric in metrics])
        for argument, function in (("loss", self._loss), *(("metrics", own) for own in self.metrics.values())):
            if layout.activation in OF_PROBABILITIES and any(function is own for own in OF_LOGITS):
                raise _errors.no_logits(argument, _name_of(function), layout.activation)
        parts = {name: parts_of(metric, self._loss) for name, metric in self.metrics.items()}
        self.parts = {name: own for name, own in parts.items() if own is not None}

    def outputs(self, y: Array, batch: Batch, mask: Array | None) -> Outputs:
        """What the model gave, and the mask that reached its end."""
        has_steps = self._layout.has_steps(y, batch)
        is_turned = has_steps and self._layout.time_first
        options = {} if batch.weights is None else {"weights": batch.weights}
        if has_steps and mask is not None and self._layout.mask_maker is not None:  # else lengths say all
            self._check_takes_mask()
            options["mask"] = mask.swapaxes(0, 1) if is_turned else mask
        elif has_steps and batch.y_lengths is not None:
            options["lengths"] = batch.y_lengths
        return Outputs(y.swapaxes(0, 1) if is_turned else y, batch.y, options, is_turned)

    def _check_takes_mask(self) -> None:
        """Raise if a function would be given a mask that it does not take."""
        if self._is_checked:
            return
        for argument, function in (("loss", self._loss), *(("metrics", own) for own in self.metrics.values())):
            if not _takes(function, "mask"):
                raise errors.takes_no_mask(argument, _name_of(function), self._layout.mask_maker)
        self._is_checked = True

    def doubt(self, given: Outputs) -> None:
        """Warn, once, where a number is to be learnt at every step; a class of the whole may well be meant so."""
        is_repeated = self._layout.per_step and given.y.ndim > 2 and np.size(given.target) < given.y.size
        if is_repeated and not self._has_doubted and any(self._loss is own for own in OF_NUMBERS):
            self._has_doubted = True
            warnings.warn(errors.one_for_all_steps(given.y.shape[1]), stacklevel=2)

    def loss(self, given: Outputs) -> tuple[float, Array]:
        """The loss and its gradient in y, which is as the model lays it out."""
        y = given.y if self._loss in LOSSES.values() else given_back(given.y)  # a user's own computes on the host
        try:
            found = self._loss(y, given.target, **given.options)
        except (TypeError, ValueError):
            told = complaint(self._loss, given.y, given.target, given.options)
            if told is None:
                raise
            raise told from None
        if not isinstance(found, (tuple, list)) or len(found) != 2:
            raise _errors.wrong_type("loss", "a function that returns (loss, gradient in y)", type(found).__name__)
        loss, dy = float(found[0]), as_numbers("loss: its gradient", found[1])
        if dy.shape != given.y.shape:
            raise _errors.wrong_shape("loss: its gradient", f"that of y, {given.y.shape}", dy.shape)
        return loss, dy.swapaxes(0, 1) if given.is_turned else dy


class Sums:
    """Of a loss and metrics over batches: however the same samples are cut into them, the same but for rounding.

    Metrics of fastgate add up. Any other needs all outputs at once: it is measured only if they are kept.
    """

    def __init__(self, objective: Objective, *, keeps_outputs: bool) -> None:
        self._objective = objective
        self._adding = objective.parts
        whole = {name: metric for name, metric in objective.metrics.items() if name not in objective.parts}
        self._whole = whole if keeps_outputs else {}
        self.clear()

    @property
    def names(self) -> list[str]:
        """Of what `means` gives."""
        return ["loss", *self._adding, *self._whole]

    def clear(self) -> None:
        """Begin anew."""
        self._kept: list[Outputs] = []
        self._loss, self._weight = 0.0, 0.0
        self._parts: dict[str, Array] = {}

    def add(self, loss: float, weight: float, given: Outputs) -> None:
        """One batch."""
        self._loss += loss * weight
        self._weight += weight
        for name, part in self._adding.items():
            sums = part.sums(given.y, given.target, **given.options)
            self._parts[name] = part.add(self._parts[name], sums) if name in self._parts else sums
        if self._whole:
            self._kept.append(given._replace(y=given_back(given.y)))

    def means(self) -> dict[str, float]:
        """The loss, and the metrics."""
        if not self._weight:
            raise errors.nothing_counts()
        found = {"loss": self._loss / self._weight}
        found |= {name: part.value(self._parts[name]) for name, part in self._adding.items()}
        if self._whole:
            y, target, options = _joined(self._kept)
            for name, metric in self._whole.items():
                value = metric(y, target, **options)
                if isinstance(value, (tuple, list)):
                    raise _errors.wrong_type("metrics", "functions that return a number", f"a pair from {name}")
                found[name] = float(value)
        return found

    def together(self, contents: Sequence[tuple[dict[str, Any], list[Outputs]]]) -> Sums:
        """Those of several processes, each of which has measured a share of every batch: of each its `content`."""
        whole = Sums(self._objective, keeps_outputs=bool(self._whole))
        for state, kept in contents:
            whole._loss += state["loss"]
            whole._weight += state["weight"]
            for name, sums in state["parts"].items():
                known = whole._parts.get(name)
                whole._parts[name] = sums if known is None else self._adding[name].add(known, sums)
            whole._kept += kept
        return whole

    def content(self) -> tuple[dict[str, Any], list[Outputs]]:
        """All that was added."""
        return self.state(), self._kept

    def state(self) -> dict[str, Any]:
        """For checkpoints."""
        return {"loss": self._loss, "weight": self._weight, "parts": self._parts}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        self._loss, self._weight, self._parts = state["loss"], state["weight"], state["parts"]


def _find(argument: str, value: str | Function, known: dict[str, Function]) -> Function:
    if callable(value):
        return value
    expected = f"{', '.join(map(repr, known))} or a function"
    if not isinstance(value, str):
        raise _errors.wrong_value(argument, expected, value)
    if value not in known:
        raise _errors.unknown_name(argument, expected, value, known)
    return known[value]


def _takes(function: Function, name: str) -> bool:
    """Whether it can be given an argument by this name; also where nothing says so."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return True
    by_name = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    return any(own.kind is own.VAR_KEYWORD or (own.name == name and own.kind in by_name) for own in parameters)


def _name_of(value: str | Function) -> str:
    return value if isinstance(value, str) else getattr(value, "__name__", type(value).__name__)


def _joined(kept: list[Outputs]) -> tuple[Array, Array, dict[str, Array]]:
    """All batches as one; padded to the longest, where there is a time axis."""
    options = {name: _padded([each.options[name] for each in kept]) for name in kept[0].options}
    return _padded([each.y for each in kept]), _padded([np.asarray(each.target) for each in kept]), options


def _padded(arrays: list[Array]) -> Array:
    if all(array.shape[1:] == arrays[0].shape[1:] for array in arrays):
        return np.concatenate(arrays)
    steps = max(array.shape[1] for array in arrays)
    widths = [((0, 0), (0, steps - array.shape[1]), *((0, 0),) * (array.ndim - 2)) for array in arrays]
    return np.concatenate([np.pad(array, width) for array, width in zip(arrays, widths, strict=True)])
