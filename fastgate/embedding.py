"""A table of vectors, looked up by integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fastgate import _errors
from fastgate._arrays import Array, as_array, as_choice, as_dtype, as_flag, as_size, is_there, kind_of, new_seed
from fastgate._masks import both
from fastgate._params import NamedArrays, Params
from fastgate._placed import Dense, as_device
from fastgate._places import as_numbers
from fastgate._tape import LayerGradients, LayerTape, check_tape


class Embedding(Dense):
    """One vector for each of `num_embeddings` integers.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
    padding_idx : int, optional
        An integer whose vector is zero at first and has no gradient, so that no training moves it.
    mask_zero : bool
        Whether 0 is padding, as in Keras: in a model, the recurrent layers behind it skip these steps, and `fit` does
        not count them. Its vector is one like the others.
    dtype : "float32" or "float64"
    device : "cpu" or "cuda"
        Where it computes; see `LSTM`. Integers are read on the host: what lies on the GPU is copied back for that.
    seed : int, optional
        For the initial vectors; drawn at random if None.
    init : "pytorch" or "keras"
        Standard normal; or uniform in +-0.05, with which what is rare has little to say: often better for words.

    Attributes
    ----------
    params : Params
        ``weight`` (num_embeddings, embedding_dim).

    Raises
    ------
    TypeError, ValueError
        If an option has a wrong type or value; the message names it.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        *,
        padding_idx: int | None = None,
        mask_zero: bool = False,
        dtype: npt.DTypeLike = "float32",
        device: str = "cpu",
        seed: int | None = None,
        init: str = "pytorch",
    ) -> None:
        self.num_embeddings = as_size("num_embeddings", num_embeddings)
        self.embedding_dim = as_size("embedding_dim", embedding_dim)
        self.padding_idx = None if padding_idx is None else as_size("padding_idx", padding_idx, least=0)
        if self.padding_idx is not None and self.padding_idx >= self.num_embeddings:
            raise _errors.wrong_value("padding_idx", f"at most {self.num_embeddings - 1}", padding_idx)
        self.mask_zero = as_flag("mask_zero", mask_zero)
        self.dtype = as_dtype(dtype)
        self.device = as_device(device)
        self.init = as_choice("init", init, ("pytorch", "keras"))
        self.seed = new_seed() if seed is None else as_size("seed", seed, least=0)
        shape = self.num_embeddings, self.embedding_dim
        self.params = Params({"weight": shape}, self.dtype, self.device)
        rng = np.random.default_rng(self.seed)
        with self.params.edit() as arrays:
            is_normal = self.init == "pytorch"
            arrays["weight"][...] = rng.standard_normal(shape) if is_normal else rng.uniform(-0.05, 0.05, shape)
            if self.padding_idx is not None:
                arrays["weight"][self.padding_idx] = 0
        self._freeze()

    def __call__(self, x: npt.ArrayLike) -> Array:
        """Look up vectors.

        Parameters
        ----------
        x : array_like of int, (...), from 0 to num_embeddings - 1

        Returns
        -------
        ndarray, (..., embedding_dim)

        Raises
        ------
        TypeError, ValueError
            If x holds no integers, or one out of range.
        """
        return self._given(self._vectors(self._read(x), x), x)

    def forward(self, x: npt.ArrayLike) -> tuple[Array, LayerTape]:
        """Look up vectors and keep what `backward` needs.

        Parameters
        ----------
        x : array_like of int, (...), from 0 to num_embeddings - 1

        Returns
        -------
        y : ndarray, (..., embedding_dim)
        tape : LayerTape
            Valid until the parameters are written.

        Raises
        ------
        TypeError, ValueError
            If x holds no integers, or one out of range.
        """
        indices = self._read(x).copy()
        y = self._vectors(indices, x)
        return self._given(y, x), LayerTape(self.params, self.params._snapshot, indices, y.shape)

    def backward(self, tape: LayerTape, dy: npt.ArrayLike) -> LayerGradients:
        """From the gradient in y to that in the vectors.

        Parameters
        ----------
        tape : LayerTape
        dy : array_like, (..., embedding_dim)

        Returns
        -------
        LayerGradients
            ``params``; ``x`` is None, as integers have no gradient.

        Raises
        ------
        TypeError, ValueError
            If dy is not shaped as y, or the tape is of another layer or of parameters written since.
        """
        check_tape(tape, LayerTape, self)
        own = self._brought("dy", dy)
        if own.shape != tape.y_shape:
            raise _errors.wrong_shape("dy", f"that of y, {tape.y_shape}", own.shape)
        kernels = self._there
        gradients = NamedArrays(kernels.zeros(self.params.flat.shape, self.dtype), self.params._shapes)
        rows = own.reshape(-1, self.embedding_dim)
        kernels.scatter_add(rows, tape.x.reshape(-1), 0, rows.shape[0], self.embedding_dim, gradients["weight"])
        if self.padding_idx is not None:
            gradients["weight"][self.padding_idx] = 0
        return LayerGradients(None, gradients)

    def compute_mask(self, x: npt.ArrayLike, mask: Any = None) -> Any:
        """Which steps count: with `mask_zero` those that are not 0.

        Parameters
        ----------
        x : array_like of int, (...)
        mask : array_like of bool, (...), optional
            Those that counted so far.

        Returns
        -------
        ndarray of bool, (...)
            Without `mask_zero` the mask that was given, or None.
        """
        return both(mask, self._read(x) != 0) if self.mask_zero else mask

    def _vectors(self, indices: Array, x: Any) -> Array:
        if self.device == "cpu":
            return np.asarray(self.params["weight"][indices])
        self._there.wait_for(self.params.flat.stream)
        found: Array = np.take(self.params["weight"], as_numbers("x", x) if is_there(x) else indices, axis=0)
        return found

    def _read(self, x: Any) -> npt.NDArray[np.int64]:
        array = as_array("x", x, "integers")
        if array.size == 0:
            return array.astype(np.int64)
        if array.dtype.kind not in "iu":
            got = kind_of(array)
            advice = "; give each word a number" if got == "strings" else ""
            raise _errors.wrong_type("x", "integers", got + advice)
        if array.min() < 0 or array.max() >= self.num_embeddings:
            expected = f"values from 0 to {self.num_embeddings - 1}"
            raise _errors.wrong_range("x", expected, array.min(), array.max())
        return array.astype(np.int64)

    def __repr__(self) -> str:
        options = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        options += ", mask_zero=True" if self.mask_zero else ""
        options += "" if self.dtype == np.float32 else f", dtype={self.dtype.name!r}"
        options += "" if self.device == "cpu" else f", device={self.device!r}"
        options += "" if self.init == "pytorch" else f", init={self.init!r}"
        return f"Embedding({self.num_embeddings}, {self.embedding_dim}{options})"
