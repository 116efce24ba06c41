"""Optimisers: from gradients to new parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastgate import _errors
from fastgate._arrays import Array, as_positive, as_probability
from fastgate._params import NamedArrays, Params


def clip_gradient_norm(gradients: Sequence[NamedArrays], max_norm: float) -> float:
    """Scale all gradients in place so that their common Euclidean norm is, but for rounding, at most `max_norm`.

    Source: Pascanu, Mikolov and Bengio 2013. Gradients whose norm is not finite are left as they are.

    Parameters
    ----------
    gradients : list of mappings as `backward` returns in ``params``
    max_norm : float
        Above 0.

    Returns
    -------
    float
        The norm before.

    Raises
    ------
    TypeError, ValueError
        If `max_norm` is not positive.
    """
    max_norm = as_positive("max_norm", max_norm)
    _check_sequence("gradients", gradients, NamedArrays)
    norm = float(np.linalg.norm([_norm(gradient.flat) for gradient in gradients]))
    if max_norm < norm < np.inf:
        for gradient in gradients:
            vector = gradient.flat
            vector *= vector.dtype.type(max_norm / norm)
    return norm


def _norm(vector: Array) -> float:
    """Of the largest entry times the norm of the others relative to it: their squares could overflow."""
    largest = float(np.max(np.abs(vector), initial=0.0))
    if largest == 0.0 or not np.isfinite(largest):
        return largest
    return largest * float(np.linalg.norm(vector.astype(np.float64) / largest))


class Adam:
    """Adam (Kingma and Ba 2015), with both moments corrected for their start at zero.

    Parameters
    ----------
    lr : float
        Learning rate.
    betas : pair of float, 0 to below 1
        Decay of the running mean and of the running mean square.
    eps : float

    Raises
    ------
    TypeError, ValueError
        If a value is out of range.
    """

    def __init__(self, lr: float = 1e-3, *, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> None:
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise _errors.wrong_type("betas", "two numbers from 0 to below 1", repr(betas))
        self.lr, self.eps = as_positive("lr", lr), as_positive("eps", eps)
        self.betas = as_probability("betas", betas[0]), as_probability("betas", betas[1])
        self.steps = 0
        self._moments: list[tuple[Array, Array]] = []

    def step(self, params: Sequence[Params], gradients: Sequence[NamedArrays]) -> None:
        """Write new parameters.

        Parameters
        ----------
        params : sequence of Params
            ``[layer.params for layer in layers]``, the same at every step.
        gradients : sequence of mappings as `backward` returns, one for each

        Raises
        ------
        TypeError, ValueError
            If the numbers of parameters and gradients differ, or have changed since the first step.
        """
        _check_sequence("params", params, Params)
        _check_sequence("gradients", gradients, NamedArrays)
        vectors = [gradient.flat for gradient in gradients]
        if [v.shape for v in vectors] != [p.flat.shape for p in params]:
            raise _errors.wrong_value("gradients", "one for each of params, as large as it", [v.shape for v in vectors])
        if not self._moments:
            self._moments = [(np.zeros_like(v), np.zeros_like(v)) for v in vectors]
        if [v.shape for v in vectors] != [m.shape for m, _ in self._moments]:
            raise _errors.wrong_value("params", "the same layers as at the first step", [v.shape for v in vectors])
        if any(v.dtype != p.dtype for v, p in zip(vectors, params, strict=True)):
            raise _errors.wrong_type("gradients", "the dtype of each of params", str([str(v.dtype) for v in vectors]))
        if any(v.dtype.type(self.eps) == 0 for v in vectors):
            raise _errors.wrong_value("eps", "a number above 0 in the dtype of params", self.eps)
        self.steps += 1
        beta1, beta2 = self.betas
        rate = self.lr / (1.0 - beta1**self.steps)
        correction = 1.0 / np.sqrt(1.0 - beta2**self.steps)
        for owner, g, (m, v) in zip(params, vectors, self._moments, strict=True):
            number: Any = g.dtype.type
            m *= number(beta1)
            m += number(1.0 - beta1) * g
            v *= number(beta2)
            v += number(1.0 - beta2) * (g * g)
            owner.flat = owner.flat - number(rate) * m / (np.sqrt(v) * number(correction) + number(self.eps))

    def __repr__(self) -> str:
        return f"Adam(lr={self.lr}, betas={self.betas}, eps={self.eps})"


def _check_sequence(name: str, values: Any, kind: type) -> None:
    """The user passes [layer.params, ...] and [gradients.params, ...]: say so where anything else comes."""
    inside = [type(value).__name__ for value in values] if isinstance(values, (list, tuple)) else type(values).__name__
    if inside != [kind.__name__] * len(values):
        whose = "layers" if kind is Params else "what backward returned"
        raise _errors.wrong_type(name, f"a list of the .params of {whose}", inside)
