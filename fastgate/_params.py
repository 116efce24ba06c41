"""Named arrays that are views of one vector: parameters, and gradients in the same shape."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgate import _errors
from fastgate._allowance import claim
from fastgate._arrays import Array, as_dtype, as_floating, as_size
from fastgate._kernels import on

Shapes = dict[str, tuple[int, ...]]


def split(flat: Array, shapes: Shapes) -> dict[str, Array]:
    """Name -> view of `flat` (..., P), one after the other; of a matrix on a GPU a copy."""
    views, start = {}, 0
    for name, shape in shapes.items():
        size = prod(shape)
        views[name] = flat[..., start : start + size].reshape((*flat.shape[:-1], *shape))
        start += size
    return views


def total_size(shapes: Shapes) -> int:
    return sum(map(prod, shapes.values()))


def _as_shapes(shapes: Any) -> Shapes:
    if not isinstance(shapes, Mapping) or not all(isinstance(name, str) for name in shapes):
        raise _errors.wrong_type("shapes", "a mapping from name to shape", repr(shapes))
    own = {}
    for name, shape in shapes.items():
        if not isinstance(shape, (tuple, list)):
            raise _errors.wrong_type(f"shapes[{name!r}]", "a tuple of sizes", repr(shape))
        own[name] = tuple(as_size(f"shapes[{name!r}]", size, least=0) for size in shape)
    return own


def on_host(params: Mapping[str, Array]) -> dict[str, Array]:
    """As ndarrays: themselves, or copies of what lies on a GPU."""
    return {name: np.asarray(array) for name, array in params.items()}


class NamedArrays(Mapping[str, Array]):
    """Name -> array, all of them views of the vector `flat`; both can be written, by assignment too.

    A matrix `flat` on a GPU is written by itself alone: what it has of a name does not lie together.
    """

    def __init__(self, flat: Array, shapes: Shapes) -> None:
        self._flat, self._shapes = flat, shapes

    @cached_property
    def _views(self) -> dict[str, Array]:
        """Made when they are asked for: an optimiser wants the vector alone."""
        return split(self._flat, self._shapes)

    @property
    def flat(self) -> Array:
        """All of them, one after the other."""
        return self._flat

    @flat.setter
    def flat(self, value: Any) -> None:
        self._flat[...] = _as_shaped("flat", value, self._flat)

    def __getitem__(self, name: str) -> Array:
        return _find(self._views, name)

    def __setitem__(self, name: str, value: Any) -> None:
        target = _find(self._views, name)
        if self._flat.ndim > 1 and not isinstance(self._flat, np.ndarray):
            raise _errors.written_by_flat(name)
        target[...] = _as_shaped(f"params[{name!r}]", value, target)

    def update(self, values: Mapping[str, Any]) -> None:
        """Write several arrays."""
        for name, value in values.items():
            self[name] = value

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)

    def __repr__(self) -> str:
        inside = ", ".join(f"{name} {shape}" for name, shape in self._shapes.items())
        return f"{type(self).__name__}({inside}; {self.flat.dtype})"

    def __getstate__(self) -> tuple[Array, Shapes]:
        return self._flat, self._shapes

    def __setstate__(self, state: tuple[Array, Shapes]) -> None:
        self.__init__(*state)  # type: ignore[misc]  # the views must be of the copied vector


def _find(views: Mapping[str, Array], name: Any) -> Array:
    if name not in views:
        raise _errors.no_such_parameter(name, views)
    return views[name]


def _as_shaped(name: str, value: Any, like: Array) -> Array:
    array = as_floating(name, value, like.dtype)
    if array.shape != like.shape:
        raise _errors.wrong_shape(name, f"{like.shape}", array.shape)
    return array


def _read_only(flat: Array) -> Array:
    """A view that cannot be written; on a GPU other libraries can write all the same."""
    if not isinstance(flat, np.ndarray):
        return flat.locked()
    flat = flat.view()
    flat.flags.writeable = False
    return flat


class Snapshot:
    """One state of the parameters; whatever is derived from them (packed weights) is kept with it."""

    def __init__(self, flat: Array, shapes: Shapes, version: int) -> None:
        self.version = version
        self.arrays = split(flat, shapes)  # for kernels: Numba would compile once more for read-only arrays
        self.flat = _read_only(flat)
        self._shapes = shapes
        self.derived: dict[Any, Any] = {}

    @cached_property
    def public(self) -> dict[str, Array]:
        """Read-only views, made when they are asked for."""
        return split(self.flat, self._shapes)


class Params(Mapping[str, Array]):
    """A layer's parameters: a mapping from name to *read-only* array, all of them views of the vector `flat`.

    Write by ``params[name] = value``, ``params.update({...})``, ``params.flat = vector``, or::

        with layer.params.edit() as p:
            p["weight_hh_l0"] *= 0.9

    A write takes effect all at once and raises `version` by one. Arrays read earlier keep the values they had. Other
    libraries that are given one on a GPU see its memory, and must not write there.

    Parameters
    ----------
    shapes : dict
        Name -> shape, in the order in which `flat` holds them; all zeros at first.
    dtype : "float32" or "float64"
    device : "cpu" or "cuda"
        Where they lie: as ndarrays, or as `DeviceArray`s. Either can be written from both.

    Raises
    ------
    TypeError, ValueError
        If a name is no string, a shape no tuple of sizes, or the dtype neither of the two.

    Examples
    --------
    A layer of one's own keeps its parameters in one of these:

    >>> import fastgate as fg
    >>> params = fg.Params({"weight": (2, 3), "bias": (2,)}, "float64")
    >>> params["bias"] = [0.5, -0.5]
    >>> params.flat
    array([ 0. ,  0. ,  0. ,  0. ,  0. ,  0. ,  0.5, -0.5])
    """

    def __init__(
        self, shapes: Mapping[str, Sequence[int]], dtype: npt.DTypeLike = "float32", device: str = "cpu"
    ) -> None:
        from fastgate._placed import as_device  # which is made of this module

        shapes, dtype = _as_shapes(shapes), as_dtype(dtype)
        device = as_device(device)
        claim(len(shapes), total_size(shapes))
        self._shapes = shapes
        self._snapshot = Snapshot(on(device).zeros(total_size(shapes), dtype), shapes, 0)
        self._writing = threading.RLock()

    @property
    def version(self) -> int:
        """How often the parameters have been written."""
        return self._snapshot.version

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of all parameters."""
        return self._snapshot.flat.dtype

    @property
    def flat(self) -> Array:
        """All parameters, one after the other: a read-only vector."""
        return self._snapshot.flat

    @flat.setter
    def flat(self, value: Any) -> None:
        self._check_writable()
        same_place = type(value) is type(self.flat) and (value.shape, value.dtype) == (self.flat.shape, self.dtype)
        self._publish((value if same_place else _as_shaped("params.flat", value, self.flat)).copy())

    def update(self, values: Mapping[str, Any]) -> None:
        """Write several parameters at once: all of them, or none if one is wrong."""
        with self.edit() as arrays:
            arrays.update(values)

    @contextmanager
    def edit(self) -> Iterator[NamedArrays]:
        """Writable arrays inside the ``with``; an exception leaves the parameters as they were.

        Other threads that write wait. Writing by other means inside is an error, because it would be lost.
        """
        self._check_writable()
        with self._writing:
            before = self._snapshot
            views = NamedArrays(np.array(self.flat), self._shapes)  # on the host, wherever they lie
            yield views
            if self._snapshot is not before:
                raise _errors.lost_write()
            self._publish(views.flat.copy())

    def _check_writable(self) -> None:
        """Nothing to raise: these are."""

    def _publish(self, flat: Array) -> None:
        with self._writing:
            if type(flat) is not type(self.flat):
                flat = on("cuda").from_host(flat)
            self._snapshot = Snapshot(flat, self._shapes, self.version + 1)

    def __getitem__(self, name: str) -> Array:
        return _find(self._snapshot.public, name)

    def __setitem__(self, name: str, value: Any) -> None:
        self.update({name: value})

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)

    def __repr__(self) -> str:
        inside = ", ".join(f"{name} {shape}" for name, shape in self._shapes.items())
        return f"Params({inside}; {self.dtype}, version {self.version})"

    def __getstate__(self) -> dict[str, Any]:
        return {"shapes": self._shapes, "flat": self.flat.copy(), "version": self.version}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._shapes = state["shapes"]
        self._snapshot = Snapshot(state["flat"], self._shapes, state["version"])
        self._writing = threading.RLock()
