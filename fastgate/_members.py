"""The members of an ensemble one by one: what they must have in common, and their states with an axis of members."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy.typing as npt

from fastgate import _errors
from fastgate._arrays import Array, as_floating, is_there, stacked, where_it_lies
from fastgate._params import NamedArrays, Params
from fastgate._recurrent import Recurrent
from fastgate._tape import Gradients
from fastgate.sequential import Sequential

Member = Recurrent | Sequential
Loss = Callable[[Array, int], tuple[float, npt.ArrayLike]]


def check(name: str, members: Sequence[Any]) -> None:
    """Raise unless they are of one configuration, each with parameters of its own."""
    owners: dict[int, str] = {}
    first: Any = None
    for number, member in enumerate(members):
        place = f"{name}[{number}]"
        if not isinstance(member, (Recurrent, Sequential)):
            raise _errors.wrong_type(place, "an LSTM, GRU, RNN or Sequential", type(member).__name__)
        for owner in owners_of(member):
            if (other := owners.setdefault(id(owner), place)) != place:
                raise _errors.misplaced(place, "parameters of its own", f"some that {other} has, too")
        if (device := device_of(member)) != (expected := device_of(members[0])):
            raise _errors.wrong_value(f"{place}.device", f"{expected!r}, as {name}[0] has", device)
        config = member.config()
        first = config if first is None else first
        for part, wanted, own in differences("", first, config):
            raise _errors.wrong_value(f"{place}{part}", f"{_short(wanted)!r}, as {name}[0] has", _short(own))


def device_of(member: Member) -> str:
    """Where it computes, of a model its layers that keep a state."""
    layers = [member] if isinstance(member, Recurrent) else member.layers
    found = sorted({layer.device for layer in layers if isinstance(layer, Recurrent)})
    return " and ".join(found) or "cpu"


def check_gradients(name: str, gradients: Any, members: Sequence[Member]) -> None:
    """Raise unless they are those of all members."""
    if not isinstance(gradients, NamedArrays):
        expected = "the params that backward returned, or what gradients did"
        raise _errors.wrong_type(name, expected, type(gradients).__name__)
    check_rows(name, gradients.flat, members)


def check_rows(name: str, array: Array, members: Sequence[Member]) -> None:
    """Raise unless it has all parameters of each member."""
    if array.shape != (expected := (len(members), members[0].params.flat.size)):
        raise _errors.wrong_shape(name, f"{expected}", array.shape)


def owners_of(member: Member) -> list[Params]:
    """What an optimiser takes."""
    return member.params.layers if isinstance(member, Sequential) else [member.params]


def differences(place: str, first: Any, own: Any) -> Iterator[tuple[str, Any, Any]]:
    """Between two configurations, but for seeds: where, and both values."""
    if isinstance(first, dict) and isinstance(own, dict) and first.get("class") == own.get("class"):
        for name in first.keys() - {"seed"}:
            yield from differences(f"{place}.{name}", first[name], own.get(name))
    elif isinstance(first, list) and isinstance(own, list) and len(first) == len(own):
        for number, pair in enumerate(zip(first, own, strict=True)):
            yield from differences(f"{place}[{number}]", *pair)
    elif first != own:
        yield place, first, own


def _short(config: Any) -> Any:
    """For a sentence: layers by their classes."""
    if isinstance(config, dict):
        return config.get("class", config)
    return list(map(_short, config)) if isinstance(config, list) else config


def seeded(config: Any, seeds: Iterator[int]) -> Any:
    """A configuration with other seeds, wherever it has some."""
    if isinstance(config, dict):
        return {name: next(seeds) if name == "seed" else seeded(value, seeds) for name, value in config.items()}
    return [seeded(part, seeds) for part in config] if isinstance(config, list) else config


def count_seeds(config: Any) -> int:
    parts = config.values() if isinstance(config, dict) else config if isinstance(config, list) else ()
    return sum(map(count_seeds, parts)) + (isinstance(config, dict) and "seed" in config)


def infer(member: Member, x: Any, state: Any, told: dict[str, Any]) -> tuple[Array, Any, None]:
    run = member.run if isinstance(member, Sequential) else member
    return (*run(x, state, **told), None)


def forward(member: Member, x: Any, state: Any, told: dict[str, Any]) -> tuple[Array, Any, Any]:
    if isinstance(member, Sequential):
        y, tape = member.forward(x, state=state, **told)
        return y, tape.state, tape
    return member.forward(x, state, **told)


def backward(members: Sequence[Member], tapes: Sequence[Any], dy: Any, dstate: Any) -> Gradients:
    count = len(members)
    rows, states = [None] * count if dy is None else dy, split_states("dstate", dstate, count)
    calls = zip(members, tapes, rows, states, strict=True)
    found = [member.backward(tape, row, state) for member, tape, row, state in calls]
    params = NamedArrays(stacked([own.params.flat for own in found]), members[0].params._shapes)
    dx: Any = None if found[0].x is None else stacked([own.x for own in found])
    return Gradients(dx, join_states([own.state for own in found]), params)


def split_states(name: str, state: Any, count: int) -> list[Any]:
    """That of each member, from one with a leading axis of them."""
    if state is None:
        return [None] * count
    if isinstance(state, (tuple, list)):
        parts = [split_states(name, part, count) for part in state]
        return [tuple(part[m] for part in parts) for m in range(count)]
    return list(of_members(name, state, count))


def of_members(name: str, value: Any, count: int) -> Any:
    """An array with a leading axis of members, where it lies."""
    own = where_it_lies(value)
    if own.ndim < 1 or len(own) != count:
        raise _errors.wrong_shape(name, f"({count}, ...), one for each member", tuple(own.shape))
    return own


def join_states(states: Sequence[Any]) -> Any:
    """From those of all members, with None where they have that."""
    if states[0] is None:
        return None
    if isinstance(states[0], tuple):
        return tuple(join_states(parts) for parts in zip(*states, strict=True))
    return stacked(states)


def value_and_gradient(loss: Loss, y: Array, member: int) -> tuple[float, Array]:
    found = loss(y, member)
    if not isinstance(found, tuple) or len(found) != 2:
        raise _errors.wrong_type("loss", "a function that returns (value, dy)", type(found).__name__)
    dy: Any = found[1]
    if not is_there(dy):
        dy = as_floating("dy", dy, y.dtype)
    if tuple(dy.shape) != y.shape:
        raise _errors.wrong_shape("dy", f"that of y, {y.shape}", tuple(dy.shape))
    return float(found[0]), dy
