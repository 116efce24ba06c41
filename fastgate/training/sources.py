"""Which source of batches a user's data are, and how a model lays out what it reads and gives."""

from __future__ import annotations

from typing import Any

from fastgate import _errors
from fastgate._arrays import as_number, as_size
from fastgate.activation import Activation
from fastgate.embedding import Embedding
from fastgate.final_state import FinalState
from fastgate.training.batches import Given, Layout, Samples, Source, is_given
from fastgate.training.streams import Streams

Splittable = Samples | Streams


def layout_of(model: Any) -> Layout:
    """An encoder-decoder has the output of its decoder."""
    last = getattr(model, "decoder", model)
    is_final = any(isinstance(member.layer, FinalState) for member in last._members)
    first = getattr(model, "encoder", model)._members[0].layer
    step_axes = int(not isinstance(first, Embedding))
    is_two_way = any(getattr(member.layer, "bidirectional", False) for member in last._members)
    inputs = 1 if last is model else 2
    can_carry, end = inputs == 1 and not is_two_way, last._members[-1].layer
    activation = end.function if isinstance(end, Activation) else None
    return Layout(not model.batch_first, not is_final, inputs, can_carry, step_axes, activation)


def source_of(
    x: Any,
    y: Any = None,
    lengths: Any = None,
    weights: Any = None,
    *,
    layout: Layout,
    batch_size: int = 32,
    seed: int | None = None,
    stateful: bool | int = False,
    steps_per_epoch: int | None = None,
) -> Source:
    """What gives the batches of x, shuffled if there is a seed."""
    batch_size = as_size("batch_size", batch_size)
    steps = None if steps_per_epoch is None else as_size("steps_per_epoch", steps_per_epoch)
    if stateful is not False and not layout.can_carry:
        expected = "False, as an encoder-decoder or a bidirectional layer needs whole sequences"
        raise _errors.wrong_value("stateful", expected, stateful)
    if is_given(x):
        for name, value in (("y", y), ("lengths", lengths), ("weights", weights)):
            if value is not None:
                raise _errors.wrong_value(name, "None beside an x that gives batches (x, y, lengths, weights)", "some")
        return Given(x, layout=layout, steps=steps)
    if steps is not None:
        raise _errors.wrong_value("steps_per_epoch", "None beside data that are all there", steps)
    if stateful is False:
        return Samples(x, y, lengths, weights, layout=layout, batch_size=batch_size, seed=seed)
    if stateful is True:
        raise _errors.wrong_value("stateful", "the number of steps of a piece, for a stream", True)
    if lengths is not None:
        raise _errors.wrong_value("lengths", "None beside stateful", "some")
    piece = as_size("stateful", stateful)
    return Streams(x, y, weights, piece=piece, count=batch_size, layout=layout)


def as_fraction(validation: Any) -> float:
    fraction = as_number("validation", validation)
    if not 0.0 < fraction < 1.0:
        raise _errors.wrong_value("validation", "a fraction between 0 and 1, or data (x, y)", validation)
    return fraction
