"""Learning-rate schedules: from the number of steps done to the rate of the next. Any callable of it is one."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi

from fastgate._arrays import as_positive, as_size
from fastgate._optimizer import Rate, as_not_negative, rate_at


@dataclass(frozen=True)
class StepDecay:
    """``lr * factor**(step // every)``.

    Parameters
    ----------
    lr : float
    every : int, steps
    factor : float

    Raises
    ------
    TypeError, ValueError
        If a value is not positive.
    """

    lr: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        as_positive("lr", self.lr)
        as_size("every", self.every)
        as_positive("factor", self.factor)

    def __call__(self, step: int) -> float:
        """The rate after so many steps."""
        return float(self.lr * self.factor ** (step // self.every))


@dataclass(frozen=True)
class ExponentialDecay:
    """``lr * factor**(step / every)``.

    Parameters
    ----------
    lr : float
    factor : float
    every : int, steps

    Raises
    ------
    TypeError, ValueError
        If a value is not positive.
    """

    lr: float
    factor: float
    every: int = 1

    def __post_init__(self) -> None:
        as_positive("lr", self.lr)
        as_positive("factor", self.factor)
        as_size("every", self.every)

    def __call__(self, step: int) -> float:
        """The rate after so many steps."""
        return float(self.lr * self.factor ** (step / self.every))


@dataclass(frozen=True)
class CosineDecay:
    """From `lr` to `end` in `steps` steps, as half a period of a cosine (Loshchilov and Hutter 2017); then `end`.

    Parameters
    ----------
    lr : float
    steps : int
    end : float, at least 0

    Raises
    ------
    TypeError, ValueError
        If a value is out of range.
    """

    lr: float
    steps: int
    end: float = 0.0

    def __post_init__(self) -> None:
        as_positive("lr", self.lr)
        as_size("steps", self.steps)
        as_not_negative("end", self.end)

    def __call__(self, step: int) -> float:
        """The rate after so many steps."""
        done = min(step, self.steps) / self.steps
        return float(self.end + (self.lr - self.end) * (1.0 + cos(pi * done)) / 2.0)


@dataclass(frozen=True)
class LinearWarmup:
    """In `steps` equal steps up to the first rate of `then`; from there on `then`, whose steps count from 0.

    Parameters
    ----------
    steps : int
    then : float or schedule

    Raises
    ------
    TypeError, ValueError
        If a value is not positive.
    """

    steps: int
    then: Rate

    def __post_init__(self) -> None:
        as_size("steps", self.steps)
        if not callable(self.then):
            as_positive("then", self.then)

    def __call__(self, step: int) -> float:
        """The rate after so many steps."""
        if step < self.steps:
            return rate_at(self.then, 0) * (step + 1) / (self.steps + 1)
        return rate_at(self.then, step - self.steps)
