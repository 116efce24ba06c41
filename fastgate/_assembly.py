"""Do the layers of a model fit together?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastgate import _errors
from fastgate._protocol import OVER_TIME, Member
from fastgate._recurrent import Recurrent
from fastgate.activation import Activation
from fastgate.dropout import Dropout
from fastgate.embedding import Embedding
from fastgate.final_state import FinalState
from fastgate.masking import Masking
from fastgate.merge_directions import MergeDirections


def check(members: Sequence[Member]) -> None:
    """Raise at the first layer that does not fit to those before it."""
    before: Member | None = None
    features: int | None = None  # size of the last axis, where known
    has_time = True
    for m in members:
        if m.is_final and not (before and before.is_recurrent):
            got = before.place if before else "the model's input"
            raise _errors.misplaced(m.place, "an LSTM, GRU or RNN directly before it", got)
        if m.needs_time and not has_time:
            raise _errors.misplaced(m.place, "an input with time steps", "what follows from FinalState, without them")
        if isinstance(m.layer, Embedding) and before and before.is_own:
            raise _errors.misplaced(m.place, "integers, as only a model's input has", f"numbers of {before.place}")
        takes = features_taken(m.layer)
        if before and None not in (takes, features) and takes != features:
            raise _errors.misplaced(m.place, f"a layer for {features} features, as {before.place} gives", takes)
        if isinstance(m.layer, MergeDirections) and features is not None and features % 2:
            raise _errors.misplaced(m.place, "an even number of features", features)
        features = features_given(m.layer, features, before)
        has_time = not m.is_final and (has_time or not m.is_own)  # a user's layer may well repeat a vector over time
        before = m
    check_common(members)


def unsteppable(members: Sequence[Member]) -> Member | None:
    """The first layer that cannot run on one time step; what repeats the past can where none is skipped."""
    is_masked = False
    for m in members:
        if m.needs_sequences or (m.repeats_past and is_masked):
            return m
        is_masked = is_masked or m.makes_mask
    return None


def check_common(members: Sequence[Member]) -> None:
    """What must be the same of all layers, and what must not."""
    _check_equal(members, "dtype", [m.params.dtype.name if m.params else None for m in members])
    _check_equal(members, "batch_first", [m.batch_first for m in members])
    _check_distinct(members)


def features_taken(layer: Any) -> int | None:
    """Size of the last axis of its input; None if any will do, or if a user's layer does not tell."""
    known = (getattr(layer, name, None) for name in ("input_size", "in_features", "features"))
    return next((size for size in known if isinstance(size, int)), None)


def features_given(layer: Any, taken: int | None, before: Member | None) -> int | None:
    """Size of the last axis of its output."""
    size: Any
    if isinstance(layer, FinalState) and before:
        source = before.layer
        size = source._layout.output_size if layer.all_layers else features_given(source, None, None)
    elif isinstance(layer, Recurrent):
        size = layer._layout.output_size * (1 + layer.bidirectional)
    elif isinstance(layer, Embedding):
        size = layer.embedding_dim
    elif isinstance(layer, (Dropout, Activation, Masking, *OVER_TIME)):
        size = taken
    elif isinstance(layer, MergeDirections):
        size = None if taken is None else taken // 2
    else:
        size = getattr(layer, "out_features", getattr(layer, "features", None))
    return size if isinstance(size, int) else None


def _check_equal(members: Sequence[Member], name: str, values: Sequence[Any]) -> None:
    known = [(m, value) for m, value in zip(members, values, strict=True) if value is not None]
    for m, value in known:
        first, expected = known[0]
        if value != expected:
            raise _errors.misplaced(m.place, f"{name}={expected!r}, as {first.place} has", repr(value))


def _check_distinct(members: Sequence[Member]) -> None:
    """Two gradients for one parameter would be two steps of an optimiser."""
    seen: dict[int, Member] = {}
    for m in members:
        if m.params is not None and (first := seen.setdefault(id(m.params), m)) is not m:
            raise _errors.misplaced(m.place, "parameters of its own", f"those of {first.place}")
