"""What all optimisers share: the learning rate, what is kept of each layer, how a step is checked and written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import ref

import numpy as np

from fastgate import _errors
from fastgate._arrays import (
    DTYPES,
    Array,
    as_array,
    as_number,
    as_positive,
    as_size,
    beside,
    empty_beside,
    zeros_beside,
)
from fastgate._params import NamedArrays, Params

Rate = float | Callable[[int], float]
Gradients = Sequence[NamedArrays | Array]
BLOCK = 1 << 16  # entries at once, so that all that a formula passes over stays in the cache


class Optimizer:
    """From gradients to new parameters; subclasses say the formula."""

    memory: tuple[str, ...] = ()  # names of the vectors kept for each layer, as long as its parameters

    def __init__(self, lr: Rate, weight_decay: float) -> None:
        self.lr = lr
        self.weight_decay = as_not_negative("weight_decay", weight_decay)
        self.steps = 0
        self._kept: list[list[Array]] = []  # for each layer its vectors, in the order of `memory`
        self._trained: list[ref[Params]] | None = None  # what the last step wrote; None where that is not known

    @property
    def lr(self) -> Rate:
        """The learning rate: a number above 0, or a schedule: from the number of steps done to that of the next."""
        return self._lr

    @lr.setter
    def lr(self, value: Rate) -> None:
        self._lr = value if callable(value) else as_positive("lr", value)

    def step(self, params: Sequence[Params], gradients: Gradients) -> None:
        """Write new parameters: of all layers or, if an argument is wrong, of none.

        Parameters
        ----------
        params : sequence of Params
            ``[layer.params for layer in layers]``, the same at every step.
        gradients : sequence, one for each
            Mappings as `backward` returns, or vectors laid out as ``layer.params.flat``, as `fastgate.jit` makes them.

        Raises
        ------
        TypeError, ValueError
            If the numbers of parameters and gradients differ, or have changed since the first step.
        """
        check_params(params)
        vectors = vectors_of(gradients)
        sizes = [vector.shape for vector in vectors]
        if sizes != [owner.flat.shape for owner in params]:
            raise _errors.wrong_value("gradients", "one for each of params, as large as it", sizes)
        vectors = [beside(owner.flat, vector) for owner, vector in zip(params, vectors, strict=True)]
        if any(vector.dtype != owner.dtype for vector, owner in zip(vectors, params, strict=True)):
            raise _errors.wrong_type("gradients", "the dtype of each of params", str([str(v.dtype) for v in vectors]))
        self._check(vectors)
        kept = self._kept or [[zeros_beside(vector, vector.shape) for _ in self.memory] for vector in vectors]
        if len(kept) != len(vectors) or not all(map(_all_like, vectors, kept)):
            raise _errors.wrong_value("params", "the same layers as at the first step", sizes)
        kept = [[beside(vector, array) for array in arrays] for vector, arrays in zip(vectors, kept, strict=True)]
        lr = rate_at(self.lr, self.steps)
        self._kept, self.steps, self._trained = kept, self.steps + 1, [ref(owner) for owner in params]
        with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):  # half a step is none
            for owner, gradient, arrays in zip(params, vectors, kept, strict=True):
                old, new = owner.flat, empty_beside(gradient, gradient.shape)
                block = BLOCK if isinstance(new, np.ndarray) else max(1, new.size)  # no cache to stay in on a GPU
                for start in range(0, new.size, block):
                    part = slice(start, start + block)
                    self._advance(old[part], gradient[part], new[part], lr, *[array[part] for array in arrays])
                owner._publish(new)

    def _check(self, gradients: Sequence[Array]) -> None:
        """Whatever else a formula needs of its arguments."""

    def _advance(self, old: Array, gradient: Array, new: Array, lr: float, *memory: Array) -> None:
        """Write the parameters `new` from `old`, entry by entry, and `memory`."""
        raise NotImplementedError

    def state(self) -> dict[str, Array | int]:
        """All that the next step depends on, besides the options: copies, for a checkpoint.

        Returns
        -------
        dict
            ``steps``, ``layers`` and, for every layer, vectors named as ``"0.mean"``.
        """
        found: dict[str, Array | int] = {"steps": self.steps, "layers": len(self._kept)}
        for i, arrays in enumerate(self._kept):
            found |= {f"{i}.{name}": np.array(array) for name, array in zip(self.memory, arrays, strict=True)}
        return found

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned, of an optimiser with the same options; all of it, or an error.

        Parameters
        ----------
        state : mapping
            Numbers may have become arrays without axes, as files hold them.

        Raises
        ------
        TypeError, ValueError
            If it is no state of such an optimiser. That it is one of the same layers is checked at the next step.
        """
        if not isinstance(state, Mapping):
            raise _errors.wrong_type("state", "a mapping, as state() returns", type(state).__name__)
        if not {"steps", "layers"} <= state.keys():
            raise _errors.wrong_value("state", "steps and layers in it", sorted(state))
        steps, layers = (as_size(f"state[{name!r}]", state[name], least=0) for name in ("steps", "layers"))
        names = [[f"{i}.{name}" for name in self.memory] for i in range(min(layers, len(state)))]
        if {"steps", "layers"}.union(*names) != state.keys() or len(names) != layers:
            expected = f"that of {layers} layers with {' and '.join(self.memory) or 'nothing'} each"
            raise _errors.wrong_value("state", expected, sorted(state))
        self._kept, self.steps = [[_as_vector(name, state[name]) for name in row] for row in names], steps
        self._trained = None

    def check_owners(self, params: Sequence[Params]) -> None:
        """Raise if the last step was one of other layers than these, even if they are as large."""
        if self._trained is None:
            return
        if len(params) != len(self._trained) or any(a() is not b for a, b in zip(self._trained, params, strict=True)):
            raise _errors.trained_another(type(self).__name__, self.steps)

    def __getstate__(self) -> dict[str, Any]:
        """A copy, or what is read from a file, may go on with a copy of the model."""
        return vars(self) | {"_trained": None}

    def _options(self) -> str:
        """What every printed form ends with."""
        return f", weight_decay={self.weight_decay}" if self.weight_decay else ""


def _all_like(vector: Array, arrays: list[Array]) -> bool:
    return all(array.shape == vector.shape and array.dtype == vector.dtype for array in arrays)


def _as_vector(name: str, value: Any) -> Array:
    array = as_array(f"state[{name!r}]", value)
    if array.ndim != 1 or array.dtype.name not in DTYPES:
        expected = "a vector of float32 or float64"
        raise _errors.wrong_type(f"state[{name!r}]", expected, f"{array.dtype} of shape {array.shape}")
    return np.array(array, DTYPES[array.dtype.name])


def rate_at(lr: Rate, step: int) -> float:
    """The learning rate of the step after `step` steps."""
    return as_not_negative("lr", lr(step)) if callable(lr) else lr


def as_not_negative(name: str, value: Any) -> float:
    """A finite number of at least 0."""
    number = as_number(name, value)
    if not 0.0 <= number < np.inf:
        raise _errors.wrong_value(name, "a number of at least 0", value)
    return number


def check_params(params: Any) -> None:
    """The user passes [layer.params, ...]: say so where anything else comes."""
    if _types(params) != [Params.__name__] * len(params):
        raise _errors.wrong_type("params", "a list of the .params of layers", _types(params))


def vectors_of(gradients: Any) -> list[Array]:
    """The vectors themselves, of what `backward` returned or compiled code has added to."""
    given = gradients if _is_list(gradients) else [None]
    vectors: list[Any] = [own.flat if isinstance(own, NamedArrays) else own for own in given]
    of_arrays = [isinstance(own, np.ndarray) and own.ndim == 1 and own.dtype.name in DTYPES for own in vectors]
    if not all(known or isinstance(own, NamedArrays) for known, own in zip(of_arrays, given, strict=True)):
        expected = "a list of the .params of what backward returned, or of vectors of float32 or float64"
        raise _errors.wrong_type("gradients", expected, _types(gradients))
    return vectors


def _is_list(values: Any) -> bool:
    return isinstance(values, (list, tuple))


def _types(values: Any) -> Any:
    """What is in a list, or what came instead of one."""
    return [type(value).__name__ for value in values] if _is_list(values) else type(values).__name__
