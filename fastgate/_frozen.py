"""Options that stay what they were: kernels take sizes on trust."""

from typing import Any

from fastgate import _errors


class Frozen:
    """Public attributes of a layer cannot be set again once it calls `_freeze`; others can be added."""

    _fixed: frozenset[str] = frozenset()

    def _freeze(self) -> None:
        self.__dict__["_fixed"] = frozenset(name for name in self.__dict__ if not name.startswith("_"))

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._fixed:
            raise _errors.fixed_option(type(self).__name__, name)
        super().__setattr__(name, value)
