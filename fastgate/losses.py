"""Losses with their gradients: each takes predictions and targets and returns (loss, gradient in the predictions)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fastgate import _errors
from fastgate._arrays import Array, as_floating, as_real


def mse(y: npt.ArrayLike, target: npt.ArrayLike) -> tuple[float, Array]:
    """Mean of ``(y - target)**2`` over all entries.

    Parameters
    ----------
    y : array_like, any shape
    target : array_like, the same shape

    Returns
    -------
    loss : float
    dy : ndarray, as y

    Raises
    ------
    TypeError, ValueError
        If the shapes differ, or there is no entry.
    """
    own = _predictions("y", y)
    wanted = as_floating("target", target, own.dtype)
    if wanted.shape != own.shape:
        raise _errors.wrong_shape("target", f"that of y, {own.shape}", wanted.shape)
    if own.size == 0:
        raise _errors.wrong_shape("y", "with at least one entry", own.shape)
    difference = own - wanted
    return float(np.mean(np.square(difference, dtype=np.float64))), difference * own.dtype.type(2.0 / own.size)


def cross_entropy(logits: npt.ArrayLike, target: npt.ArrayLike) -> tuple[float, Array]:
    """Mean of ``-log softmax(logits)[target]``, in nats, over all but the last axis.

    Parameters
    ----------
    logits : array_like, (..., classes)
    target : array_like of int, (...), from 0 to classes - 1

    Returns
    -------
    loss : float
    dlogits : ndarray, as logits

    Raises
    ------
    TypeError, ValueError
        If the shapes do not match, a target is no class, or there is none.
    """
    own = _predictions("logits", logits)
    labels = as_real("target", target)
    if labels.dtype.kind not in "iu":
        raise _errors.wrong_type("target", "integers", f"dtype {labels.dtype}")
    if own.ndim == 0 or labels.shape != own.shape[:-1]:
        raise _errors.wrong_shape("target", f"that of logits without the last axis, {own.shape[:-1]}", labels.shape)
    if labels.size == 0:
        raise _errors.wrong_shape("target", "with at least one entry", labels.shape)
    if labels.min() < 0 or labels.max() >= own.shape[-1]:
        expected = f"classes from 0 to {own.shape[-1] - 1}"
        raise _errors.wrong_value("target", expected, f"{labels.min()} to {labels.max()}")
    rows, chosen = own.reshape(-1, own.shape[-1]), labels.reshape(-1)
    at = np.arange(chosen.size)
    # From the logits, not from probabilities: log(softmax) would lose everything below the rounding of 1.
    with np.errstate(invalid="ignore", under="ignore"):  # an infinite logit gives NaN, and no warning
        shifted = rows - rows.max(axis=1, keepdims=True)
        gradient = np.exp(shifted)
        total = gradient.sum(axis=1, keepdims=True)
        loss = float(np.mean(np.log(total[:, 0]) - shifted[at, chosen], dtype=np.float64))
    gradient /= total
    gradient[at, chosen] -= 1
    gradient *= own.dtype.type(1.0 / chosen.size)
    return loss, gradient.reshape(own.shape)


def _predictions(name: str, value: Any) -> Array:
    array = as_real(name, value)
    return as_floating(name, array, np.dtype(np.float32) if array.dtype == np.float32 else np.dtype(np.float64))
