"""Options that stay what they were: kernels take sizes on trust. And what they were, for a file."""

import copy
import inspect
from typing import Any, ClassVar, Self, cast

import numpy as np

from fastgate import _errors
from fastgate._params import Params


class Frozen:
    """Public attributes of a layer cannot be set again once it calls `_freeze`; others can be added.

    Every option of a constructor is kept as an attribute of the same name.
    """

    _fixed: frozenset[str] = frozenset()
    _not_kept: ClassVar[dict[str, Any]] = {}  # by a configuration: options, and what stands for them

    def _freeze(self) -> None:
        self.__dict__["_fixed"] = frozenset(name for name in self.__dict__ if not name.startswith("_"))

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._fixed:
            raise _errors.fixed_option(type(self).__name__, name, name in inspect.signature(type(self)).parameters)
        super().__setattr__(name, value)

    def __setstate__(self, state: dict[str, Any]) -> None:
        ours = (own for own in type(self).__mro__ if own.__module__.startswith("fastgate.") and issubclass(own, Frozen))
        kind = next(ours)  # a user's subclass need not keep its own options
        names = inspect.signature(kind).parameters if kind.config is Frozen.config else ()
        if missing := [name for name in names if name not in state]:
            raise _errors.foreign_pickle(kind.__name__, missing)
        self.__dict__.update(state)

    def config(self) -> dict[str, Any]:
        """Its class and options, as values of JSON: `from_config` makes an equal layer of it, parameters apart."""
        kind, names = type(self).__name__, inspect.signature(type(self)).parameters
        for name in names:
            if not hasattr(self, name):
                raise _errors.option_not_kept(kind, name)
        return {"class": kind, **{name: as_plain(name, getattr(self, name)) for name in names}, **self._not_kept}

    def replace(self, **options: Any) -> Self:
        """A layer like this one, but for some options, with copies of its parameters; cf. `dataclasses.replace`.

        Parameters
        ----------
        **options
            Of the constructor, by name. All others are what they are here, `seed` too. A model's option is a layer or
            several of them: those that are given are taken as they are, the others are copied.

        Returns
        -------
        layer of the same class
            What was copied shares nothing with this one.

        Raises
        ------
        TypeError, ValueError
            If there is no such option, its value is wrong, or with it a parameter would have another shape.

        Examples
        --------
        >>> import fastgate as fg
        >>> layer = fg.LSTM(3, 5, recurrent_dropout=0.2)
        >>> layer.replace(recurrent_dropout=0.0)
        LSTM(3, 5)
        """
        kind, parameters = type(self), inspect.signature(type(self)).parameters
        for name in options:
            if name not in parameters:
                raise _errors.no_such_option(kind.__name__, name, parameters)
        values = copy.deepcopy({name: getattr(self, name) for name in parameters if name not in options}) | options
        several = [own.name for own in parameters.values() if own.kind is own.VAR_POSITIONAL]
        positional = [part for name in several for part in values.pop(name)]
        made: Any = kind(*positional, **values)
        params = getattr(self, "params", None)
        if isinstance(params, Params):  # those of a model are its layers'
            own, new = params._shapes, made.params._shapes
            if new != own:
                raise _errors.other_shapes(kind.__name__, options, own, new)
            made.params.flat = params.flat
        return cast(Self, made)


def as_plain(name: str, value: Any) -> Any:
    """A value of JSON: for a layer its configuration, and lists of either."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.dtype):
        return value.name
    if isinstance(value, (list, tuple)):
        return [as_plain(name, part) for part in value]
    config = getattr(value, "config", None)
    if not callable(config) or isinstance(value, type):
        raise _errors.no_configuration(name, type(value).__name__)
    return config()
