"""Which parts of a model's output count in a loss or a metric, and how much: read in one place for all of them."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastgate import _errors
from fastgate._arrays import Array, as_booleans, as_lengths, as_real, beside, is_there
from fastgate._places import as_floating_beside, as_floating_there, as_numbers, chosen, spread

Shape = tuple[int, ...]


class Counted(NamedTuple):
    """What counts of the units: of all that have a loss of their own."""

    where: Array | None  # bool, shaped as the units; None if all count
    weights: Array | None  # float64, (N,) or, if all count, shaped as the units; None if all are equal
    total: float  # the sum of the weights, or N


class Entries(NamedTuple):
    """Predictions and targets of the N units that count, and the way back to all.

    The units are the entries of y: then `y` and `target` are (N,) or, if all count, shaped as y. Or they are its rows,
    those of its last axis: then `y` is (N,C) and `target` (N,).
    """

    y: Array
    target: Array
    counted: Counted
    shape: Shape  # of y as it was given

    @property
    def shares(self) -> Array:
        """How much of the mean each unit is: in y's dtype, shaped as the units, or () if all are equal."""
        weights = 1.0 if self.counted.weights is None else self.counted.weights
        shares = np.asarray(weights / self.counted.total, self.y.dtype)
        return beside(self.y, shares) if shares.ndim else shares

    def sum(self, losses: Array) -> float:
        """Of one number for each unit, times its weight."""
        weights = self.counted.weights
        return float(np.sum(losses if weights is None else beside(losses, weights) * losses, dtype=np.float64))

    def mean(self, losses: Array) -> float:
        """Of one number for each unit, by their weights."""
        return self.sum(losses) / self.counted.total

    def spread(self, dy: Array) -> Array:
        """From the gradient in what counts to that in all of y: 0 elsewhere."""
        if self.counted.where is None:
            return dy.reshape(self.shape)
        return spread(dy, self.counted.where, self.shape)


def read_entries(y: Any, target: Any, weights: Any, lengths: Any, mask: Any) -> Entries:
    """Every entry of y is a unit."""
    given, wanted = as_numbers("y", y), as_numbers("target", target)
    shape, dtype = given.shape, _dtype_of(given)
    wanted = _aligned(wanted, "y", shape, shape)
    if given.size == 0:
        raise _errors.wrong_shape("y", "with at least one entry", shape)
    counted = count(shape, weights, lengths, mask)
    if counted.where is not None:
        given, wanted = chosen(given, counted.where), chosen(_widened_to(wanted, shape), counted.where)
    own = as_floating_there("y", given, dtype)
    if is_there(own) and wanted.shape != own.shape:
        wanted = _widened_to(wanted, own.shape)
    expected = as_floating_beside("target", wanted, own)
    if not own.ndim:
        own, expected = own.reshape(1), expected.reshape(1)  # NumPy computes no arrays from arrays without axes
    return Entries(own, expected, counted, shape)


def read_rows(name: str, logits: Any, target: Any, weights: Any, lengths: Any, mask: Any) -> Entries:
    """Every row of the logits is a unit, and its target a class."""
    given, labels = as_numbers(name, logits), as_real("target", target)
    labels = labels.astype(np.int64) if labels.dtype == bool else labels
    if labels.dtype.kind not in "iu":
        raise _errors.wrong_type("target", "integers", f"dtype {labels.dtype}")
    if given.ndim == 0:
        raise _errors.wrong_shape(name, "(..., classes)", given.shape)
    units, classes = given.shape[:-1], given.shape[-1]
    labels = _aligned(labels, name, given.shape, units)
    if labels.shape != units:
        labels = np.broadcast_to(labels, units)
    if labels.size == 0:
        raise _errors.wrong_shape("target", "with at least one entry", labels.shape)
    where, weights, total = count(units, weights, lengths, mask)
    rows, labels = (given, labels.reshape(-1)) if where is None else (chosen(given, where), labels[where])
    if labels.min() < 0 or labels.max() >= classes:
        expected = f"classes from 0 to {classes - 1}"
        raise _errors.wrong_range("target", expected, labels.min(), labels.max())
    rows = as_floating_there(name, rows, _dtype_of(given)).reshape(-1, classes)
    weights = None if weights is None else weights.reshape(-1)
    labels = beside(rows, labels.astype(np.int64)) if is_there(rows) else labels
    return Entries(rows, labels, Counted(where, weights, total), given.shape)


def count(units: Shape, weights: Any = None, lengths: Any = None, mask: Any = None) -> Counted:
    """What is inside the lengths, in the mask and of a weight above 0; what does not count is not read.

    Weights and mask have the shape of the units or of some of their leading axes: one for each sequence, say, or for
    each step. Lengths are those of the second axis.
    """
    if weights is None and lengths is None and mask is None:
        return Counted(None, None, float(prod(units)))
    where: Array | None = None
    if lengths is not None:
        if len(units) < 2:
            raise _errors.wrong_type("lengths", "None where the predictions have no axis of steps", "lengths")
        inside = np.arange(units[1]) < as_lengths(lengths, units[0], units[1])[:, None]
        where = _widened(inside, units)
    if mask is not None:
        chosen = _leading("mask", as_booleans("mask", mask), units)
        where = chosen if where is None else where & chosen
    if weights is not None:
        weights = _leading("weights", as_real("weights", weights), units)
        read = weights if where is None else weights[where]
        with np.errstate(over="ignore", invalid="ignore"):
            total = float(np.sum(read, dtype=np.float64))
        if not (np.min(read, initial=0) >= 0 and total < np.inf):
            expected = "numbers of at least 0, and a finite sum"
            raise _errors.wrong_range("weights", expected, read.min(), read.max())
        if not read.all():
            where = weights != 0 if where is None else where & (weights != 0)
    if where is not None and where.all():
        where = None
    if where is not None and not where.any():
        given = {"lengths": lengths, "mask": mask, "weights": weights}
        raise _errors.nothing_counts([name for name, value in given.items() if value is not None])
    if weights is None:
        return Counted(where, None, float(prod(units) if where is None else np.count_nonzero(where)))
    return Counted(where, (weights if where is None else weights[where]).astype(np.float64), total)


def _aligned(target: Array, name: str, shape: Shape, units: Shape) -> Array:
    """The target in a shape that broadcasts to that of the units.

    Of entries, a last axis of one may be missing; where y has three axes or more, so may the second, that of the steps:
    then the target is the same at every step.
    """
    if target.shape == units:
        return target
    forms = target_forms(shape, units)
    for form, widened in forms:
        if target.shape == form:
            return target.reshape(widened)
    what = f"that of {name}, {units}" if units == shape else f"that of {name} without the last axis, {units}"
    others = [str(form) for form, _ in forms[1:]]
    raise _errors.wrong_shape("target", " or ".join([what, *others]), target.shape)


def target_forms(shape: Shape, units: Shape) -> list[tuple[Shape, Shape]]:
    """The shapes that a target may have beside a y of this one, each with that to which it is widened."""
    forms = [(units, units)]
    if units == shape and len(shape) >= 2 and shape[-1] == 1:
        forms.append((shape[:-1], units))
    if len(shape) >= 3:
        every_step = (units[0], 1, *units[2:])
        forms += [((form[0], *form[2:]), every_step) for form, _ in forms]
    return forms


def _leading(name: str, array: Array, units: Shape) -> Array:
    """What is given for some leading axes, for all of them."""
    if array.shape != units[: array.ndim] or (units and not array.ndim):
        raise _errors.wrong_shape(name, f"{units} or some of its leading axes", array.shape)
    return _widened(array, units)


def _widened(array: Array, units: Shape) -> Array:
    return np.broadcast_to(array.reshape(array.shape + (1,) * (len(units) - array.ndim)), units)


def _widened_to(target: Array, shape: Shape) -> Array:
    return target if target.shape == shape else np.broadcast_to(np.asarray(target), shape)


def _dtype_of(y: Array) -> np.dtype[Any]:
    return np.dtype(np.float32) if y.dtype == np.float32 else np.dtype(np.float64)


def check_probabilities(target: Array) -> None:
    if not (target.min() >= 0 and target.max() <= 1):
        raise _errors.wrong_range("target", "probabilities from 0 to 1", target.min(), target.max())
