"""What a forward pass keeps for the backward pass, and what the backward pass returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from fastgate import _errors
from fastgate._arrays import Array, address_of
from fastgate._params import NamedArrays, Params, Snapshot

State = Array | tuple[Array, Array]


class Record(NamedTuple):
    """One direction of one layer: its input, laid out as the user's, and the kernels' own tape (states and gates)."""

    x: Array
    tape: Any


class Tape(NamedTuple):
    """The memory of one `forward`; give it to `backward` of the same layer, as often as you like.

    It is valid until the layer's parameters are written. `nbytes` is the memory it holds.
    """

    params: Params
    snapshot: Snapshot
    batch: Any
    records: list[Record]  # of every direction of every layer
    dropout_key: int | None = None

    def __repr__(self) -> str:
        return f"Tape({self.nbytes} bytes)"

    @property
    def y_shape(self) -> tuple[int, ...]:
        """That of y as forward returned it."""
        shape: tuple[int, ...] = self.batch.users_y_shape
        return shape

    @property
    def nbytes(self) -> int:
        """Bytes of the inputs, states and gates that the tape keeps; weights belong to the layer."""
        kept = {(address_of(array), array.nbytes) for x, tape in self.records for array in (x, *tape.arrays())}
        return sum(nbytes for _, nbytes in kept)


class Gradients(NamedTuple):
    """What `backward` returns: every array is fresh and yours."""

    x: Array
    state: State
    params: NamedArrays


class LayerGradients(NamedTuple):
    """What `backward` of a layer without state returns; `x` is None where the input has no gradient."""

    x: Array | None
    params: NamedArrays


@dataclass(frozen=True, eq=False)
class LayerTape:
    """The memory of one `forward` of a layer without state."""

    params: Params = field(repr=False)
    snapshot: Snapshot = field(repr=False)
    x: Array = field(repr=False)
    y_shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the input that the tape keeps."""
        return self.x.nbytes


@dataclass(frozen=True, eq=False)
class PlainTape:
    """The memory of one `forward` of a layer without parameters."""

    owner: Any = field(repr=False)
    y_shape: tuple[int, ...]
    kept: Any = field(repr=False)  # whatever the owner's backward needs
    like: Any = field(repr=False)  # an empty array of y's dtype that lies where y does

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of y."""
        return self.like.dtype  # type: ignore[no-any-return]

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays that the tape keeps."""
        return sum(getattr(array, "nbytes", 0) for array in self.kept)


def check_tape(tape: Any, kind: type, layer: Any) -> None:
    """Raise unless the tape is of this layer, and of the parameters it has now."""
    if not isinstance(tape, kind):
        raise _errors.wrong_type("tape", "the tape that forward returned", type(tape).__name__)
    if tape.params is not layer.params:  # type: ignore[attr-defined]
        raise _errors.foreign_tape(layer)
    if tape.snapshot is not layer.params._snapshot:  # type: ignore[attr-defined]
        raise _errors.stale_tape()
