"""What scikit-learn's users pass, read and checked with its own tools, so that its own messages come."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_array, validate_data

from fastgate import _errors
from fastgate._arrays import Array, as_dtype
from fastgate.training.columns import as_sequences, is_sequences

Sequences = Array | list[Array]  # (N, T, features), or (T_i, features)


def read_sequences(estimator: Any, X: Any, dtype: Any, *, reset: bool) -> Sequences:
    """All finite and of one dtype; `reset` notes what they are like, else they must be like that.

    An array with two axes has its steps for features, as scikit-learn has them, each with one value. Everything else
    is checked as one array of all steps.
    """
    parts = _parts_of(X)
    if parts is None and (X if hasattr(X, "ndim") else np.asarray(X)).ndim != 3:
        _check_kind(estimator, is_table=True, reset=reset)
        steps = validate_data(estimator, X, dtype=dtype, reset=reset)
        table: Array = steps[:, :, None]
        return table
    _check_kind(estimator, is_table=False, reset=reset)
    if parts is None:
        array = np.asarray(X)
        N, T, features = array.shape
        steps = validate_data(estimator, array.reshape(N * T, features), dtype=dtype, reset=reset)
        shaped: Array = steps.reshape(N, T, features)
        return shaped
    steps = np.concatenate(parts)
    steps = validate_data(estimator, steps[:, None] if steps.ndim == 1 else steps, dtype=dtype, reset=reset)
    return np.split(steps, np.cumsum([len(part) for part in parts])[:-1])


def read_weights(sample_weight: Any, count: int) -> Array | None:
    """(N,), at least 0 and not all of them 0."""
    if sample_weight is None:
        return None
    weights: Array = check_array(sample_weight, dtype=np.float64, ensure_2d=False, input_name="sample_weight")
    if weights.shape != (count,):
        raise _errors.wrong_shape("sample_weight", f"({count},), as there are samples", weights.shape)
    if weights.min() < 0:
        raise _errors.wrong_value("sample_weight", "numbers of at least 0", float(weights.min()))
    if not weights.any():
        raise _errors.wrong_value("sample_weight", "at least one weight above zero", "zeros only")
    return weights


def read_dtype(dtype: Any) -> Any:
    """What validation is asked for: "auto" leaves float32 as it is, and makes float64 of everything else."""
    return [np.float64, np.float32] if isinstance(dtype, str) and dtype == "auto" else as_dtype(dtype)


def take(x: Sequences, rows: Array) -> Sequences:
    """Some of the sequences."""
    return [x[row] for row in rows] if isinstance(x, list) else x[rows]


def _parts_of(X: Any) -> list[Array] | None:
    """The sequences of a list, or of an array that holds arrays; None where X is one array of numbers."""
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1 and is_sequences(list(X)):
        X = list(X)
    if not is_sequences(X):
        return None
    parts = as_sequences("X", X)
    if parts[0].ndim > 2:
        raise _errors.wrong_shape("X[0]", "(time, features) or (time,)", parts[0].shape)
    return parts


def _check_kind(estimator: Any, *, is_table: bool, reset: bool) -> None:
    if reset:
        estimator._takes_table = is_table
    elif estimator._takes_table != is_table:
        kinds = {True: "an array with two axes", False: "an array with three axes or a list of sequences"}
        raise _errors.wrong_value("X", f"{kinds[not is_table]}, as in fit", kinds[is_table])
