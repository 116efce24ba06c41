"""Functions of single entries (and softmax, of a row) between the layers of a model."""

from __future__ import annotations

from collections.abc import Callable
from math import pi, sqrt
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastgate import _errors
from fastgate._arrays import Array, as_choice, quiet
from fastgate._places import as_any_floating, as_numbers, unshared
from fastgate._plain import Plain
from fastgate._tape import PlainTape


class Function(NamedTuple):
    """y of x, and dx of (x, y, dy)."""

    forward: Callable[[Array], Array]
    backward: Callable[[Array, Array, Array], Array]


def _sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))  # never overflows
    y: Array = np.where(x < 0, e, 1) / (1 + e)
    return y


def _normal_probability(x: Array) -> Array:
    from scipy.special import ndtr  # which takes time to import

    return ndtr(x)  # type: ignore[no-any-return]


def _normal_density(x: Array) -> Array:
    density: Array = np.exp(x * x * -0.5) * x.dtype.type(1 / sqrt(2 * pi))
    return density


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    y: Array = e / e.sum(axis=-1, keepdims=True)
    return y


def _log_softmax(x: Array) -> Array:
    shifted = x - x.max(axis=-1, keepdims=True)
    y: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return y


FUNCTIONS = {
    "relu": Function(lambda x: np.where(x < 0, 0, x), lambda x, y, dy: np.where(x > 0, dy, 0)),
    "leaky_relu": Function(lambda x: np.where(x < 0, x * 0.01, x), lambda x, y, dy: np.where(x > 0, dy, dy * 0.01)),
    "elu": Function(
        lambda x: np.where(x < 0, np.expm1(np.minimum(x, 0)), x), lambda x, y, dy: np.where(x > 0, dy, dy * (y + 1))
    ),
    "gelu": Function(
        lambda x: x * _normal_probability(x),
        lambda x, y, dy: dy * (_normal_probability(x) + x * _normal_density(x)),
    ),
    "silu": Function(
        lambda x: x * _sigmoid(x), lambda x, y, dy: dy * _sigmoid(x) * (1 + x * _sigmoid(-x))
    ),
    "softplus": Function(lambda x: np.logaddexp(x, 0), lambda x, y, dy: dy * _sigmoid(x)),
    "sigmoid": Function(_sigmoid, lambda x, y, dy: dy * y * (1 - y)),
    "tanh": Function(np.tanh, lambda x, y, dy: dy * (1 - y * y)),
    "softmax": Function(_softmax, lambda x, y, dy: y * (dy - (y * dy).sum(axis=-1, keepdims=True))),
    "log_softmax": Function(_log_softmax, lambda x, y, dy: dy - np.exp(y) * dy.sum(axis=-1, keepdims=True)),
}  # fmt: skip


def _as_array(value: Any) -> Array:
    """Of an array without axes NumPy makes a number."""
    return np.asarray(value) if isinstance(value, np.generic) else value


class Activation(Plain):
    """``y = f(x)``, entry by entry; softmax and log_softmax over the last axis.

    Definitions and defaults are PyTorch's: leaky_relu with a slope of 0.01, elu with alpha 1, gelu the exact one. The
    losses `cross_entropy` and `binary_cross_entropy` take logits: put no softmax or sigmoid before them.

    Parameters
    ----------
    function : str
        "relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "sigmoid", "tanh", "softmax" or "log_softmax".

    Raises
    ------
    ValueError
        If there is no such function.
    """

    def __init__(self, function: str) -> None:
        self.function = as_choice("function", function, tuple(FUNCTIONS))
        self._freeze()

    def __call__(self, x: npt.ArrayLike) -> Array:
        """Apply the function.

        Parameters
        ----------
        x : array_like, any shape; at least one axis for softmax and log_softmax

        Returns
        -------
        ndarray, as x
            In float32 if x is that, and else in float64.
        """
        return self._forward(as_any_floating("x", x))

    def forward(self, x: npt.ArrayLike) -> tuple[Array, PlainTape]:
        """Apply the function and keep what `backward` needs.

        Parameters
        ----------
        x : array_like, any shape

        Returns
        -------
        y : ndarray, as x
            Read-only, as the tape keeps it.
        tape : PlainTape
            With a copy of x.
        """
        given = as_numbers("x", x)
        own = unshared(as_any_floating("x", given), given)
        y = self._forward(own)
        if isinstance(y, np.ndarray):
            y.flags.writeable = False
        return y, self._tape(y, own, y)

    @quiet
    def _backward(self, kept: Any, dy: Array) -> Array:
        x, y = kept
        return _as_array(FUNCTIONS[self.function].backward(x, y, dy))

    @quiet
    def _forward(self, x: Array) -> Array:
        if x.ndim == 0 and self.function.endswith("softmax"):
            raise _errors.wrong_shape("x", "(..., features)", x.shape)
        if x.size == 0:
            return x.copy()
        return _as_array(FUNCTIONS[self.function].forward(x))

    def __repr__(self) -> str:
        return f"Activation({self.function!r})"
