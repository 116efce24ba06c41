"""A model over a block of an array of which all but the last axes are the batch: computed some sequences at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastgate import _errors
from fastgate._arrays import Array, as_lengths
from fastgate._kernels import cpu
from fastgate.sequential import Sequential
from fastgate.training.layout import Batch, layout_of

PROBED = 2  # steps of the zeros by which it is found out what a model gives


class Known(NamedTuple):
    """What a model takes and gives."""

    step_axes: int  # of its input, after time: features, or none where it begins with an Embedding
    has_time: bool  # its output
    outputs: int
    ends: list[tuple[int, int]]  # (L,U) of each array of its states
    groups: list[int]  # how many of these arrays each recurrent layer has

    def grouped(self, arrays: Sequence[Any]) -> tuple[Any, ...]:
        """The states, of which these are all arrays."""
        own = iter(arrays)
        return tuple(next(own) if count == 1 else tuple(next(own) for _ in range(count)) for count in self.groups)


def flat(states: Sequence[Any]) -> Iterator[Any]:
    """All arrays of some states."""
    for state in states:
        yield from state if isinstance(state, tuple) else (state,)


def in_range(lengths: Array, steps: int) -> Array:
    """They, of any shape; raise unless all are from 0 to `steps`."""
    return as_lengths(np.reshape(lengths, -1), lengths.size, steps).reshape(lengths.shape)


def known_of(chain: Sequential, steps: int, features: int, dtype: Any) -> Known:
    """What it gives for such an input, by one sequence of a few zeros; which also compiles what it needs."""
    layout = layout_of(chain)
    step_axes = layout.inputs[0].step_axes
    x = np.zeros((1, min(steps, PROBED), features)[: 2 + step_axes], dtype)
    y, states = chain.run(x if chain.batch_first else x.swapaxes(0, 1))
    has_time = layout.has_steps(y, Batch(x, None))
    if y.ndim != 2 + has_time:
        raise _errors.misplaced("model", "one vector for each step or for each sequence", f"an output of {y.ndim} axes")
    ends = [(end.shape[0], end.shape[2]) for end in flat(states)]
    groups = [len(state) if isinstance(state, tuple) else 1 for state in states]
    return Known(step_axes, has_time, y.shape[-1], ends, groups)


@dataclass(frozen=True)
class Block:
    """A function from arrays (..., T, I), lengths (...) and states (..., L, U), of which only x is always there.

    It returns y (..., T, O) or (..., O), or with `return_state` a tuple of y and the states.
    """

    __name__ = "fastgate"  # of its tasks, as dask shows them
    chain: Sequential | None  # None where it is the first argument, and dask is the caller
    known: Known
    has_features: bool
    has_lengths: bool
    return_state: bool
    batch_size: int

    def __call__(self, *arrays: Any) -> Any:
        if self.chain is not None:
            return self._run(self.chain, *arrays)
        with cpu.team.one_thread():
            return self._run(*arrays)

    def _run(self, chain: Sequential, x: Array, *others: Array) -> Any:
        known = self.known
        batch = x.shape[: x.ndim - 1 - self.has_features]
        shape, T = batch or (1,), x.shape[len(batch)]  # there is always an axis of sequences
        rows, given = prod(shape), list(others)
        x = x.reshape(*shape, *x.shape[len(batch) :])
        lengths = np.broadcast_to(given.pop(0), shape) if self.has_lengths else None
        starts = [np.broadcast_to(start, (*shape, *start.shape[-2:])) for start in given]
        y_shape = (T, known.outputs) if known.has_time else (known.outputs,)
        y = np.empty((rows, *y_shape), chain.dtype)
        ends = [np.empty((rows, *end), chain.dtype) for end in known.ends if self.return_state]
        for first in range(0, rows, self.batch_size):
            piece = slice(first, min(first + self.batch_size, rows))
            index = np.unravel_index(np.arange(piece.start, piece.stop), shape)
            own = x[index] if self.has_features or not known.step_axes else x[index][..., None]
            state = known.grouped([start[index].swapaxes(0, 1) for start in starts]) if starts else None
            found, after = chain.run(
                own if chain.batch_first else own.swapaxes(0, 1),
                state,
                lengths=None if lengths is None else lengths[index],
            )
            if known.has_time and not chain.batch_first:
                found = found.swapaxes(0, 1)
            if found.shape != (len(own), *y_shape):  # of a layer of the user's own
                raise _errors.wrong_shape("model: its output", str((len(own), *y_shape)), found.shape)
            y[piece] = found
            for end, array in zip(ends, flat(after), strict=False):
                end[piece] = array.swapaxes(0, 1)
        found_all = [array.reshape(*batch, *array.shape[1:]) for array in (y, *ends)]
        return tuple(found_all) if self.return_state else found_all[0]
