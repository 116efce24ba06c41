"""Metrics: how good predictions are, in one number; weights, lengths and mask are those of the losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastgate import _errors
from fastgate._arrays import Array, as_real, quiet
from fastgate._entries import check_probabilities, read_entries, read_rows
from fastgate._places import as_numbers, given_back
from fastgate.losses import binary_cross_entropy, cross_entropy, mae, mse, row_losses


class Parts(NamedTuple):
    """A metric of data that come in batches: ``value(add(sums(batch), sums(batch)))``, which no mean of values is."""

    sums: Callable[..., Array]  # of (y, target, weights, lengths, mask)
    add: Callable[[Array, Array], Array]
    value: Callable[[Array], float]


def accuracy(
    y: npt.ArrayLike,
    target: npt.ArrayLike,
    *,
    weights: npt.ArrayLike | None = None,
    lengths: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
) -> float:
    """Part of the predictions that are right: the largest logit is the target's, or the only one is above 0 if it is.

    Parameters
    ----------
    y : array_like of float, (..., classes) or any shape
        Logits, as for `cross_entropy` or for `binary_cross_entropy`.
    target : array_like
        Classes, as for `cross_entropy`, where it has fewer axes than y and the last axis of y has not just one entry;
        elsewhere 0, 1 or probabilities, as for `binary_cross_entropy`: many labels that are the same at every step must
        be given for every step. Beside one of these losses, in `fit` and `evaluate`, what they are for it.
    weights, lengths, mask
        As in these losses.

    Raises
    ------
    TypeError, ValueError
        As from these losses, and if y holds integers or booleans.
    """
    return _ratio(_hits(y, target, weights, lengths, mask))


def perplexity(
    y: npt.ArrayLike,
    target: npt.ArrayLike,
    *,
    weights: npt.ArrayLike | None = None,
    lengths: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
) -> float:
    """exp(`cross_entropy`), of the same arguments: among how many equal choices one would be as uncertain."""
    return _exp_ratio(_nats(y, target, weights, lengths, mask))


def bits_per_character(
    y: npt.ArrayLike,
    target: npt.ArrayLike,
    *,
    weights: npt.ArrayLike | None = None,
    lengths: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
) -> float:
    """`cross_entropy` of the same arguments, in bits."""
    return _bits(_nats(y, target, weights, lengths, mask))


def mean_squared_error(
    y: npt.ArrayLike,
    target: npt.ArrayLike,
    *,
    weights: npt.ArrayLike | None = None,
    lengths: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
) -> float:
    """The loss of `mse`, of the same arguments."""
    return _ratio(_squares(y, target, weights, lengths, mask))


def mean_absolute_error(
    y: npt.ArrayLike,
    target: npt.ArrayLike,
    *,
    weights: npt.ArrayLike | None = None,
    lengths: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
) -> float:
    """The loss of `mae`, of the same arguments."""
    return _ratio(_distances(y, target, weights, lengths, mask))


def r2(
    y: npt.ArrayLike,
    target: npt.ArrayLike,
    *,
    weights: npt.ArrayLike | None = None,
    lengths: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
) -> float:
    """R2, the part of the target's variance that is predicted: ``1 - sum((target - y)**2) / sum((target - mean)**2)``.

    Of each feature (the last axis, where there is more than one axis) over all else, then their mean, as in
    scikit-learn; so is a target without variance: 1 if it is met, else 0. Arguments and errors are those of `mse`.
    """
    return _r2_value(_r2_sums(y, target, weights, lengths, mask))


# ------------------------------------------------------------------------------------------------- what adds up


def _hits(y: Any, target: Any, weights: Any = None, lengths: Any = None, mask: Any = None) -> Array:
    own, wanted = as_numbers("y", y), as_real("target", target)
    if own.dtype.kind != "f":  # which would be read as logits above 0, but for class 0
        raise _errors.wrong_type("y", "logits", f"dtype {own.dtype}; of predicted classes it is np.mean(y == target)")
    of_classes = wanted.ndim < own.ndim and own.shape[-1] != 1
    return (_right_rows if of_classes else _right_entries)(own, wanted, weights, lengths, mask)


@quiet
def _right_rows(y: Any, target: Any, weights: Any = None, lengths: Any = None, mask: Any = None) -> Array:
    rows = read_rows("y", y, target, weights, lengths, mask)
    return np.array([rows.sum(rows.y.argmax(axis=1) == rows.target), rows.counted.total])


@quiet
def _right_entries(y: Any, target: Any, weights: Any = None, lengths: Any = None, mask: Any = None) -> Array:
    entries = read_entries(y, target, weights, lengths, mask)
    check_probabilities(entries.target)
    return np.array([entries.sum((entries.y > 0) == (entries.target > 0.5)), entries.counted.total])


@quiet
def _nats(y: Any, target: Any, weights: Any = None, lengths: Any = None, mask: Any = None) -> Array:
    rows = read_rows("y", y, target, weights, lengths, mask)
    return np.array([rows.sum(row_losses(rows)), rows.counted.total])


@quiet
def _squares(y: Any, target: Any, weights: Any = None, lengths: Any = None, mask: Any = None) -> Array:
    entries = read_entries(y, target, weights, lengths, mask)
    return np.array([entries.sum(np.square(entries.y - entries.target, dtype=np.float64)), entries.counted.total])


@quiet
def _distances(y: Any, target: Any, weights: Any = None, lengths: Any = None, mask: Any = None) -> Array:
    entries = read_entries(y, target, weights, lengths, mask)
    return np.array([entries.sum(np.abs(entries.y - entries.target)), entries.counted.total])


@quiet
def _r2_sums(y: Any, target: Any, weights: Any = None, lengths: Any = None, mask: Any = None) -> Array:
    """(4,F): weight, mean of the target, squares about it, squares of the errors."""
    entries = read_entries(given_back(y), target, weights, lengths, mask)
    where, each, _ = entries.counted
    features = entries.shape[-1] if len(entries.shape) > 1 else 1
    feature = np.broadcast_to(np.arange(features), entries.shape or (1,))
    feature = feature.reshape(-1) if where is None else feature[where]
    own = entries.y.reshape(-1).astype(np.float64)
    wanted = np.broadcast_to(entries.target, entries.y.shape).reshape(-1).astype(np.float64)
    flat = np.ones_like(own) if each is None else each.reshape(-1)

    def by_feature(values: Array) -> Array:
        return np.bincount(feature, flat * values, features)

    weight = by_feature(np.ones_like(own))
    mean = by_feature(wanted) / np.where(weight > 0, weight, 1)
    return np.stack([weight, mean, by_feature((wanted - mean[feature]) ** 2), by_feature((wanted - own) ** 2)])


def _r2_add(a: Array, b: Array) -> Array:
    """Of two batches; the squares are about the common mean (Chan, Golub and LeVeque 1979)."""
    weight, apart = a[0] + b[0], b[1] - a[1]
    part = b[0] / np.where(weight > 0, weight, 1)
    return np.stack([weight, a[1] + part * apart, a[2] + b[2] + a[0] * part * apart**2, a[3] + b[3]])


def _r2_value(sums: Array) -> float:
    _, _, variance, errors = sums[:, sums[0] > 0]
    constant = variance == 0
    score = 1 - errors / np.where(constant, 1, variance)
    return float(np.mean(np.where(constant, errors == 0, score)))


def _ratio(sums: Array) -> float:
    return float(sums[0] / sums[1])


def _exp_ratio(sums: Array) -> float:
    with np.errstate(over="ignore"):
        return float(np.exp(_ratio(sums)))


def _bits(sums: Array) -> float:
    return _ratio(sums) / float(np.log(2))


PARTS: dict[Callable[..., float], Parts] = {
    accuracy: Parts(_hits, np.add, _ratio),
    perplexity: Parts(_nats, np.add, _exp_ratio),
    bits_per_character: Parts(_nats, np.add, _bits),
    mean_squared_error: Parts(_squares, np.add, _ratio),
    mean_absolute_error: Parts(_distances, np.add, _ratio),
    r2: Parts(_r2_sums, _r2_add, _r2_value),
}
METRICS: dict[str, Callable[..., float]] = {metric.__name__: metric for metric in PARTS}
METRICS |= {"mse": mean_squared_error, "mae": mean_absolute_error}
# Losses that are asked for as metrics: what they return beside the loss is no part of it.
OF_LOSSES: dict[Callable[..., Any], Parts] = {
    mse: PARTS[mean_squared_error],
    mae: PARTS[mean_absolute_error],
    cross_entropy: Parts(_nats, np.add, _ratio),
}


def parts_of(metric: Callable[..., Any], loss: Callable[..., Any]) -> Parts | None:
    """Of a metric that adds up; the targets of accuracy are what they are for the loss, where that says it."""
    if metric is accuracy and loss is cross_entropy:
        return Parts(_right_rows, np.add, _ratio)
    if metric is accuracy and loss is binary_cross_entropy:
        return Parts(_right_entries, np.add, _ratio)
    return next((parts for own, parts in (*PARTS.items(), *OF_LOSSES.items()) if own is metric), None)
