"""What a training asks of the processes that take part in it; here there is but one, and nothing to be done."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

from fastgate import _errors
from fastgate._terminal import Interruption
from fastgate.training.batches import Source
from fastgate.training.callbacks import Callback, Run
from fastgate.training.gradient import Found
from fastgate.training.layout import Batch
from fastgate.training.objective import Sums

Value = TypeVar("Value")


class Group:
    """The processes of one training. All of them call the same methods in the same order.

    Used as a ``with`` around the whole training: what is raised inside ends all of it.
    """

    is_first = True  # the one that writes and shows

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def begin(self, run: Run, identity: Callable[[], dict[str, Any]], callbacks: list[Callback]) -> None:
        """All is read and checked: go on if it is so everywhere, with the same arguments."""

    def share(self, source: Source, *, time_first: bool) -> Source:
        """What this process computes of each batch."""
        return source

    def interruption(self) -> Interruption:
        """What knows of Ctrl-C."""
        return Interruption()

    def step(self, compute: Callable[[], Found], batch: Batch) -> Found:
        """From what this process found of its share to what the whole batch comes to."""
        return compute()

    def end_epoch(self) -> None:
        """There are no more batches."""

    def total(self, sums: Sums) -> Sums:
        """The sums of all processes."""
        return sums

    def agree(self, run: Run, *, after_epoch: bool) -> None:
        """Stop if any process wants to."""

    def check_interrupted(self) -> None:
        """After a KeyboardInterrupt: raise it again unless all processes have it at the same step."""

    def on_first(self, function: Callable[[], Value]) -> Value | None:
        """What a function returns in the first process, None in others; an error in all of them."""
        return function()

    def from_first(self, function: Callable[[], Value]) -> Value:
        """The same, but what it returns in all processes."""
        return function()

    def joined(self, state: Any) -> Any:
        """The states of all rows of a batch, from those of each share."""
        return state

    def own(self, state: Any) -> Any:
        """The states of the rows of this process, from those of all."""
        return state


def group_of(distributed: Any) -> Group:
    """Of what `fit` was given: None, True or a communicator."""
    if distributed is None or distributed is False:
        return Group()
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise _errors.missing_extra("mpi4py", "mpi", "for fit(distributed=...)") from error
    except RuntimeError as error:  # it is there, and finds no MPI
        raise _errors.no_mpi(error) from error
    comm = MPI.COMM_WORLD if distributed is True else distributed
    if not isinstance(comm, MPI.Intracomm) or comm == MPI.COMM_NULL:
        got = "MPI.COMM_NULL" if isinstance(comm, MPI.Comm) and comm == MPI.COMM_NULL else repr(distributed)
        raise _errors.wrong_type("distributed", "True or a communicator, as mpi4py.MPI.COMM_WORLD", got)
    if comm.size == 1:
        return Group()
    from fastgate.training.ranks import Ranks

    return Ranks(comm)
