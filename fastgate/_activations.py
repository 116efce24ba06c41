"""The activations of gates as a user names them: "tanh", or a name and its parameters."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastgate import _errors
from fastgate._arrays import as_number
from fastgate._kernels import cpu

Activation = str | tuple[Any, ...]

# A kernel computes slopes from outputs, which must not be the same on both sides of a turn, nor all the same.
NOT_NEGATIVE = ("leaky_relu", "thresholded_relu", "elu")
NOT_ZERO = ("scaled_tanh",)


def as_activations(name: str, value: Any, usual: Sequence[str]) -> tuple[Activation, ...]:
    """One for each of the `usual` ones, in their shortest form."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise _errors.wrong_type(name, f"{len(usual)} activations, as in {tuple(usual)!r}", repr(value))
    if len(value) != len(usual):
        raise _errors.wrong_value(name, f"{len(usual)} activations, as in {tuple(usual)!r}", value)
    return tuple(as_activation(f"{name}[{i}]", each) for i, each in enumerate(value))


def as_activation(name: str, value: Any) -> Activation:
    """A name; with parameters that are not the usual ones, a tuple of it and all of them."""
    kind, *given = value if isinstance(value, (tuple, list)) and value else (value,)
    if not isinstance(kind, str) or kind not in cpu.DEFAULTS:
        raise _errors.wrong_value(name, "one of " + ", ".join(cpu.DEFAULTS), kind)
    defaults = cpu.DEFAULTS[kind]
    if len(given) > len(defaults):
        raise _errors.wrong_value(name, f"{kind} with at most {len(defaults)} parameters", value)
    numbers = tuple(as_parameter(name, number) for number in given)
    if numbers and ((kind in NOT_NEGATIVE and numbers[0] < 0) or (kind in NOT_ZERO and numbers[0] == 0)):
        least = "alpha of at least 0" if kind in NOT_NEGATIVE else "alpha other than 0"
        raise _errors.wrong_value(name, f"{kind} with {least} (its gradient is computed from its output)", value)
    whole = numbers + defaults[len(numbers) :]
    return kind if whole == defaults else (kind, *whole)


def as_parameter(name: str, value: Any) -> float:
    """A number that float32 can hold."""
    number = as_number(name, value)
    with np.errstate(over="ignore", under="ignore"):
        single = np.float32(number)
    if not np.isfinite(single) or bool(single) != bool(number):
        raise _errors.wrong_value(name, "a finite number in float32", value)
    return number


def as_clip(value: Any) -> float | None:
    """None, or the positive bound of what enters the activations."""
    if value is None:
        return None
    bound = as_parameter("clip", value)
    if not bound > 0.0:
        raise _errors.wrong_value("clip", "a positive number or None", value)
    return bound


def with_parameters(activation: Activation) -> tuple[Any, ...]:
    """As kernels take it: the name and all parameters."""
    return (activation, *cpu.DEFAULTS[activation]) if isinstance(activation, str) else activation
