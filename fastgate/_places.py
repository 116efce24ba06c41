"""Where arrays lie, on the host or on a GPU: layers without a device of their own compute where their input is."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastgate._arrays import DTYPES, as_floating, as_real, beside
from fastgate._kernels import on


def is_there(value: Any) -> bool:
    """Whether it is an array on a GPU."""
    return type(value) is not np.ndarray and hasattr(value, "__cuda_array_interface__")


def as_numbers(name: str, value: Any, dtype: Any = None) -> Any:
    """Numbers where they are: an ndarray, not yet converted, or a `DeviceArray`, in `dtype` if that is given."""
    if not is_there(value):
        return as_real(name, value)
    kernels = on("cuda")
    if isinstance(value, kernels.DeviceArray):
        kernels.wait_for(value.stream)
        return value if dtype is None else value.astype(dtype)
    array = kernels.view(value)
    return kernels.contiguous(array, dtype or array.dtype)


def as_floating_there(name: str, value: Any, dtype: Any) -> Any:
    """Numbers in `dtype`, where they are."""
    return as_numbers(name, value, dtype) if is_there(value) else as_floating(name, value, dtype)


def as_floating_beside(name: str, value: Any, like: Any) -> Any:
    """Numbers where another array lies, in its dtype; a copy where they are not."""
    return beside(like, as_floating_there(name, value, like.dtype))


def as_any_floating(name: str, value: Any) -> Any:
    """For parts without a dtype of their own: float32 stays what it is, and everything else becomes float64."""
    array = as_numbers(name, value)
    return as_floating_there(name, array, DTYPES["float32" if array.dtype == np.float32 else "float64"])


def unshared(own: Any, given: Any) -> Any:
    """It, or a copy where it may be the memory that was given, which others may write."""
    return own.copy() if np.may_share_memory(own, given) else own


def cleared(array: Any, steps: Any) -> Any:
    """A copy, with zeros in some of its rows: those that booleans on the host, shaped as its first axes, tell."""
    if isinstance(array, np.ndarray):
        own = array.copy()
        own[steps] = 0
        return own
    rows = np.where(steps.reshape(-1), -1, np.arange(steps.size))
    return np.take(_in_rows(array, steps), rows, axis=0).reshape(array.shape)


def placed(x: Any, device: str) -> Any:
    """What a model is given, to its device: itself where it lies there, or on the CPU."""
    if device == "cpu" or is_there(x):
        return x
    return on(device).Mirrored(np.ascontiguousarray(as_real("x", x)))


def given_back(value: Any) -> Any:
    """Arrays on the host, or tuples of them: themselves, or copies of what lies on a GPU."""
    if isinstance(value, tuple):
        return tuple(map(given_back, value))
    return np.asarray(value) if is_there(value) else value


def chosen(array: Any, where: Any) -> Any:
    """The entries or rows of an array for which booleans on the host, shaped as its first axes, are True."""
    if isinstance(array, np.ndarray):
        return array[where]
    return np.take(_in_rows(array, where), np.flatnonzero(where), axis=0).reshape(-1, *array.shape[where.ndim :])


def spread(array: Any, where: Any, shape: tuple[int, ...]) -> Any:
    """The way back to an array of this shape, of zeros elsewhere."""
    if isinstance(array, np.ndarray):
        whole = np.zeros(shape, array.dtype)
        whole[where] = array
        return whole
    rows = np.where(where, np.cumsum(where).reshape(where.shape) - 1, -1).reshape(-1)
    return np.take(array.reshape(len(array), -1), rows, axis=0).reshape(shape)


def _in_rows(array: Any, steps: Any) -> Any:
    """As one row for each of the steps, which its first axes are."""
    return array.reshape(steps.size, -1)
