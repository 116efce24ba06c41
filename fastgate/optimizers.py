"""Optimisers: SGD, Adam, AdamW and RMSprop, each a formula for one layer's vector, as PyTorch computes it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastgate import _errors
from fastgate._arrays import Array, as_flag, as_positive, as_probability
from fastgate._optimizer import Optimizer, Rate


class SGD(Optimizer):
    """Stochastic gradient descent: ``v = momentum v + g``, ``p = p - lr v``, with v = 0 before the first step.

    Parameters
    ----------
    lr : float or schedule
    momentum : float, 0 to below 1
    nesterov : bool
        ``p = p - lr (g + momentum v)`` instead (Sutskever et al. 2013).
    weight_decay : float, at least 0
        Adds ``weight_decay p`` to the gradient.

    Raises
    ------
    TypeError, ValueError
        If a value is out of range, or Nesterov's momentum is 0.
    """

    def __init__(
        self, lr: Rate = 1e-2, *, momentum: float = 0.0, nesterov: bool = False, weight_decay: float = 0.0
    ) -> None:
        super().__init__(lr, weight_decay)
        self.momentum = as_probability("momentum", momentum)
        self.nesterov = as_flag("nesterov", nesterov)
        if self.nesterov and not self.momentum:
            raise _errors.wrong_value("momentum", "a number above 0, because of nesterov", momentum)
        self.memory = ("velocity",) if self.momentum else ()

    def _advance(self, old: Array, gradient: Array, new: Array, lr: float, *memory: Array) -> None:
        g = _decayed(gradient, old, self.weight_decay)
        if memory:
            (velocity,) = memory
            velocity *= self.momentum
            velocity += g
            g = g + self.momentum * velocity if self.nesterov else velocity
        np.multiply(g, lr, out=new)
        np.subtract(old, new, out=new)

    def __repr__(self) -> str:
        momentum = f", momentum={self.momentum}" if self.momentum else ""
        return f"SGD(lr={self.lr}{momentum}{', nesterov=True' if self.nesterov else ''}{self._options()})"


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015), with both moments corrected for their start at zero.

    Parameters
    ----------
    lr : float or schedule
        Learning rate.
    betas : pair of float, 0 to below 1
        Decay of the running mean and of the running mean square.
    eps : float
    weight_decay : float, at least 0
        Adds ``weight_decay p`` to the gradient.

    Raises
    ------
    TypeError, ValueError
        If a value is out of range.
    """

    memory = ("mean", "square")

    def __init__(
        self,
        lr: Rate = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(lr, weight_decay)
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise _errors.wrong_type("betas", "two numbers from 0 to below 1", repr(betas))
        self.eps = as_positive("eps", eps)
        self.betas = as_probability("betas", betas[0]), as_probability("betas", betas[1])

    def _check(self, gradients: Sequence[Array]) -> None:
        _check_eps(self.eps, gradients)

    def _advance(self, old: Array, gradient: Array, new: Array, lr: float, *memory: Array) -> None:
        self._move(old, _decayed(gradient, old, self.weight_decay), new, lr, *memory)

    def _move(self, old: Array, g: Array, new: Array, lr: float, mean: Array, square: Array) -> None:
        beta1, beta2 = self.betas
        _average(mean, beta1, g, new)
        _average_squares(square, beta2, g, new)
        np.sqrt(square, out=new)  # no other memory than `new`: this is what a step waits for
        new *= (1.0 - beta2**self.steps) ** -0.5
        new += self.eps
        np.divide(mean, new, out=new)
        new *= lr / (1.0 - beta1**self.steps)
        np.subtract(old, new, out=new)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(lr={self.lr}, betas={self.betas}, eps={self.eps}{self._options()})"


class AdamW(Adam):
    """`Adam` with decoupled weight decay (Loshchilov and Hutter 2019): parameters shrink by ``lr weight_decay``.

    Parameters
    ----------
    lr, betas, eps
        As in `Adam`.
    weight_decay : float, at least 0

    Raises
    ------
    TypeError, ValueError
        If a value is out of range.
    """

    def __init__(
        self,
        lr: Rate = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def _advance(self, old: Array, gradient: Array, new: Array, lr: float, *memory: Array) -> None:
        self._move(old * (1.0 - lr * self.weight_decay), gradient, new, lr, *memory)

    def _options(self) -> str:
        return f", weight_decay={self.weight_decay}"


class RMSprop(Optimizer):
    """RMSprop (Tieleman and Hinton 2012): the gradient divided by the root of its running mean square.

    Parameters
    ----------
    lr : float or schedule
    alpha : float, 0 to below 1
        Decay of the running mean square.
    eps : float
        Added to its root.
    momentum : float, 0 to below 1
        As in `SGD`, of what is divided.
    weight_decay : float, at least 0
        Adds ``weight_decay p`` to the gradient.

    Raises
    ------
    TypeError, ValueError
        If a value is out of range.
    """

    def __init__(
        self,
        lr: Rate = 1e-2,
        *,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(lr, weight_decay)
        self.alpha, self.eps = as_probability("alpha", alpha), as_positive("eps", eps)
        self.momentum = as_probability("momentum", momentum)
        self.memory = ("square", "velocity") if self.momentum else ("square",)

    def _check(self, gradients: Sequence[Array]) -> None:
        _check_eps(self.eps, gradients)

    def _advance(self, old: Array, gradient: Array, new: Array, lr: float, *memory: Array) -> None:
        g = _decayed(gradient, old, self.weight_decay)
        _average_squares(memory[0], self.alpha, g, new)
        np.sqrt(memory[0], out=new)
        new += self.eps
        np.divide(g, new, out=new)
        if self.momentum:
            velocity = memory[1]
            velocity *= self.momentum
            velocity += new
            new[...] = velocity
        new *= lr
        np.subtract(old, new, out=new)

    def __repr__(self) -> str:
        momentum = f", momentum={self.momentum}" if self.momentum else ""
        return f"RMSprop(lr={self.lr}, alpha={self.alpha}, eps={self.eps}{momentum}{self._options()})"


OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW, "rmsprop": RMSprop}


def _decayed(gradient: Array, old: Array, weight_decay: float) -> Array:
    """That of the loss plus ``weight_decay / 2`` times the squared norm of the parameters."""
    return gradient + weight_decay * old if weight_decay else gradient


def _average(mean: Array, decay: float, values: Array, scratch: Array) -> None:
    """The running mean, in place."""
    np.multiply(values, 1.0 - decay, out=scratch)
    mean *= decay
    mean += scratch


def _average_squares(mean: Array, decay: float, values: Array, scratch: Array) -> None:
    """The running mean of squares, in place."""
    np.square(values, out=scratch)
    scratch *= 1.0 - decay
    mean *= decay
    mean += scratch


def _check_eps(eps: float, gradients: Sequence[Array]) -> None:
    if any(gradient.dtype.type(eps) == 0 for gradient in gradients):
        raise _errors.wrong_value("eps", "a number above 0 in the dtype of params", eps)
