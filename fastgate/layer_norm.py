"""Normalisation over features."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fastgate import _errors
from fastgate._arrays import Array, as_dtype, as_positive, as_size, quiet
from fastgate._params import NamedArrays, Params, Snapshot
from fastgate._placed import Dense, as_device
from fastgate._places import as_numbers, unshared
from fastgate._tape import LayerGradients, LayerTape, check_tape


class LayerNorm(Dense):
    """``y = (x - mean) / sqrt(variance + eps) * weight + bias``, each row by itself (Ba, Kiros and Hinton 2016).

    Mean and variance are over the last axis; the variance is the mean of squares, as in PyTorch.

    Parameters
    ----------
    features : int
        Size of the last axis.
    eps : float
        Above 0.
    dtype : "float32" or "float64"
    device : "cpu" or "cuda"
        Where it computes; see `LSTM`.

    Attributes
    ----------
    params : Params
        ``weight`` (features,), ones at first, and ``bias`` (features,), zeros.

    Raises
    ------
    TypeError, ValueError
        If an option has a wrong type or value; the message names it.
    """

    def __init__(
        self, features: int, eps: float = 1e-5, *, dtype: npt.DTypeLike = "float32", device: str = "cpu"
    ) -> None:
        self.features = as_size("features", features)
        self.eps = as_positive("eps", eps)
        self.dtype = as_dtype(dtype)
        self.device = as_device(device)
        self.params = Params({"weight": (self.features,), "bias": (self.features,)}, self.dtype, self.device)
        self.params["weight"] = np.ones(self.features)
        self._freeze()

    def __call__(self, x: npt.ArrayLike) -> Array:
        """Apply the layer.

        Parameters
        ----------
        x : array_like, (..., features)

        Returns
        -------
        ndarray, (..., features)

        Raises
        ------
        TypeError, ValueError
            If x has the wrong type or shape.
        """
        return self._given(self._forward(self._rows("x", x, self.features), self.params._snapshot), x)

    def forward(self, x: npt.ArrayLike) -> tuple[Array, LayerTape]:
        """Apply the layer and keep what `backward` needs.

        Parameters
        ----------
        x : array_like, (..., features)

        Returns
        -------
        y : ndarray, (..., features)
        tape : LayerTape
            With a copy of `x`; valid until the parameters are written.

        Raises
        ------
        TypeError, ValueError
            If x has the wrong type or shape.
        """
        given, snapshot = as_numbers("x", x), self.params._snapshot
        own = self._rows("x", given, self.features)
        y = self._forward(own, snapshot)
        return self._given(y, given), LayerTape(self.params, snapshot, unshared(own, given), y.shape)

    @quiet
    def backward(self, tape: LayerTape, dy: npt.ArrayLike) -> LayerGradients:
        """From the gradient in y to those in x and the parameters; the tape can be used again.

        Parameters
        ----------
        tape : LayerTape
        dy : array_like, (..., features)

        Returns
        -------
        LayerGradients
            ``x`` and ``params``, fresh arrays.

        Raises
        ------
        TypeError, ValueError
            If dy is not shaped as y, or the tape is of another layer or of parameters written since.
        """
        check_tape(tape, LayerTape, self)
        own = self._rows("dy", dy, self.features)
        if own.shape != tape.y_shape:
            raise _errors.wrong_shape("dy", f"that of y, {tape.y_shape}", own.shape)
        normal, scale = self._normalised(tape.x)
        gradients = NamedArrays(self._there.empty(self.params.flat.shape, self.dtype), self.params._shapes)
        outer = tuple(range(own.ndim - 1))
        np.sum(own * normal, axis=outer, out=gradients["weight"])
        np.sum(own, axis=outer, out=gradients["bias"])
        d_normal = own * tape.snapshot.arrays["weight"]
        along = (d_normal * normal).mean(axis=-1, keepdims=True)
        dx: Array = scale * (d_normal - d_normal.mean(axis=-1, keepdims=True) - normal * along)
        return LayerGradients(self._given(dx, dy), gradients)

    def _normalised(self, x: Array) -> tuple[Array, Array]:
        """x with mean 0 and variance 1, and what it was multiplied with."""
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = np.square(centred).mean(axis=-1, keepdims=True)
        scale = 1 / np.sqrt(variance + self.dtype.type(self.eps))
        return centred * scale, scale

    @quiet
    def _forward(self, x: Array, snapshot: Snapshot) -> Array:
        normal, _ = self._normalised(x)
        normal *= snapshot.arrays["weight"]
        normal += snapshot.arrays["bias"]
        return normal

    def __repr__(self) -> str:
        options = "" if self.eps == 1e-5 else f", eps={self.eps}"
        options += "" if self.dtype == np.float32 else f", dtype={self.dtype.name!r}"
        options += "" if self.device == "cpu" else f", device={self.device!r}"
        return f"LayerNorm({self.features}{options})"
