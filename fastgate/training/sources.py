"""Which source of batches a user's data are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastgate import _errors
from fastgate._arrays import as_number, as_size
from fastgate.training.batches import Given, Samples, Source, is_given
from fastgate.training.layout import Layout
from fastgate.training.streams import Streams


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
        expected = "False, as an encoder-decoder, a bidirectional layer or a Reverse needs whole sequences"
        raise _errors.wrong_value("stateful", expected, stateful)
    if y is None:
        check_no_batches("x", x)
    if is_given(x):
        for name, value in (("y", y), ("lengths", lengths), ("weights", weights)):
            if value is not None:
                raise _errors.unwanted(name, "None beside an x that gives batches (x, y, lengths, weights)", value)
        return Given(x, layout=layout, steps=steps)
    if steps is not None:
        raise _errors.wrong_value("steps_per_epoch", "None beside data that are all there", steps)
    if isinstance(weights, Mapping):
        raise _errors.wrong_type("weights", "an array", "a dict; with one weight for each class, weights=w[y]")
    if stateful is False:
        return Samples(x, y, lengths, weights, layout=layout, batch_size=batch_size, seed=seed)
    if stateful is not False and not layout.keeps_steps:
        expected = "False, as a FinalState gives no output for each step of a stream"
        raise _errors.wrong_value("stateful", expected, stateful)
    if stateful is True:
        raise _errors.wrong_value("stateful", "the number of steps of a piece, for a stream", True)
    if lengths is not None:
        raise _errors.unwanted("lengths", "None beside stateful", lengths)
    piece = as_size("stateful", stateful)
    return Streams(x, y, weights, piece=piece, count=batch_size, layout=layout)


def check_no_batches(name: str, value: Any) -> None:
    """A list is data: one of tuples that begin with an array of several sequences surely was meant as batches."""
    if isinstance(value, list) and value and all(isinstance(own, tuple) and own for own in value):
        firsts = [own[0][0] if isinstance(own[0], tuple) and own[0] else own[0] for own in value]
        if all(len(getattr(first, "shape", ())) > 1 for first in firsts):
            expected = f"data, or what gives batches: {name}=lambda epoch: batches"
            raise _errors.wrong_type(name, expected, "a list of batches (x, y)")


def as_fraction(validation: Any) -> float:
    fraction = as_number("validation", validation)
    if not 0.0 < fraction < 1.0:
        raise _errors.wrong_value("validation", "a fraction between 0 and 1, or data (x, y)", validation)
    return fraction
