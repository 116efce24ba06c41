"""Layers from their configurations."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import fastgate
from fastgate import _errors
from fastgate._frozen import Frozen

Classes = dict[str, Callable[..., Any]]


def from_config(config: Mapping[str, Any], *, custom: Mapping[str, Callable[..., Any]] | None = None) -> Any:
    """Make a layer or model of what its `config` gave, with fresh parameters.

    Parameters
    ----------
    config : dict
        ``{"class": "LSTM", "input_size": 3, "hidden_size": 5}`` and further keywords of the class's constructor, all of
        them values of JSON. What a constructor takes as ``*layers`` is a list under that name, of configurations.
    custom : dict, optional
        The name of each class that is not fastgate's, and the class. Its objects need a method ``config``, which
        returns such a dictionary.

    Returns
    -------
    layer or model

    Raises
    ------
    TypeError, ValueError
        If the configuration is none, names an unknown class, or has an option that the class refuses.

    Examples
    --------
    >>> import fastgate as fg
    >>> fg.from_config({"class": "LSTM", "input_size": 3, "hidden_size": 5})
    LSTM(3, 5)
    """
    return _made(config, _layers() | dict(custom or {}))


def completed(config: Any) -> Any:
    """A configuration that an older release wrote, and what options its layers have had since, by default."""
    if isinstance(config, Mapping):
        known = _layers().get(str(config.get("class")))
        options = inspect.signature(known).parameters.values() if known else ()
        usual = {option.name: option.default for option in options if option.default is not option.empty}
        return usual | {name: completed(value) for name, value in config.items()}
    return [completed(part) for part in config] if isinstance(config, list) else config


def _layers() -> Classes:
    known = {name: value for name, value in vars(fastgate).items() if isinstance(value, type)}
    return {name: value for name, value in known.items() if issubclass(value, Frozen)}


def _made(config: Any, classes: Classes) -> Any:
    if not isinstance(config, Mapping) or not isinstance(config.get("class"), str):
        raise _errors.wrong_type("config", "a dictionary with the name of a 'class'", type(config).__name__)
    name = config["class"]
    if name not in classes:
        raise _errors.unknown_class(name, classes)
    options = {key: _option(value, classes) for key, value in config.items() if key != "class"}
    signature = inspect.signature(classes[name])
    several = [p.name for p in signature.parameters.values() if p.kind is p.VAR_POSITIONAL and p.name in options]
    positional = options.pop(several[0]) if several else []
    if not isinstance(positional, list):
        raise _errors.wrong_type(f"config: {several[0]} of {name}", "a list", type(positional).__name__)
    try:
        signature.bind(*positional, **options)
    except TypeError as error:
        raise _errors.wrong_options(name, error) from None
    return classes[name](*positional, **options)


def _option(value: Any, classes: Classes) -> Any:
    """A layer where there is a configuration, in a list too."""
    if isinstance(value, Mapping) and "class" in value:
        return _made(value, classes)
    return [_option(part, classes) for part in value] if isinstance(value, list) else value
