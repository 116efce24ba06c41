"""The parameters of all layers of a model, under one roof."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import accumulate
from typing import Any

import numpy as np

from fastgate import _errors
from fastgate._arrays import Array, as_floating, is_there
from fastgate._kernels import on
from fastgate._params import NamedArrays, Params, Shapes, Snapshot


class ModelParams(Mapping[str, Array]):
    """A model's parameters: a mapping from ``"<layer>.<name>"``, PyTorch's names, to *read-only* array.

    Written as a layer's `Params` are: ``params[name] = value``, ``params.update({...})``, ``params.flat = vector``, or
    ``with params.edit() as p``. All values are checked before the first is written. They take effect layer by layer:
    write a model's parameters while no other thread calls it.
    """

    def __init__(self, owners: Sequence[tuple[str, Params]], dtype: np.dtype[Any]) -> None:
        self._owners, self._dtype = tuple(owners), dtype
        self._shapes: Shapes = {f"{path}.{name}": shape for path, own in owners for name, shape in own._shapes.items()}
        ends = list(accumulate((own.flat.size for _, own in self._owners), initial=0))
        self._size = ends[-1]
        parts = map(slice, ends, ends[1:])
        self._parts = [(part, own._shapes) for part, (_, own) in zip(parts, self._owners, strict=True)]
        # Where gradients of all of them are put together: there, if all parameters lie there.
        self.device = "cuda" if owners and all(is_there(own.flat) for _, own in owners) else "cpu"
        self._places = {f"{path}.{name}": (own, name) for path, own in self._owners for name in own}

    @property
    def layers(self) -> list[Params]:
        """The parameters of each layer that has some: what an optimiser takes, beside `split` of the gradients."""
        return [own for _, own in self._owners]

    def split(self, gradients: NamedArrays) -> list[NamedArrays]:
        """A model's gradients as one mapping for each of `layers`, with the layer's own names: views, no copies."""
        flat = gradients.flat
        return [NamedArrays(flat[..., part], shapes) for part, shapes in self._parts]

    @property
    def version(self) -> int:
        """How often the layers' parameters have been written, summed up."""
        return sum(own.version for own in self.layers)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of all parameters."""
        return self._dtype

    @property
    def flat(self) -> Array:
        """All parameters, one after the other: a read-only copy, on the host wherever they lie."""
        flat = self._gathered().flat
        flat.flags.writeable = False
        return flat

    @flat.setter
    def flat(self, value: Any) -> None:
        vector = as_floating("params.flat", value, self._dtype)
        if vector.shape != (self._size,):
            raise _errors.wrong_shape("params.flat", f"({self._size},)", vector.shape)
        with self.edit() as arrays:
            arrays.flat[...] = vector

    def update(self, values: Mapping[str, Any]) -> None:
        """Write several parameters: all of them, or none if one is wrong."""
        with self.edit() as arrays:
            arrays.update(values)

    @contextmanager
    def edit(self) -> Iterator[NamedArrays]:
        """Writable arrays inside the ``with``; an exception leaves the parameters as they were.

        Other threads that write wait. Writing by other means inside is an error, because it would be lost.
        """
        with ExitStack() as stack:
            targets = [stack.enter_context(own.edit()) for own in self.layers]
            before, arrays = self._snapshots(), self._gathered()
            yield arrays
            if not self._are(before):  # of all layers, before the first of them is written
                raise _errors.lost_write()
            for target, part in zip(targets, self.split(arrays), strict=True):
                target.flat[...] = part.flat

    def _new_gradients(self, *samples: int) -> NamedArrays:
        return NamedArrays(on(self.device).zeros((*samples, self._size), self._dtype), self._shapes)

    def _snapshots(self) -> tuple[Snapshot, ...]:
        """What a tape is valid for."""
        return tuple([own._snapshot for _, own in self._owners])

    def _are(self, snapshots: tuple[Snapshot, ...]) -> bool:
        """Whether nothing has been written since."""
        return snapshots == self._snapshots()  # each is equal to itself alone

    def _gathered(self) -> NamedArrays:
        flats = [np.asarray(own.flat) for own in self.layers]
        return NamedArrays(np.concatenate(flats) if flats else np.zeros(0, self._dtype), self._shapes)

    def __getitem__(self, name: str) -> Array:
        if name not in self._places:
            raise _errors.no_such_parameter(name, self._places)
        own, short = self._places[name]
        return own[short]

    def __setitem__(self, name: str, value: Any) -> None:
        self.update({name: value})

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __repr__(self) -> str:
        inside = ", ".join(f"{name} {shape}" for name, shape in self._shapes.items())
        return f"ModelParams({inside}; {self.dtype}, version {self.version})"
