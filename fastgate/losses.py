"""Losses with their gradients: each takes predictions and targets and returns (loss, gradient in the predictions).

What has a loss of its own is a unit: every entry of y or, in `cross_entropy`, every row of logits. ``weights``,
``lengths`` and ``mask`` say which units count, and how much. A unit counts if it is inside the lengths, True in the
mask, and of a weight above 0; what does not count is never read, neither in y nor in the target nor in the weights.

One target for all steps: where y has three axes or more, (B,T,...), a target without the second axis is the same at
every step. In losses of numbers, a last axis of one entry may be missing in the target. Nothing else broadcasts, and
which axis is which never depends on sizes: time-first predictions need a target of their own shape, and a mask.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from fastgate._arrays import Array, as_limit, empty_beside, quiet
from fastgate._entries import Entries, check_probabilities, read_entries, read_rows

BLOCK = 1 << 17  # logits at once, so that they stay in the cache


@quiet
def mse(
    y: npt.ArrayLike,
    target: npt.ArrayLike,
    *,
    weights: npt.ArrayLike | None = None,
    lengths: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
) -> tuple[float, Array]:
    """Mean of ``(y - target)**2`` over all entries that count.

    Parameters
    ----------
    y : array_like, any shape
    target : array_like, the same shape
        Or (B,F) for y (B,T,F): the same at every step. A last axis of one entry may be missing.
    weights : array_like, optional, the shape of y or of some of its leading axes
        At least 0: the mean is ``sum(w * l) / sum(w)``.
    lengths : array_like of int, (B,), optional
        For y (B,T,...): steps from a row's length on do not count.
    mask : array_like of bool, optional, the shape of y or of some of its leading axes
        Only what is True counts.

    Returns
    -------
    loss : float
    dy : ndarray, as y
        0 for what does not count, which is never read and may be NaN.

    Raises
    ------
    TypeError, ValueError
        If the shapes do not match, or nothing counts.
    """
    entries = read_entries(y, target, weights, lengths, mask)
    difference = entries.y - entries.target
    return entries.mean(np.square(difference, dtype=np.float64)), entries.spread(difference * (2 * entries.shares))


@quiet
def mae(
    y: npt.ArrayLike,
    target: npt.ArrayLike,
    *,
    weights: npt.ArrayLike | None = None,
    lengths: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
) -> tuple[float, Array]:
    """Mean of ``abs(y - target)`` over all entries that count; its gradient is 0 where both are equal.

    Parameters, returns and errors are those of `mse`.
    """
    entries = read_entries(y, target, weights, lengths, mask)
    difference = entries.y - entries.target
    return entries.mean(np.abs(difference)), entries.spread(np.sign(difference) * entries.shares)


@quiet
def huber(
    y: npt.ArrayLike,
    target: npt.ArrayLike,
    *,
    delta: float = 1.0,
    weights: npt.ArrayLike | None = None,
    lengths: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
) -> tuple[float, Array]:
    """Mean over all entries that count of ``d**2 / 2`` up to ``abs(d) = delta``, a line beyond; d = y - target.

    Source: Huber 1964. Parameters, returns and errors are those of `mse`, and:

    Parameters
    ----------
    delta : float
        Above 0: how far an entry may be off before its gradient grows no more.
    """
    delta = as_limit("delta", delta)
    entries = read_entries(y, target, weights, lengths, mask)
    difference = entries.y - entries.target
    slope = np.clip(difference, -delta, delta)
    loss = entries.mean(np.multiply(slope, difference - slope / 2, dtype=np.float64))
    return loss, entries.spread(slope * entries.shares)


@quiet
def binary_cross_entropy(
    y: npt.ArrayLike,
    target: npt.ArrayLike,
    *,
    weights: npt.ArrayLike | None = None,
    lengths: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
) -> tuple[float, Array]:
    """Mean of ``-t log s(y) - (1 - t) log(1 - s(y))``, in nats, over all entries that count; s is the logistic sigmoid.

    Parameters
    ----------
    y : array_like, any shape
        Logits: *before* any sigmoid, so that nothing is lost where it is 0 or 1.
    target : array_like, the same shape
        0, 1 or a probability. Or (B,F) for y (B,T,F): the same at every step. A last axis of one entry may be missing:
        (B,) for y (B,1); (B,T), (B,1) or (B,) for y (B,T,1).
    weights, lengths, mask
        As in `mse`.

    Returns
    -------
    loss : float
    dy : ndarray, as y
        0 for what does not count, which is never read and may be NaN.

    Raises
    ------
    TypeError, ValueError
        If the shapes do not match, a target that counts is no probability, or nothing counts.
    """
    entries = read_entries(y, target, weights, lengths, mask)
    logits, wanted = entries.y, entries.target
    check_probabilities(wanted)
    odds = np.exp(-np.abs(logits))
    less = odds / (1 + odds)  # the smaller of the two probabilities, of which no digit is lost
    loss = entries.mean(np.maximum(logits, 0) - logits * wanted + np.log1p(odds))
    return loss, entries.spread(np.where(logits < 0, less - wanted, (1 - wanted) - less) * entries.shares)


@quiet
def cross_entropy(
    logits: npt.ArrayLike,
    target: npt.ArrayLike,
    *,
    weights: npt.ArrayLike | None = None,
    lengths: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
) -> tuple[float, Array]:
    """Mean of ``-log softmax(logits)[target]``, in nats, over all rows that count: all but the last axis.

    Parameters
    ----------
    logits : array_like, (..., classes)
    target : array_like of int, (...), from 0 to classes - 1
        Or (B,) for logits (B,T,classes): the same at every step.
    weights : array_like, optional, (...) or some of its leading axes
        At least 0: the mean is ``sum(w * l) / sum(w)``. With one weight for each class, pass ``weight[target]``.
    lengths : array_like of int, (B,), optional
        For logits (B,T,...,classes): steps from a row's length on do not count.
    mask : array_like of bool, optional, (...) or some of its leading axes
        Only what is True counts.

    Returns
    -------
    loss : float
    dlogits : ndarray, as logits
        0 for what does not count, which is never read: logits may be NaN there, and targets no class.

    Raises
    ------
    TypeError, ValueError
        If the shapes do not match, a target that counts is no class, or nothing counts.
    """
    rows = read_rows("logits", logits, target, weights, lengths, mask)
    gradient = np.empty_like(rows.y)
    return rows.mean(row_losses(rows, gradient)), rows.spread(gradient)


def row_losses(rows: Entries, gradient: Array | None = None) -> Array:
    """-log softmax(row)[target] of each row (N,), and in `gradient` (N,C), if given, that of their mean."""
    losses: Array = empty_beside(rows.y, (len(rows.y),))
    shares = rows.shares
    on_host = isinstance(rows.y, np.ndarray)
    step = max(1, BLOCK // rows.y.shape[1] if on_host else len(rows.y))  # no cache to stay in on a GPU
    for start in range(0, len(losses), step):
        block = slice(start, start + step)
        logits, chosen = rows.y[block], rows.target[block]
        at = np.arange(len(chosen))
        # From the logits, not from probabilities: log(softmax) would lose everything below the rounding of 1.
        odds = np.subtract(logits, logits.max(axis=1, keepdims=True), out=None if gradient is None else gradient[block])
        shifted = odds[at, chosen]
        total = np.exp(odds, out=odds).sum(axis=1)
        losses[block] = np.log(total) - shifted
        if gradient is not None:
            share = shares[block] if shares.ndim else shares
            odds *= (share / total)[:, None]
            odds[at, chosen] -= share
    return losses


LOSSES: dict[str, Callable[..., tuple[float, Array]]] = {
    "mse": mse,
    "mae": mae,
    "mean_squared_error": mse,
    "mean_absolute_error": mae,
    "huber": huber,
    "cross_entropy": cross_entropy,
    "binary_cross_entropy": binary_cross_entropy,
}
