"""Layers that lie on a device: what computes there, and how arrays come there and back."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np

from fastgate import _errors
from fastgate._arrays import Array, as_choice, as_floating, is_there
from fastgate._frozen import Frozen
from fastgate._kernels import DEVICES, on
from fastgate._places import as_floating_beside, as_numbers


def as_device(device: Any) -> str:
    """One that there is."""
    own: str = as_choice("device", device, DEVICES)
    if own != "cpu" and (missing := on(own).missing()) is not None:
        raise _errors.no_device(own, missing)
    return own


class Placed(Frozen):
    """Base of all layers with parameters."""

    _not_kept: ClassVar[dict[str, Any]] = {"device": "cpu"}  # a file can be read anywhere; see `to`
    device: str

    def to(self, device: str) -> Self:
        """This layer on a device; `help("fastgate.cuda")` says which arrays it takes there.

        Parameters
        ----------
        device : "cpu" or "cuda"

        Returns
        -------
        layer of the same class
            The layer itself where it is there; else another one with copies of its parameters.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            If there is no such device, or the layer is quantized.
        """
        return self if as_choice("device", device, DEVICES) == self.device else self.replace(device=device)

    def _check_on_cpu(self, what: str) -> None:
        """Raise unless this is where the layer lies."""
        if self.device != "cpu":
            raise _errors.not_on_device(what, self.device)


class Dense(Placed):
    """Base of those without a state, which take arrays of any place and give theirs back there."""

    params: Any
    dtype: Any

    @property
    def _there(self) -> Any:
        """The kernels of its device."""
        return on(self.device)

    def _rows(self, name: str, value: Any, features: int) -> Array:
        """Where the layer lies: an array (..., features) in its dtype."""
        array = as_numbers(name, value)
        if array.ndim == 0 or array.shape[-1] != features:
            raise _errors.wrong_shape(name, f"(..., {features})", array.shape)
        return self._brought(name, array)

    def _brought(self, name: str, array: Any) -> Array:
        """Where the layer lies, in its dtype, when its parameters are written."""
        if self.device == "cpu":
            return as_floating(name, array, self.dtype)
        self._there.wait_for(self.params.flat.stream)
        return as_floating_beside(name, array, self.params.flat)

    def _given(self, array: Array, value: Any) -> Array:
        """An array of the layer's to where the caller's value lies."""
        return array if self.device == "cpu" or is_there(value) else np.asarray(array)
