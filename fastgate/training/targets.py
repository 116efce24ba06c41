"""What is wrong with the targets of a training, in terms of the user's own y: looked for once a loss refuses them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastgate import _errors
from fastgate._arrays import Array
from fastgate._entries import count, target_forms
from fastgate.losses import LOSSES, binary_cross_entropy, cross_entropy


def complaint(loss: Callable[..., Any], y: Array, target: Any, options: dict[str, Array]) -> Exception | None:
    """What to say of the targets beside outputs `y`, samples first; None where it is not they, or not our loss."""
    if not any(loss is known for known in LOSSES.values()):
        return None
    wanted, of_classes = np.asarray(target), loss is cross_entropy
    units = y.shape[:-1] if of_classes else y.shape
    classes = f"integers from 0 to {y.shape[-1] - 1}"
    if wanted.dtype.kind not in "fiub":
        is_text = wanted.dtype.kind in "US" or (wanted.dtype == object and all(isinstance(v, str) for v in wanted.flat))
        advice = "; number them: names, y = np.unique(labels, return_inverse=True)"
        got = (
            f"strings{advice * (loss in (cross_entropy, binary_cross_entropy))}" if is_text else f"dtype {wanted.dtype}"
        )
        return _errors.wrong_type("y", classes if of_classes else "numbers", got)
    if of_classes and wanted.shape == y.shape:
        return _errors.wrong_type("y", classes, f"{_rows(wanted)} each; one-hot? y.argmax(axis=-1)")
    if of_classes and wanted.shape == (*units, 1):
        return _errors.wrong_type("y", classes, f"{_rows(wanted)} each; y[..., 0]")
    forms = [form[1:] for form, _ in target_forms(y.shape, units)]
    if wanted.shape[1:] not in forms:
        what = "one class" if of_classes else "the shape of the model's output"
        return _errors.misplaced("y", f"{what} for each sample, {' or '.join(map(str, forms))}", wanted.shape[1:])
    if of_classes and wanted.dtype.kind == "f":
        return _errors.wrong_type("y", classes, f"dtype {wanted.dtype}; y.astype(int)")
    if loss in (cross_entropy, binary_cross_entropy):
        return _out_of_range(wanted, units, options, y.shape[-1] if of_classes else None)
    return None


def _rows(wanted: Array) -> str:
    return f"{wanted.shape[-1]} {'entry' if wanted.shape[-1] == 1 else 'entries'} of dtype {wanted.dtype}"


def _out_of_range(
    wanted: Array, units: tuple[int, ...], options: dict[str, Array], classes: int | None
) -> ValueError | None:
    """Of classes, or of probabilities; what does not count may be anything."""
    widened = next(
        wide for form, wide in target_forms((*units, 1) if classes else units, units) if form == wanted.shape
    )
    where = count(units, **options).where
    counting = np.broadcast_to(wanted.reshape(widened), units)
    counting = counting if where is None else counting[where]
    least, largest = counting.min(), counting.max()
    if least >= 0 and largest <= (1 if classes is None else classes - 1):
        return None
    if classes is None:
        return _errors.wrong_range("y", "0, 1 or probabilities", least, largest)
    outputs = f"{largest}; the model has {classes} outputs, classes are counted from 0"
    return _errors.misplaced("y", f"integers from 0 to {classes - 1}", f"{least} to {outputs}")
