"""Clipping: gradients that are too large, made smaller."""

from __future__ import annotations

import numpy as np

from fastgate._arrays import Array, as_limit
from fastgate._optimizer import Gradients, vectors_of

BLOCK = 1 << 14  # entries whose squares are added at once


def clip_gradient_norm(gradients: Gradients, max_norm: float) -> float:
    """Scale all gradients in place so that their common Euclidean norm is, but for rounding, at most `max_norm`.

    Source: Pascanu, Mikolov and Bengio 2013. Gradients whose norm is not finite are left as they are.

    Parameters
    ----------
    gradients : list of mappings as `backward` returns in ``params``, or of vectors as `fastgate.jit` makes them
    max_norm : float
        Above 0.

    Returns
    -------
    float
        The norm before.

    Raises
    ------
    TypeError, ValueError
        If `max_norm` is not positive.
    """
    max_norm = as_limit("max_norm", max_norm)
    vectors = vectors_of(gradients)
    norm = float(np.hypot.reduce([_norm(vector) for vector in vectors], initial=0.0))
    if max_norm < norm < np.inf:
        for vector in vectors:
            vector *= vector.dtype.type(max_norm / norm)
    return norm


def clip_gradient_value(gradients: Gradients, max_value: float) -> None:
    """Bring every entry of all gradients, in place, to within +-`max_value`; NaN stays NaN.

    Parameters
    ----------
    gradients : list of mappings as `backward` returns in ``params``, or of vectors as `fastgate.jit` makes them
    max_value : float
        Above 0.

    Raises
    ------
    TypeError, ValueError
        If `max_value` is not positive.
    """
    max_value = as_limit("max_value", max_value)
    for vector in vectors_of(gradients):
        np.minimum(np.maximum(vector, -max_value, out=vector), max_value, out=vector)


def _norm(vector: Array) -> float:
    """In float64; where squares overflow or vanish, of the entries relative to the largest, times it."""
    total = _sum_of_squares(vector, 1.0)
    if 1e-200 < total < np.inf:
        return float(np.sqrt(total))
    largest = float(np.max(np.abs(np.asarray(vector)), initial=0.0))
    if largest == 0.0 or not np.isfinite(largest):
        return largest
    return largest * float(np.sqrt(_sum_of_squares(vector, largest)))


def _sum_of_squares(vector: Array, unit: float) -> float:
    """Block by block, not by BLAS, whose bits depend on its threads."""
    if not isinstance(vector, np.ndarray):
        return float(vector.sum_of_squares(unit))
    total = 0.0
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for start in range(0, vector.size, BLOCK):
            part = vector[start : start + BLOCK].astype(np.float64)
            part /= unit
            part *= part
            total += float(part.sum())
    return total
