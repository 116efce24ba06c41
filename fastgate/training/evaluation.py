"""Running a model over data without training it: no dropout."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastgate import _errors
from fastgate._arrays import Array
from fastgate._terminal import Interruption
from fastgate.training import errors
from fastgate.training.batches import Samples, Source
from fastgate.training.gradient import there
from fastgate.training.group import Group
from fastgate.training.layout import layout_of
from fastgate.training.objective import Objective, Outputs, Sums
from fastgate.training.sources import source_of


def predict(model: Any, x: Any, *, batch_size: int = 32, lengths: Any = None) -> Any:
    """The model's output for all of x, computed batch by batch.

    Parameters
    ----------
    x : array_like, list of sequences, or an iterable of batches
        As in `fit`; a batch is x, or a tuple that begins with it.
    batch_size : int
    lengths : array_like of int, (N,), optional
        Instead of a mask, put `Masking` or ``Embedding(..., mask_zero=True)`` in the model; see `fit`.

    Returns
    -------
    ndarray, as calling the model gives, or a list
        With a list of sequences and an output per step one array (T_i, ...) for each sequence.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, shape or range; the message names it.
    """
    layout = layout_of(model)
    source = source_of(x, None, lengths, None, layout=layout, batch_size=batch_size)
    has_sequences = isinstance(source, Samples) and source.has_sequences
    is_list, axis = has_sequences, 0
    outputs: list[Array] = []
    for batch in source.epoch(0):
        y = model(batch.x, lengths=batch.lengths)
        has_steps = layout.has_steps(y, batch)
        is_list, axis = is_list and has_steps and batch.y_lengths is not None, int(layout.time_first and has_steps)
        if is_list and batch.y_lengths is not None:
            rows = zip(np.moveaxis(y, axis, 0), batch.y_lengths, strict=True)
            outputs += [row[:length].copy() for row, length in rows]
        else:
            outputs.append(y)
    return outputs if is_list else _joined(outputs, axis, has_sequences=has_sequences)


def evaluate(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    loss: Any,
    metrics: Any = (),
    lengths: Any = None,
    weights: Any = None,
    batch_size: int = 32,
    stateful: bool | int = False,
) -> dict[str, float]:
    """Loss and metrics over all of the data, which do not depend on `batch_size` but for rounding.

    Parameters
    ----------
    x, y, loss, metrics, lengths, weights, batch_size, stateful
        As in `fit`, which also says what stands for a mask.

    Returns
    -------
    dict
        ``loss`` and the metrics by name.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, shape or range; the message names it.
    """
    layout = layout_of(model)
    source = source_of(x, y, lengths, weights, layout=layout, batch_size=batch_size, stateful=stateful)
    return measure(model, Objective(loss, metrics, layout), source, carries=stateful is not False)


def measure(
    model: Any,
    objective: Objective,
    source: Source,
    *,
    carries: bool = False,
    ctrl_c: Interruption | None = None,
    group: Group | None = None,
) -> dict[str, float]:
    """`evaluate` of what is checked already; by several processes, which have a share of each batch."""
    sums = Sums(objective, keeps_outputs=True)
    for found in outputs_of(model, objective, source, carries=carries):
        sums.add(*found)
        if ctrl_c is not None and ctrl_c.requested:
            raise KeyboardInterrupt
    return (sums if group is None else group.total(sums)).means()


def outputs_of(
    model: Any, objective: Objective, source: Source, *, carries: bool
) -> Iterator[tuple[float, float, Outputs]]:
    """Of each batch in which something counts its loss, how much it counts, and the outputs."""
    state = None
    for batch in source.epoch(0):
        if batch.y is None:
            raise errors.no_targets()
        start = state if carries and batch.carries else None
        y, state, mask = model._infer(there(model, batch.x), batch.lengths, start)
        given = objective.outputs(y, batch, mask)
        if weight := given.weight:
            yield objective.loss(given)[0], weight, given


def _joined(outputs: list[Array], axis: int, *, has_sequences: bool) -> Array:
    """Of all batches, as one array."""
    shapes = {(*y.shape[:axis], *y.shape[axis + 1 :]) for y in outputs}
    if len(shapes) > 1:
        got = " and ".join(str(y.shape) for y in outputs[:2])
        expected = "batches of equal length, or a list of sequences"
        if has_sequences:
            expected = "sequences of equal length, as the steps of the output are not theirs in their order"
        raise _errors.wrong_type("x", expected, f"outputs of shapes {got}")
    return np.concatenate(outputs, axis)
