"""A dense layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fastgate import _errors
from fastgate._arrays import Array, as_choice, as_dtype, as_flag, as_size, new_seed
from fastgate._params import NamedArrays, Params, Shapes, Snapshot
from fastgate._placed import Dense, as_device
from fastgate._places import as_numbers, unshared
from fastgate._tape import LayerGradients, LayerTape, check_tape


class Linear(Dense):
    """``y = x W^T + b`` on the last axis, whatever the others are.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
    dtype : "float32" or "float64"
    seed : int, optional
        For the initial parameters; drawn at random if None.
    device : "cpu" or "cuda"
        Where it computes; see `LSTM`.
    init : "pytorch" or "keras"
        Weight and bias uniform in +-1/sqrt(in_features); or Glorot uniform and zero. For a layer with few outputs at
        the end of a network the second often learns faster.

    Attributes
    ----------
    params : Params
        ``weight`` (out_features, in_features), ``bias`` (out_features).

    Raises
    ------
    TypeError, ValueError
        If an option has a wrong type or value; the message names it.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        dtype: npt.DTypeLike = "float32",
        device: str = "cpu",
        seed: int | None = None,
        init: str = "pytorch",
    ) -> None:
        self.in_features = as_size("in_features", in_features)
        self.out_features = as_size("out_features", out_features)
        self.bias = as_flag("bias", bias)
        self.dtype = as_dtype(dtype)
        self.device = as_device(device)
        self.init = as_choice("init", init, ("pytorch", "keras"))
        self.seed = new_seed() if seed is None else as_size("seed", seed, least=0)
        shapes: Shapes = {"weight": (self.out_features, self.in_features)}
        if self.bias:
            shapes["bias"] = (self.out_features,)
        self.params = Params(shapes, self.dtype, self.device)
        rng = np.random.default_rng(self.seed)
        with self.params.edit() as arrays:
            if self.init == "pytorch":
                bound = 1.0 / np.sqrt(self.in_features)
                for array in arrays.values():
                    array[...] = rng.uniform(-bound, bound, array.shape)
            else:
                bound = np.sqrt(6.0 / (self.in_features + self.out_features))
                arrays["weight"][...] = rng.uniform(-bound, bound, arrays["weight"].shape)
        self._freeze()

    def __call__(self, x: npt.ArrayLike) -> Array:
        """Apply the layer.

        Parameters
        ----------
        x : array_like, (..., in_features)

        Returns
        -------
        ndarray, (..., out_features)

        Raises
        ------
        TypeError, ValueError
            If x has the wrong type or shape.
        """
        return self._given(self._forward(self._rows("x", x, self.in_features), self.params._snapshot), x)

    def forward(self, x: npt.ArrayLike) -> tuple[Array, LayerTape]:
        """Apply the layer and keep what `backward` needs.

        Parameters
        ----------
        x : array_like, (..., in_features)

        Returns
        -------
        y : ndarray, (..., out_features)
        tape : LayerTape
            With a copy of `x`; valid until the parameters are written.

        Raises
        ------
        TypeError, ValueError
            If x has the wrong type or shape.
        """
        given, snapshot = as_numbers("x", x), self.params._snapshot
        own = self._rows("x", given, self.in_features)
        y = self._forward(own, snapshot)
        return self._given(y, given), LayerTape(self.params, snapshot, unshared(own, given), y.shape)

    def backward(self, tape: LayerTape, dy: npt.ArrayLike) -> LayerGradients:
        """From the gradient in y to those in x and the parameters; the tape can be used again.

        Parameters
        ----------
        tape : LayerTape
        dy : array_like, (..., out_features)

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
        d_rows = self._rows("dy", dy, self.out_features)
        if d_rows.shape != tape.y_shape:
            raise _errors.wrong_shape("dy", f"that of y, {tape.y_shape}", d_rows.shape)
        kernels = self._there
        gradients = NamedArrays(kernels.empty(self.params.flat.shape, self.dtype), self.params._shapes)
        db = gradients["bias"] if self.bias else kernels.empty((self.out_features,), self.dtype)
        derived = tape.snapshot.derived
        if "backward" not in derived:
            derived["backward"] = kernels.dense.pack_backward_weights(tape.snapshot.arrays["weight"])
        x, d_rows = tape.x.reshape(-1, self.in_features), d_rows.reshape(-1, self.out_features)
        dx = kernels.dense.backward(x, derived["backward"], d_rows, gradients["weight"], db)
        return LayerGradients(self._given(dx.reshape(tape.x.shape), dy), gradients)

    def jit(self) -> Any:
        """A snapshot of the weights for `fastgate.jit.linear`; see `LSTM.jit`."""
        from fastgate import _embedded

        return _embedded.linear_cell(self.to("cpu"))

    def _forward(self, x: Array, snapshot: Snapshot) -> Array:
        weights = snapshot.derived.get("forward")
        if weights is None:
            b = snapshot.arrays["bias"] if self.bias else self._there.zeros((self.out_features,), self.dtype)
            weights = snapshot.derived["forward"] = self._there.dense.pack_weights(snapshot.arrays["weight"], b)
        y = self._there.dense.forward(x.reshape(-1, self.in_features), weights, self.out_features)
        shaped: Array = y.reshape(*x.shape[:-1], self.out_features)
        return shaped

    def __repr__(self) -> str:
        options = "" if self.bias else ", bias=False"
        options += "" if self.init == "pytorch" else f", init={self.init!r}"
        options += "" if self.dtype == np.float32 else f", dtype={self.dtype.name!r}"
        options += "" if self.device == "cpu" else f", device={self.device!r}"
        return f"Linear({self.in_features}, {self.out_features}{options})"
