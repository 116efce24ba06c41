"""What belongs to the samples one by one: an array cut along an axis, or a list of sequences of unequal length."""

from __future__ import annotations

import zlib
from typing import Any, Protocol

import numpy as np

from fastgate import _errors
from fastgate._arrays import Array, as_array

Rows = slice | Array


class Column(Protocol):
    """One value for each sample."""

    def __len__(self) -> int: ...

    def take(self, rows: Rows) -> tuple[Array, Array | None]:
        """The values of some samples, and their lengths where those are unequal."""

    def part(self, start: int, stop: int) -> Column:
        """The samples from `start` to before `stop`, without a copy."""

    def description(self) -> dict[str, Any]:
        """By which the same values are known again, without reading all of them."""


class ArrayColumn:
    """An array with the samples along `axis`. A memory map stays on the disk but for what is taken.

    `is_turned` moves that axis to the front of what is taken.
    """

    def __init__(self, array: Array, axis: int = 0, *, is_turned: bool = False) -> None:
        self.array, self.axis, self._is_turned = array, axis, is_turned

    def __len__(self) -> int:
        return int(self.array.shape[self.axis])

    def take(self, rows: Rows) -> tuple[Array, None]:
        taken = self.array[rows] if self.axis == 0 else self.array[:, rows]
        return (taken.swapaxes(0, 1) if self._is_turned else taken), None

    def part(self, start: int, stop: int) -> ArrayColumn:
        cut = slice(start, stop)
        array = self.array[cut] if self.axis == 0 else self.array[:, cut]
        return ArrayColumn(array, self.axis, is_turned=self._is_turned)

    def description(self) -> dict[str, Any]:
        return described(self.array, self.axis)


class SequencesColumn:
    """Sequences (T_i, ...), padded with zeros to the longest of those taken: (B, T, ...), or (T, B, ...)."""

    def __init__(self, sequences: list[Array], axis: int = 0) -> None:
        self.sequences, self.axis = sequences, axis

    def __len__(self) -> int:
        return len(self.sequences)

    def take(self, rows: Rows) -> tuple[Array, Array]:
        chosen = self.sequences[rows] if isinstance(rows, slice) else [self.sequences[row] for row in rows]
        lengths = np.array([len(sequence) for sequence in chosen], np.int64)
        padded = np.zeros((len(chosen), int(lengths.max(initial=0)), *chosen[0].shape[1:]), chosen[0].dtype)
        for row, sequence in zip(padded, chosen, strict=True):
            row[: len(sequence)] = sequence
        return (padded.swapaxes(0, 1) if self.axis else padded), lengths

    def part(self, start: int, stop: int) -> SequencesColumn:
        return SequencesColumn(self.sequences[start:stop], self.axis)

    def description(self) -> dict[str, Any]:
        ends = [described(self.sequences[i], 0) for i in (0, -1)]
        return {"steps": sum(map(len, self.sequences)), "first sequence": ends[0], "last sequence": ends[1]}


def described(array: Array, axis: int) -> dict[str, Any]:
    """Its shape, its dtype, and a checksum of the first and the last of what lies along an axis."""
    ends = np.take(array, [0, -1] if array.shape[axis] else [], axis)
    return {"shape": list(array.shape), "dtype": array.dtype.name, "checksum": zlib.crc32(ends.tobytes())}


def is_sequences(value: Any) -> bool:
    """Whether a list holds one array for each sample, rather than being one array written as lists."""
    if not isinstance(value, list) or not value:
        return False
    if all(isinstance(part, np.ndarray) and part.ndim for part in value):
        return True
    return all(isinstance(part, (list, tuple, np.ndarray)) for part in value) and len({len(part) for part in value}) > 1


def as_sequences(name: str, values: list[Any]) -> list[Array]:
    """Arrays of one dtype that differ in their first axis only."""
    arrays = [as_array(f"{name}[{i}]", value) for i, value in enumerate(values)]
    filled = [array for array in arrays if array.size] or arrays  # an empty list has no type of its own
    dtype, rest = np.result_type(*{array.dtype for array in filled}), filled[0].shape[1:]
    for i, array in enumerate(arrays):
        if array.size == 0 and array.ndim <= 1:
            arrays[i] = np.zeros((0, *rest), dtype)
        elif array.ndim != 1 + len(rest) or array.shape[1:] != rest:
            expected = f"(time, {', '.join(map(str, rest))})" if rest else "(time,)"
            raise _errors.wrong_shape(f"{name}[{i}]", f"{expected}, as of the other sequences", array.shape)
    return [array if array.dtype == dtype else array.astype(dtype) for array in arrays]
