"""Where arrays lie, on the host or on a GPU: layers without a device of their own compute where their input is.

An array on a GPU is typed as NumPy's are, since it takes part in the same formulas.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastgate._arrays import DTYPES, Array, as_floating, as_real, beside, check_real, is_there
from fastgate._kernels import on


def as_numbers(name: str, value: Any, dtype: Any = None) -> Array:
    """Numbers where they are: an ndarray, not yet converted, or a `DeviceArray`, in `dtype` if that is given."""
    if not is_there(value):
        return as_real(name, value)
    kernels = on("cuda")
    found: Any = value
    if isinstance(value, kernels.DeviceArray):
        kernels.wait_for(value.stream)
    else:
        array = kernels.view(value)
        found = kernels.contiguous(array, array.dtype)
    check_real(name, found)
    there: Array = found if dtype is None else found.astype(dtype)
    return there


def as_floating_there(name: str, value: Any, dtype: Any) -> Array:
    """Numbers in `dtype`, where they are."""
    if not is_there(value):
        return as_floating(name, value, dtype)
    check_fits(name, value, dtype)
    return as_numbers(name, value, dtype)


def check_fits(name: str, value: Any, dtype: Any, valid: Array | None = None) -> None:
    """Raise where the host sees that numbers for the GPU would become infinite in this dtype; see `as_floating`."""
    if isinstance(value, on("cuda").Mirrored) and value.dtype != dtype:
        as_floating(name, value.host, dtype, valid)


def as_floating_beside(name: str, value: Any, like: Any) -> Array:
    """Numbers where another array lies, in its dtype; a copy where they are not."""
    found: Array = beside(like, as_floating_there(name, value, like.dtype))
    return found


def as_any_floating(name: str, value: Any) -> Array:
    """For parts without a dtype of their own: float32 stays what it is, and everything else becomes float64."""
    array = as_numbers(name, value)
    dtype = DTYPES["float32" if array.dtype == np.float32 else "float64"]
    return as_floating(name, array, dtype) if isinstance(array, np.ndarray) else array.astype(dtype)


def unshared(own: Array, given: Any) -> Array:
    """It, or a copy where it may be the memory that was given, which others may write."""
    return own.copy() if np.may_share_memory(own, given) else own


def placed(x: Any, device: str, dtype: Any, name: str = "x") -> Any:
    """What a model of this dtype is given, to its device: itself where it lies there, or on the CPU.

    It goes there in the dtype that is smaller, unless it has numbers too large for that: some may not count.
    """
    if device == "cpu" or is_there(x):
        return x
    array = as_real(name, x)
    narrow = array.dtype.kind == "f" and (array.dtype.itemsize > dtype.itemsize or array.dtype not in DTYPES.values())
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        own = array.astype(dtype if narrow else array.dtype.newbyteorder("="), copy=False)
    if narrow and (np.isinf(own) & np.isfinite(array)).any():
        own = array.astype(DTYPES["float64"])
    return on(device).Mirrored(np.asarray(own, order="C"))


def given_back(value: Any) -> Any:
    """Arrays on the host, or tuples of them: themselves, or copies of what lies on a GPU."""
    if isinstance(value, tuple):
        return tuple(map(given_back, value))
    return np.asarray(value) if is_there(value) else value


# What booleans on the host, shaped as an array's first axes, tell of its rows: on a GPU these are taken by number.


def cleared(array: Array, steps: Array) -> Array:
    """A copy, with zeros where they are True."""
    if isinstance(array, np.ndarray):
        own = array.copy()
        own[steps] = 0
        return own
    if isinstance(array, on("cuda").Mirrored):  # before it is copied there
        return type(array)(cleared(array.host, steps))
    return _rows_of(array, steps, np.where(steps.reshape(-1), -1, np.arange(steps.size))).reshape(array.shape)


def chosen(array: Array, steps: Array) -> Array:
    """Those for which they are True, one after the other."""
    if isinstance(array, np.ndarray):
        return array[steps]
    return _rows_of(array, steps, np.flatnonzero(steps)).reshape(-1, *array.shape[steps.ndim :])


def spread(rows: Array, steps: Array, shape: tuple[int, ...]) -> Array:
    """The way back to an array of this shape, of zeros elsewhere."""
    if isinstance(rows, np.ndarray):
        whole = np.zeros(shape, rows.dtype)
        whole[steps] = rows
        return whole
    flat = steps.reshape(-1)
    return np.take(rows.reshape(len(rows), -1), np.where(flat, flat.cumsum() - 1, -1), axis=0).reshape(shape)


def _rows_of(array: Array, steps: Array, numbers: Array) -> Array:
    """Of one row for each of the steps those of these numbers; zeros for -1."""
    found: Array = np.take(array.reshape(steps.size, -1), numbers, axis=0)
    return found
