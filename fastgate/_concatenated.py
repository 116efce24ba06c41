"""Weights printed as one matrix over [h, x], taken apart: which rows are a gate's, which columns are of h and of x."""

from __future__ import annotations

from collections.abc import Mapping
from math import fsum
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgate import _errors
from fastgate._arrays import Array, as_choice, as_dtype, as_floating, as_real

Gates = Mapping[str, npt.ArrayLike | tuple[npt.ArrayLike, npt.ArrayLike | None]]


class Equation:
    """What is printed of one layer: of each gate W_x (H, I), W_h (H, H) and, if it has one, b (H), as they were given.

    `gates` and `order` are those of `LSTM.from_concatenated`; `names` are all gates in the order of the parameters.
    """

    def __init__(self, gates: Gates, names: tuple[str, ...], order: str) -> None:
        if not isinstance(gates, Mapping):
            raise _errors.wrong_type("gates", "a mapping from names of gates to W or (W, b)", type(gates).__name__)
        given = [name for key in gates for name in str(key).split() or [""]]
        if sorted(given) != sorted(names):
            raise _errors.wrong_gates(names, given)
        h_first = as_choice("order", order, ("hx", "xh")) == "hx"
        self.names = names
        self.W_x: dict[str, Array] = {}
        self.W_h: dict[str, Array] = {}
        self.b: dict[str, Array] = {}
        sizes: tuple[int, int] | None = None
        for key, value in gates.items():
            W, b = value if isinstance(value, tuple) and len(value) == 2 else (value, None)
            own = str(key).split()
            blocks = np.split(_matrix(f"gates[{key!r}]", W, len(own), sizes), len(own))
            H, columns = sizes = blocks[0].shape
            I = columns - H
            for name, block in zip(own, blocks, strict=True):
                self.W_h[name], self.W_x[name] = (
                    (block[:, :H], block[:, H:]) if h_first else (block[:, I:], block[:, :I])
                )
            if b is not None:
                parts = np.split(as_vector(f"bias of gates[{key!r}]", b, len(own) * H), len(own))
                self.b.update(zip(own, parts, strict=True))
        self.input_size, self.hidden_size = I, H

    def negate(self, name: str) -> None:
        """Give a gate the opposite meaning: 1 - sigmoid(a) is sigmoid(-a)."""
        for parts in (self.W_x, self.W_h, self.b):
            if name in parts:
                parts[name] = -1.0 * parts[name]

    def dtype(self, wanted: npt.DTypeLike | None, other: Array | None = None) -> np.dtype[Any]:
        """The wanted one; or else float32 if it holds every value that the dtypes given can have."""
        if wanted is not None:
            return as_dtype(wanted)
        arrays = *self.W_x.values(), *self.b.values(), *(() if other is None else (other,))
        return as_dtype("float32" if np.result_type(np.float32, *arrays) == np.float32 else "float64")

    def params(self, dtype: np.dtype[Any], *, bias: bool) -> dict[str, Array]:
        """A layer's parameters; with `bias` a single one, zero for the gates that have none."""
        kinds = {"weight_ih_l0": self.W_x, "weight_hh_l0": self.W_h}
        if bias:
            zeros = np.zeros(self.hidden_size, dtype)
            kinds["bias_l0"] = {name: self.b.get(name, zeros) for name in self.names}
        return {
            param: np.concatenate([as_floating(f"gates[{name!r}]", parts[name], dtype) for name in self.names])
            for param, parts in kinds.items()
        }

    def fold(self, name: str, inner: Array) -> None:
        """Replace a bias inside the product with W_h by one outside: W_h (v + inner) is W_h v + W_h inner.

        Each sum is exact and then rounded to float64: factors are cut into halves of 26 bits (Dekker 1971), whose
        products are exact, and so is fsum.
        """
        b = self.b.get(name, np.zeros(len(inner)))
        with np.errstate(over="ignore", invalid="ignore"):
            products = [u * v for u in _halves(self.W_h[name]) for v in _halves(inner)]
            terms = np.column_stack([b, *products])
        if not (finite := np.isfinite(terms)).all():
            raise _errors.wrong_value("inner_bias", "finite products with the weights of h", float(terms[~finite][0]))
        self.b[name] = np.array([fsum(row) for row in terms])


def _halves(array: Array) -> tuple[Array, Array]:
    wide = array.astype(np.float64)
    shifted = wide * (2.0**27 + 1.0)
    high = shifted - (shifted - wide)
    return high, wide - high


def _matrix(name: str, value: Any, gates: int, sizes: tuple[int, int] | None) -> Array:
    """W (gates*H, H+I), of the sizes (H, H+I) of those before."""
    W = as_real(name, value)
    own = (W.shape[0] // gates, W.shape[1]) if W.ndim == 2 and W.shape[0] % gates == 0 else (0, 0)
    if not 0 < own[0] < own[1] or own != (sizes or own):
        rows, columns = sizes or ("H", "H + I")
        of_gates = f"{gates} * " if gates > 1 else ""
        raise _errors.wrong_shape(name, f"({of_gates}{rows}, {columns}), to be multiplied by a column [h, x]", W.shape)
    return W


def as_vector(name: str, value: Any, size: int) -> Array:
    """b (size), also as a column."""
    b = as_real(name, value)
    if b.shape not in ((size,), (size, 1)):
        raise _errors.wrong_shape(name, f"({size},)", b.shape)
    return b.reshape(size)
