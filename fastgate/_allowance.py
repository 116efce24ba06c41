"""How many parameters the layers that a file describes may have: checked before memory is asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from fastgate import _errors

# A description that errs by little is made all the same, and then told which tensor is wrong.
SPARE_TENSORS, SPARE_ENTRIES = 2**8, 2**16


@dataclass
class Allowance:
    """What the file's tensors leave for layers still to be made."""

    tensors: int
    entries: int


_current: ContextVar[Allowance | None] = ContextVar("allowance", default=None)


@contextmanager
def allowance(tensors: int, entries: int) -> Iterator[None]:
    """Inside, parameters beyond these are a ValueError: of this thread, and of this use."""
    token = _current.set(Allowance(tensors + SPARE_TENSORS, entries + SPARE_ENTRIES))
    try:
        yield
    finally:
        _current.reset(token)


def check_tensors(tensors: int) -> None:
    """Raise if so many are more than are left: before their names are even made."""
    left = _current.get()
    if left is not None and tensors > left.tensors:
        raise _errors.beyond_the_file()


def claim(tensors: int, entries: int) -> None:
    """Take them from what is left, or raise."""
    left = _current.get()
    if left is None:
        return
    if tensors > left.tensors or entries > left.entries:
        raise _errors.beyond_the_file()
    left.tensors -= tensors
    left.entries -= entries
