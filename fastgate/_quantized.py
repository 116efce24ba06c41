"""A recurrent layer for inference whose weights are stored in fewer bits."""

from __future__ import annotations

from typing import Any, NoReturn, Self

import numpy as np

from fastgate import _errors
from fastgate._arrays import Array, as_choice
from fastgate._kernels import DEVICES, cpu
from fastgate._params import Params, on_host
from fastgate._recurrent import Recurrent


class Quantized(Recurrent):
    """What `LSTM.quantized` and the others return: a recurrent layer that can be called and stepped, no more.

    It has the options of the layer it was made from, and keeps its promise about bits. Weights are read in the small
    format and widened in registers. With bfloat16 and float16 results are bit for bit those of a float32 layer that has
    the rounded weights; with int8 a sum of integers is multiplied once, by the scale of its unit and gate.

    What rounding does to `y`, at most, in an LSTM(256, 256) with its initial weights over 100 steps of normal random
    input: 1.5e-3 with bfloat16, 2e-4 with float16, 3.5e-3 with int8.

    Speed is gained where weights come from beyond the first-level cache for few rows. One sequence's step in an
    LSTM(H, H), on one core of an AVX-512 CPU, was faster than in float32 by 1.8 times with bfloat16 at H=256, 1.7 at
    512 and 3.4 at 1024; by 1.2, 1.15 and 2.4 or more with float16 and int8, which cost more to widen. Large batches
    gain nothing, and `params` still take up their room in float32.

    On a GPU the small weights are all that lies there: `params` are on the host. They are widened before every run,
    into memory that all layers share, and multiplied as `precision` says; the same name there rounds them no further.

    Attributes
    ----------
    weights : "bfloat16", "float16" or "int8"
    params : mapping
        The weights after rounding and the biases, in float32, on the host; read-only.
    """

    weights: str
    _description: str

    def __init__(self, layer: Recurrent, weights: str) -> None:
        weights = as_choice("weights", weights, cpu.FORMATS)
        if layer.dtype != np.float32:
            raise _errors.wrong_value("quantized", "a layer of dtype float32", layer.dtype.name)
        if layer._layout.is_projected:
            raise _errors.wrong_value(
                "quantized", "a layer without a projection", f"proj_size={layer._layout.output_size}"
            )
        state = layer.__getstate__()
        self.__dict__.update(state, _description=f"{layer!r}.quantized({weights!r})", weights=weights)
        self.__dict__["params"] = _rounded(layer.params, weights, self._description)
        self._make_transient()
        self._freeze()

    def _pack(self, *arguments: Any) -> Any:
        return self._kernels.quantize_weights(super()._pack(*arguments), self.weights)

    def forward(self, *args: Any, **options: Any) -> NoReturn:
        """Not of this layer: it raises a TypeError."""
        raise _errors.inference_only("forward", self)

    def backward(self, *args: Any, **options: Any) -> NoReturn:
        """Not of this layer: it raises a TypeError."""
        raise _errors.inference_only("backward", self)

    def jvp(self, *args: Any, **options: Any) -> NoReturn:
        """Not of this layer: it raises a TypeError."""
        raise _errors.inference_only("jvp", self)

    def quantized(self, weights: str) -> NoReturn:
        """Not of this layer: it raises a TypeError."""
        raise _errors.inference_only("quantized", self)

    def config(self) -> NoReturn:
        """Not of this layer: it raises a TypeError."""
        raise _errors.quantized_config(self)

    def to(self, device: str) -> Self:
        """Itself where it is there; else it raises a TypeError, since its weights are not those to begin with."""
        if as_choice("device", device, DEVICES) == self.device:
            return self
        call = f"to({device!r}).quantized({self.weights!r})"
        expected = f"{self.device!r}, where this layer stays; of the one that it was made from take layer.{call}"
        raise _errors.wrong_type("device", expected, repr(device))

    def replace(self, **options: Any) -> NoReturn:
        """Not of this layer: it raises a TypeError."""
        raise _errors.quantized_options(self)

    def __repr__(self) -> str:
        return self._description


class FixedParams(Params):
    """Parameters that cannot be written."""

    def __init__(self, shapes: Any, flat: Array, owner: str) -> None:
        self.__setstate__({"shapes": shapes, "flat": flat, "version": 0, "owner": owner})

    def _check_writable(self) -> NoReturn:
        raise _errors.fixed_params(self._owner)

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"owner": self._owner}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._owner: str = state["owner"]


def _rounded(params: Params, weights: str, owner: str) -> FixedParams:
    snapshot = params._snapshot
    arrays = []
    for name, array in on_host(snapshot.arrays).items():
        if name.startswith("weight"):
            whole, array = array, cpu.rounded(array, weights)
            if not (np.isfinite(whole).all() and np.isfinite(array).all()):
                raise _errors.not_quantizable(name, weights)
        arrays.append(array.reshape(-1))
    return FixedParams({name: array.shape for name, array in snapshot.arrays.items()}, np.concatenate(arrays), owner)
