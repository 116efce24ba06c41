"""From whatever the user has to an array in a layer's dtype, or a clear error."""

import operator
from collections.abc import Callable, Sequence
from functools import wraps
from numbers import Real
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from fastgate import _errors
from fastgate._kernels import on

Array = npt.NDArray[Any]
Function = TypeVar("Function", bound=Callable[..., Any])
DTYPES: dict[str, np.dtype[Any]] = {"float32": np.dtype(np.float32), "float64": np.dtype(np.float64)}


def quiet(function: Function) -> Function:
    """What overflows or is not finite gives infinity or NaN, and no warning beside it."""

    @wraps(function)
    def run(*args: Any, **options: Any) -> Any:
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            return function(*args, **options)

    return cast(Function, run)


def as_dtype(dtype: npt.DTypeLike) -> np.dtype[Any]:
    """float32 or float64, however it is named."""
    try:
        found = DTYPES.get(np.dtype(dtype).name) if dtype is not None else None
    except (TypeError, ValueError, SyntaxError):
        found = None
    if found is None:
        raise _errors.wrong_value("dtype", "'float32' or 'float64'", dtype)
    return found


def as_size(name: str, value: Any, *, least: int = 1) -> int:
    """An integer of at least `least`."""
    if isinstance(value, (bool, np.bool_)):
        raise _errors.wrong_type(name, "an integer", repr(value))
    try:
        size = operator.index(value)
    except TypeError:
        raise _errors.wrong_type(name, "an integer", repr(value)) from None
    if size < least:
        raise _errors.wrong_value(name, f"an integer of at least {least}", size)
    return size


def new_seed() -> int:
    """A seed that nobody chose."""
    return int(np.random.SeedSequence().generate_state(1, np.uint64)[0])


def as_choice(name: str, value: Any, choices: Sequence[Any]) -> Any:
    """One of `choices`, by value and type (1 is not True)."""
    for choice in choices:
        if type(value) is type(choice) and value == choice:
            return choice
    raise _errors.wrong_value(name, " or ".join(map(repr, choices)), value)


def as_flag(name: str, value: Any) -> bool:
    """True or False themselves."""
    if value is True or value is False:
        return bool(value)
    return bool(as_choice(name, value, (True, False)))


def as_number(name: str, value: Any) -> float:
    """A real number, but no boolean."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (Real, np.floating, np.integer)):
        raise _errors.wrong_type(name, "a number", repr(value))
    return float(value)


def as_probability(name: str, value: Any) -> float:
    """A number from 0 to below 1."""
    number = as_number(name, value)
    if not 0.0 <= number < 1.0:
        raise _errors.wrong_value(name, "a probability from 0 to below 1", value)
    return number


def as_limit(name: str, value: Any) -> float:
    """A number above 0, infinity too."""
    number = as_number(name, value)
    if not number > 0.0:
        raise _errors.wrong_value(name, "a positive number", value)
    return number


def as_positive(name: str, value: Any) -> float:
    """A finite number above 0."""
    number = as_limit(name, value)
    if number == np.inf:
        raise _errors.wrong_value(name, "a finite number", value)
    return number


def is_there(value: Any) -> bool:
    """Whether it is an array on a GPU."""
    if type(value) is np.ndarray:
        return False
    return bool(getattr(value, "lies_there", False)) or hasattr(value, "__cuda_array_interface__")


def as_array(name: str, value: Any, expected: str = "an array of numbers") -> Array:
    """Whatever NumPy can make an array of: foreign arrays by DLPack or the array protocol, those of a GPU by a copy;
    none with a mask.
    """
    if type(value) is np.ndarray:
        return value
    if is_there(value):
        return on("cuda").to_host(value)  # type: ignore[no-any-return]
    parts = value if isinstance(value, (list, tuple)) else (value,)
    if any(isinstance(part, np.ma.MaskedArray) for part in parts):
        raise _errors.wrong_type(
            name, f"{expected} without a mask (fill it, and pass lengths or a mask)", "a masked array"
        )
    try:
        if hasattr(value, "__dlpack__") and not isinstance(value, (np.ndarray, np.generic)):
            value = np.from_dlpack(value)
        return np.asarray(value)
    except (ValueError, TypeError, BufferError, RuntimeError) as error:
        if "inhomogeneous" in str(error):
            got = "sequences of unequal length: pad them to one length and pass lengths="
            raise _errors.wrong_type(name, expected, got) from None
        raise _errors.wrong_type(name, expected, f"what cannot be read as such: {error}") from None


def as_booleans(name: str, value: Any) -> Array:
    """An array of True and False themselves."""
    array = as_array(name, value, "booleans")
    if array.dtype != bool:
        advice = f"; {name}.astype(bool)" if array.dtype.kind in "iuf" else ""
        raise _errors.wrong_type(name, "booleans", f"dtype {array.dtype}{advice}")
    return array


def kind_of(array: Array) -> str:
    """What an array that holds no numbers holds, in a user's words."""
    is_text = array.dtype.kind in "SU" or (array.dtype.kind == "O" and isinstance(next(array.flat, None), str))
    return "strings" if is_text else f"dtype {array.dtype}"


def as_real(name: str, value: Any) -> Array:
    """Any real, integer or boolean array, not yet converted."""
    array = as_array(name, value)
    check_real(name, array)
    return array


def check_real(name: str, array: Any) -> None:
    """Raise unless it holds such numbers, wherever it lies."""
    if array.dtype.kind not in "fiub":
        raise _errors.wrong_type(name, "an array of real numbers", f"dtype {array.dtype}")


def address_of(array: Any) -> int:
    """Where it begins, in the memory that it lies in."""
    return int(array.__array_interface__["data"][0] if isinstance(array, np.ndarray) else array.address)


def beside(like: Any, array: Any) -> Any:
    """The array where the other lies: itself, or a copy."""
    if isinstance(array, np.ndarray) == isinstance(like, np.ndarray):
        return array
    return np.array(array) if isinstance(like, np.ndarray) else on("cuda").from_host(array)


def empty_beside(array: Any, shape: tuple[int, ...]) -> Any:
    """Of its dtype, where it lies."""
    return np.empty(shape, array.dtype) if isinstance(array, np.ndarray) else type(array).of(shape, array.dtype)


def zeros_beside(array: Any, shape: tuple[int, ...]) -> Any:
    """The same, of zeros."""
    found = empty_beside(array, shape)
    found[...] = 0
    return found


def where_it_lies(value: Any) -> Any:
    """What lies on a GPU as it is, anything else as an array of NumPy's."""
    return value if is_there(value) else np.asarray(value)


def stacked(arrays: Sequence[Any]) -> Any:
    """One with a leading axis, where they lie."""
    if isinstance(arrays[0], np.ndarray):
        return np.stack(arrays)
    out = empty_beside(arrays[0], (len(arrays), *arrays[0].shape))
    for row, own in zip(out, arrays, strict=True):
        row[...] = own
    return out


def is_ready(value: Any, dtype: np.dtype[Any]) -> bool:
    """Whether kernels can read it as it is."""
    return type(value) is np.ndarray and value.dtype is dtype and value.flags.carray


def as_floating(name: str, value: Any, dtype: np.dtype[Any], valid: Array | None = None) -> Array:
    """A C-contiguous array in `dtype`, for reading. Only entries where `valid` may not overflow."""
    if is_ready(value, dtype):
        return value  # type: ignore[no-any-return]
    array = as_real(name, value)
    if array.dtype == dtype and array.dtype.isnative:
        contiguous = np.require(array, requirements=["C", "A"]).reshape(array.shape)
        return contiguous if contiguous.flags.writeable else _unlocked(contiguous)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        converted = array.astype(dtype, order="C")
    if array.dtype.kind == "f" and array.dtype.itemsize > dtype.itemsize:
        lost = np.isinf(converted) & np.isfinite(array)
        if lost.any() and (valid is None or lost[valid].any()):
            raise _errors.overflow(name, dtype)
    return converted


def as_pair(name: str, value: Any, expected: str) -> tuple[Any, Any]:
    """A tuple or list of two."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        count = f" of {len(value)}" if isinstance(value, (tuple, list)) else ""
        raise _errors.wrong_type(name, expected, f"{type(value).__name__}{count}")
    first, second = value
    return first, second


def as_pairs(x: Any, lengths: Any) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """What an encoder-decoder reads."""
    own = (None, None) if lengths is None else as_pair("lengths", lengths, "a pair, of sources and of targets")
    return as_pair("x", x, "a pair (source, target)"), own


class _Interface:
    """A description of memory that NumPy can make an array of."""

    def __init__(self, array: Array) -> None:
        interface = dict(array.__array_interface__)
        interface["data"] = (interface["data"][0], False)
        self.__array_interface__, self._owner = interface, array


def _unlocked(array: Array) -> Array:
    """The same memory not marked read-only: kernels only read it, and Numba would compile them once more."""
    return np.asarray(_Interface(array))


def as_recompute(recompute: Any) -> int | str | None:
    """None, "auto" or a number of steps."""
    if recompute is None or recompute == "auto":
        return recompute  # type: ignore[no-any-return]
    if isinstance(recompute, str):
        raise _errors.wrong_value("recompute", "'auto', a number of steps or None", recompute)
    return as_size("recompute", recompute)


def as_lengths(lengths: Any, batch: int, steps: int) -> npt.NDArray[np.int64]:
    """(B,) integers from 0 to T."""
    array = as_array("lengths", lengths, "integers")
    if array.dtype == bool:
        raise _errors.mask_for_lengths()
    is_empty = array.size == 0 and batch == 0  # an empty list has no integer type
    if array.dtype.kind not in "iu" and not is_empty:
        raise _errors.wrong_type("lengths", "integers", f"dtype {array.dtype}")
    if array.shape != (batch,):
        raise _errors.wrong_shape("lengths", f"(batch,) = ({batch},)", array.shape)
    if batch and (array.min() < 0 or array.max() > steps):
        raise _errors.wrong_range("lengths", f"values from 0 to {steps}", array.min(), array.max())
    return array.astype(np.int64)
