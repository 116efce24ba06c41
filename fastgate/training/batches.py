"""Where the batches of an epoch come from: arrays and lists cut into batches, or whatever gives batches one by one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Protocol

import numpy as np

from fastgate import _errors
from fastgate._arrays import Array, as_array, as_pairs
from fastgate.training import errors
from fastgate.training.columns import ArrayColumn, Column, Rows, SequencesColumn, as_sequences, is_sequences
from fastgate.training.layout import Batch, Input, Layout


class Source(Protocol):
    """Batches, epoch after epoch."""

    can_resume: bool  # whether the same epoch can be had again

    @property
    def steps(self) -> int | None:
        """In an epoch, where that is known."""

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from number `start` on."""

    def description(self) -> dict[str, Any]:
        """What a run that goes on with it must find the same."""


def epoch_order(seed: int, epoch: int, samples: int) -> Array:
    """In which order an epoch takes the samples: a pure function of its arguments."""
    return np.random.default_rng((seed, epoch)).permutation(samples)


class Samples:
    """Arrays, or lists of sequences, whose samples are taken in batches.

    Parameters
    ----------
    x, y, lengths, weights
        As `fit` takes them.
    seed : int or None
        In which order; None for the order that they have.
    """

    can_resume = True

    def __init__(
        self,
        x: Any,
        y: Any = None,
        lengths: Any = None,
        weights: Any = None,
        *,
        layout: Layout,
        batch_size: int,
        seed: int | None = None,
    ) -> None:
        self._layout, self._batch_size, self._seed = layout, batch_size, seed
        parts, own = as_pairs(x, lengths) if len(layout.inputs) > 1 else ((x,), (lengths,))
        names = [f"x[{i}]" for i in range(len(parts))] if len(parts) > 1 else ["x"]
        told = zip(names, parts, layout.inputs, strict=True)
        self._x = [_column(name, part, read, layout.time_first) for name, part, read in told]
        last = self._x[-1]  # whose steps the output has
        self._y = None if y is None else _target("y", y, last, layout)
        self._lengths = [None if given is None else ArrayColumn(as_array("lengths", given)) for given in own]
        self._weights = None if weights is None else _target("weights", weights, last, layout)
        self._check_counts(names)

    def _check_counts(self, names: list[str]) -> None:
        lengths = [(column, "lengths") for column in self._lengths]
        for column, name in (*zip(self._x, names, strict=True), (self._y, "y"), *lengths, (self._weights, "weights")):
            if column is not None and len(column) != len(self):
                raise _errors.wrong_value(name, f"one entry for each of the {len(self)} samples of x", len(column))
        for column, (own, _) in zip(self._x, lengths, strict=True):
            if own is not None and isinstance(column, SequencesColumn):
                raise _errors.unwanted("lengths", "None beside a list of sequences, which have their own", own.array)

    def __len__(self) -> int:
        return len(self._x[0])

    @property
    def steps(self) -> int:
        return -(-len(self) // self._batch_size)

    @property
    def has_sequences(self) -> bool:
        """Whether x, or that of several whose steps the output has, is a list of sequences."""
        return isinstance(self._x[-1], SequencesColumn)

    def part(self, start: int, stop: int, *, seed: int | None) -> Samples:
        """Some of the samples, without a copy."""
        new = object.__new__(Samples)
        new._layout, new._batch_size, new._seed = self._layout, self._batch_size, seed
        new._x = [column.part(start, stop) for column in self._x]
        new._lengths = [None if column is None else column.part(start, stop) for column in self._lengths]
        new._y = None if self._y is None else self._y.part(start, stop)
        new._weights = None if self._weights is None else self._weights.part(start, stop)
        return new

    def split(self, fraction: float) -> tuple[Samples, Samples]:
        """All but the last samples, and the last: such a fraction of them, rounded, but at least one on each side."""
        if len(self) < 2:
            raise _errors.wrong_value("validation", "data of their own: there is but one sample to split", fraction)
        first = len(self) - min(max(1, round(len(self) * fraction)), len(self) - 1)
        return self.part(0, first, seed=self._seed), self.part(first, len(self), seed=None)

    @property
    def is_regular(self) -> bool:
        """Whether all samples have the same number of steps, so that a part of a batch has those of the batch."""
        return not any(isinstance(column, SequencesColumn) for column in self._x)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        return (batch for _, batch in self.shares(number, start))

    def shares(
        self, number: int, start: int, share: Callable[[slice], slice] = lambda rows: rows
    ) -> Iterator[tuple[slice, Batch]]:
        """Where in the order of an epoch its batches lie, and of each the part that is one's share."""
        order = None if self._seed is None else epoch_order(self._seed, number, len(self))
        for first in range(start * self._batch_size, len(self), self._batch_size):
            rows = slice(first, min(first + self._batch_size, len(self)))
            own = share(rows)
            yield rows, self.take(own if order is None else order[own])

    def take(self, rows: Rows) -> Batch:
        """Some of the samples as one batch."""
        taken = [column.take(rows) for column in self._x]
        lengths = [
            found if own is None else own.take(rows)[0] for (_, found), own in zip(taken, self._lengths, strict=True)
        ]
        y = None if self._y is None else self._y.take(rows)[0]
        weights = None if self._weights is None else self._weights.take(rows)[0]
        y_lengths = lengths[-1] if self._layout.keeps_steps else None
        if len(self._layout.inputs) == 1:
            return Batch(taken[0][0], y, lengths[0], y_lengths, weights)
        return Batch(tuple(x for x, _ in taken), y, tuple(lengths), y_lengths, weights)

    def description(self) -> dict[str, Any]:
        columns = {f"x{i or ''}": column for i, column in enumerate(self._x)} | {"y": self._y, "weights": self._weights}
        columns |= {f"lengths{i or ''}": column for i, column in enumerate(self._lengths)}
        known = {name: None if column is None else column.description() for name, column in columns.items()}
        return {"samples": len(self)} | known


class Given:
    """Batches that come one by one: from an iterable, or from a callable that gives one for each epoch."""

    def __init__(
        self, batches: Iterable[Any] | Callable[[int], Iterable[Any]], *, layout: Layout, steps: int | None
    ) -> None:
        self._batches, self._layout, self.steps = batches, layout, steps
        self.can_resume = callable(batches)
        if callable(batches) and not _takes_one(batches):
            raise errors.no_epoch(batches)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        found = self._batches(number) if callable(self._batches) else self._batches
        if not isinstance(found, Iterable):
            raise _errors.wrong_type("x", "a callable(epoch) that returns an iterable of batches", type(found).__name__)
        is_empty = start == 0
        for i, item in enumerate(islice(found, self.steps)):
            is_empty = False
            if i >= start:
                yield self._read(item)._replace(carries=i > 0)
        if is_empty:
            raise errors.no_batches(number)

    def _read(self, item: Any) -> Batch:
        if _is_array(item):  # x alone, to predict from
            item = (item,)
        if not isinstance(item, (tuple, list)) or not 1 <= len(item) <= 4:
            expected = "batches (x, y), (x, y, lengths) or (x, y, lengths, weights)"
            raise _errors.wrong_type("x", expected, type(item).__name__)
        parts = (*item, None, None, None)[:4]
        return Samples(*parts, layout=self._layout, batch_size=1).take(slice(None))

    def description(self) -> dict[str, Any]:
        return {"steps_per_epoch": self.steps}


def is_given(x: Any) -> bool:
    """Whether x gives batches, rather than being what is cut into batches."""
    is_data = _is_array(x) or isinstance(x, (list, tuple))
    return not is_data and (callable(x) or isinstance(x, Iterable))


def _is_array(x: Any) -> bool:
    return hasattr(x, "__array__") or hasattr(x, "__dlpack__")


def _takes_one(function: Callable[[int], Any]) -> bool:
    """Whether it can be called with the number of an epoch; of some built in this is not known."""
    try:
        inspect.signature(function).bind(0)
    except TypeError:
        return False
    except ValueError:
        pass
    return True


def _column(name: str, value: Any, read: Input, time_first: bool) -> Column:
    if is_sequences(value):
        sequences = as_sequences(name, value)
        read.check(f"{name}[0]", sequences[0], "time")
        return SequencesColumn(sequences, int(time_first))
    array = _numbers(name, value)
    read.check(name, array, *(("time", "samples") if time_first else ("samples", "time")))
    if array.ndim < 1 + time_first:
        expected = "time before the samples" if time_first else "the samples along the first axis"
        raise _errors.wrong_shape(name, expected, array.shape)
    if array.shape[int(time_first)] == 0:
        raise _errors.wrong_shape(name, "at least one sample", array.shape)
    return ArrayColumn(array, int(time_first))


def _numbers(name: str, value: Any) -> Array:
    array = as_array(name, value)
    if array.dtype == object and array.ndim == 1 and is_sequences(list(array)):
        raise _errors.wrong_type(name, f"a list of arrays, as list({name})", "an array of arrays")
    return array


def _target(name: str, value: Any, x: Column, layout: Layout) -> Column:
    """Beside sequences a list of sequences as long as they are is one of labels per step; beside x (T, B, ...) of a
    model that gives an output per step, an array whose first two axes are those of x is one per step as well (whose
    second axis is, where the output's steps are not those of x).
    """
    if isinstance(x, SequencesColumn) and isinstance(value, list) and len(value) == len(x):
        own = [len(part) if hasattr(part, "__len__") else None for part in value]
        if layout.keeps_steps and own == [len(sequence) for sequence in x.sequences]:
            return SequencesColumn(as_sequences(name, value))
    if is_sequences(value) and len({len(part) for part in value}) > 1:
        raise _misfit(name, value, x, layout)
    array = _numbers(name, value)
    if array.ndim == 0:
        raise _errors.wrong_shape(name, "an entry for each sample", array.shape)
    if layout.time_first and layout.per_step and isinstance(x, ArrayColumn):
        first = 0 if layout.keeps_steps else 1
        if array.ndim > 1 and array.shape[first:2] == x.array.shape[first:2]:
            return ArrayColumn(array, 1, is_turned=True)
    return ArrayColumn(array)


def _misfit(name: str, values: list[Any], x: Column, layout: Layout) -> Exception:
    """Why these entries of unequal length cannot be those of the steps of x."""
    if not layout.keeps_steps:
        expected = "one entry for each sequence, as the model has a FinalState, or ends in reversed order"
        return _errors.wrong_type(name, expected, "sequences of unequal length")
    if not isinstance(x, SequencesColumn):
        return _errors.wrong_type(name, "one array, as x is one", "sequences of unequal length")
    if len(values) != len(x):
        return _errors.wrong_value(name, f"one entry for each of the {len(x)} samples of x", len(values))
    i, steps = next((i, len(own)) for i, own in enumerate(x.sequences) if len(own) != len(values[i]))
    return _errors.wrong_value(f"{name}[{i}]", f"{steps} entries, one for each step of x[{i}]", len(values[i]))
