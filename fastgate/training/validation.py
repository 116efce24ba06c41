"""The data that a training is measured on after every epoch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastgate import _errors
from fastgate._terminal import Interruption
from fastgate.training.batches import Samples, Source
from fastgate.training.evaluation import measure, outputs_of
from fastgate.training.history import VALIDATION
from fastgate.training.objective import Objective, Sums
from fastgate.training.sources import as_fraction, check_no_batches, source_of
from fastgate.training.streams import Streams


class Validation:
    """Held-out data, and how a model does on them. What is wrong with them has a note that it is they."""

    def __init__(self, model: Any, objective: Objective, source: Source, *, carries: bool) -> None:
        self._model, self._objective, self._source, self._carries = model, objective, source, carries
        self.columns = [VALIDATION + name for name in Sums(objective, keeps_outputs=True).names]

    def check(self) -> None:
        """Measure one batch: what is wrong shows before the first epoch, not after it."""
        sums = Sums(self._objective, keeps_outputs=False)
        with _named():
            for found in outputs_of(self._model, self._objective, self._source, carries=self._carries):
                sums.add(*found)
                break

    def measure(self, ctrl_c: Interruption) -> dict[str, float]:
        """Loss and metrics, by the names of their columns."""
        with _named():
            found = measure(self._model, self._objective, self._source, carries=self._carries, ctrl_c=ctrl_c)
        return {VALIDATION + name: value for name, value in found.items()}


def split(source: Source, validation: Any, options: dict[str, Any]) -> tuple[Source, Source | None]:
    """What is trained on, and what is measured, where `validation` is as `fit` takes it."""
    if validation is None:
        return source, None
    if isinstance(validation, (int, float)):
        fraction = as_fraction(validation)
        if not isinstance(source, (Samples, Streams)):
            raise _errors.wrong_value("validation", "data (x, y), as batches cannot be split", validation)
        return source.split(fraction)
    if isinstance(validation, Iterator):
        expected = "data, a callable(epoch), or batches that can be iterated over after every epoch"
        raise _errors.wrong_type("validation", expected, f"an iterator, {type(validation).__name__}")
    check_no_batches("validation", validation)
    parts = validation if isinstance(validation, (tuple, list)) else (validation,)
    if parts is validation and not 2 <= len(parts) <= 4:
        expected = "(x, y), (x, y, lengths) or (x, y, lengths, weights)"
        raise _errors.wrong_type("validation", expected, f"a {type(validation).__name__} of {len(parts)}")
    with _named():
        return source, source_of(*parts, **options)


@contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        error.add_note("in validation")
        raise
