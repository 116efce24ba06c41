"""Synchronous training in several processes by MPI: each computes its rows of every batch, all make the same step.

    from mpi4py import MPI
    history = model.fit(x, y, ..., distributed=MPI.COMM_WORLD)      # mpirun -n 4 python -m mpi4py program.py

**What it comes to.** The same as one process, but for the rounding of sums: the union of the shares is the batch that
one process would take, with its lengths, weights and dropout masks, and the losses of the shares are averaged by what
counts in each. In all processes parameters and history are the same to the last bit. So the number of processes may
change wherever a checkpoint is. A loss of your own must be a mean over the rows, or steps, that count; a layer of
your own may draw random numbers, but those are then its own in each process.

**What every process does.** It calls `fit` with the same arguments, which is checked, and gets the parameters of rank
0. Of arrays (and memory maps) it reads only its rows; that they are the same everywhere is seen by their shapes,
their first and their last sample. An iterable must give the whole batches everywhere, not a part of the data for each
process, which is seen by their shapes and beginnings. Validation data are shared out as batches are. Callbacks run
everywhere, and must decide the same; any of them may stop the training. Rank 0 alone writes checkpoints and shows
progress. Each process uses `get_num_threads` threads: set FASTGATE_NUM_THREADS to the cores of a node by its
processes, unless mpirun binds each to its own. Kernels that are not compiled yet are compiled by all of them at once:
run a step with one process before.

**What goes wrong.** Errors in arguments, and in the forward and backward pass, are raised by all processes; Ctrl-C in
one of them (SIGINT) interrupts all at the same step. Anything else that is raised inside `fit`, in a callback for
example, ends the whole job with a message (MPI_Abort), as nobody could tell the processes that wait. What is raised
outside of `fit`, as by a file that is missing, does so only under ``python -m mpi4py``: without it the others wait
for ever. So they do for a process that ends well before it calls `fit`, or never does, as with ``if rank == 0:
model.fit(...)``: after 10 seconds the first and the last of those that wait say so on stderr, and wait on: press
Ctrl-C. A process that is killed ends the job, too, and so does Ctrl-C for Open MPI's mpirun itself: what remains is
the last checkpoint, so write some by ``every=``.

**One message.** The gradients of the shares are summed up by one Allreduce in every step, with how much each share
counts, its loss and three flags behind them: "I failed", "I was interrupted", "I have no more batches". Epochs and
checkpoints take some small messages more.

**How much faster.** A step of one process takes f + c B for B rows; of P processes f + c B / P + a. Here f is what
all repeat (Python, packing weights, the optimiser), and a is the Allreduce of n bytes: 2 log2(P) messages of latency
and 2 n (P - 1) / P bytes (Thakur, Rabenseifner and Gropp 2005). It pays from B = a / (c (1 - 1/P)) rows on. On two
cores of one machine, 50 steps of time, float32, with one thread each, ms a step:

    ================================  ======  ======  =========  =========  ==========
    model, parameters                 f       c       1 process  2 threads  2 processes
    ================================  ======  ======  =========  =========  ==========
    LSTM(4, 16), 20 steps, 1.4e3                      B=16 0.38       0.39        0.44
    LSTM(8, 32), 5.4e3                0.26    0.028   B=32 1.17       1.17        0.80
    ..                                                B=128 3.9       3.2         2.2
    LSTM(64, 256, 2), 8.6e5           3       2.7     B=32 90         53          48
    ..                                                B=128 350       177         178
    ================================  ======  ======  =========  =========  ==========

f and c are of the lines of 1 process. Inside this machine the Allreduce takes 1 us for a few numbers, 8 us for the
second model (22 kB), and 0.3 ms for the third (3.4 MB). Between machines nothing was measured. With 2 us and 20 GB/s,
of the 25 that InfiniBand of 200 Gbit/s has by its name, or 30 us and 1.2 GB/s for TCP and Ethernet of 10 Gbit/s,
which are assumed (osu_allreduce tells yours), 8 processes would take 14 or 210 us for the second model, and 0.3 or
5.2 ms for the third: it pays from 1 or 9 rows on, and from 1 or 3. With B = 128 and one thread each, the step of the
third would be 7.5 or 6.8 times as fast; what is left is f, so use larger batches.
"""

from __future__ import annotations

import json
import math
import sys
import traceback
import zlib
from collections.abc import Callable
from time import monotonic, sleep
from types import TracebackType
from typing import Any, NoReturn

import numpy as np
from mpi4py import MPI

from fastgate import _errors
from fastgate._kernels import cpu
from fastgate._terminal import Interruption, warn
from fastgate.training import errors
from fastgate.training.batches import Source
from fastgate.training.callbacks import Callback, Run
from fastgate.training.gradient import Found
from fastgate.training.group import Group, Value
from fastgate.training.layout import Batch
from fastgate.training.objective import Sums
from fastgate.training.progress import Progress
from fastgate.training.resume import difference, printed
from fastgate.training.share import Shared, joined, share_of

PATIENCE = 10.0  # seconds
WEIGHT, LOSS, FAILED, INTERRUPTED, ENDED = range(-5, 0)  # behind the gradients, in the dtype of the model


class Ranks(Group):
    """The processes of a communicator."""

    def __init__(self, comm: MPI.Intracomm) -> None:
        self.comm, self.rank, self.size = comm, comm.rank, comm.size
        self.is_first = comm.rank == 0
        self._has_begun = False
        self._known: BaseException | None = None  # an error that all processes raise by themselves
        self._shared: list[Shared] = []
        self._has_stepped = False
        self._ctrl_c = Agreed()
        # What is sent is a gradient times the weight of its share, divided by this: about the weight of the last batch,
        # so that nothing overflows; a power of two, so that nothing is rounded by it.
        self._weight = 1.0

    # --------------------------------------------------------------------------------------------- beginning and end

    def begin(self, run: Run, identity: Callable[[], dict[str, Any]], callbacks: list[Callback]) -> None:
        if run.model.device != "cpu":
            raise _errors.not_on_device("distributed", run.model.device)
        shown = [type(callback).__name__ for callback in callbacks if not isinstance(callback, Progress)]
        steps = getattr(run.optimizer, "steps", None)
        mine = identity() | {"epochs": run.epochs, "callbacks": shown, "steps of the optimizer": steps}
        text = json.dumps(mine, default=printed)
        self._model = run.model
        self._settle(None, text)
        flat = self.comm.bcast(self._model.params.flat if self.is_first else None)
        if not self.is_first:
            self._model.params.flat = flat
        self._buffer = np.zeros(self._model.params.flat.size - WEIGHT, self._model.dtype)
        self._watches_steps = any(
            type(callback).on_step_end not in (Callback.on_step_end, Progress.on_step_end) for callback in callbacks
        )

    def _settle(self, error: BaseException | None, identity: str = "null") -> None:
        """Every process has come to the end of its preparations, in one way or the other."""
        self._has_begun = True
        self._wait()
        told = self.comm.allgather((None if error is None else _described(error), identity))
        if error is not None:
            return
        for rank, (failure, _) in enumerate(told):
            if failure is not None:
                self._raise(errors.other_rank(rank, failure))
        first = json.loads(told[0][1])
        for rank, (_, own) in enumerate(told):
            if (other := json.loads(own)) != first:
                self._raise(errors.other_arguments(rank, *difference(first, other)))

    def _wait(self) -> None:
        """For all to come here. Who has waited long says so: some may never come."""
        barrier, end = self.comm.Ibarrier(), monotonic() + PATIENCE
        is_silent = self.rank not in (0, self.size - 1)  # or they would be too many
        while not barrier.Test():
            sleep(0.001)
            if not is_silent and monotonic() > end:
                is_silent = True
                warn(errors.rank_waits(self.rank, self.size))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or error is self._known or isinstance(error, errors.NonFiniteError):
            return
        if not self._has_begun:
            self._settle(error)
            return
        # The others wait for this process, and MPI has no way to tell them but to end them.
        sys.stdout.flush()
        traceback.print_exception(error)
        warn(errors.rank_failed(self.rank, self.size, _described(error)))
        self.comm.Abort(1)

    def _raise(self, error: BaseException) -> NoReturn:
        """What every process raises."""
        self._known = error
        raise error

    # ---------------------------------------------------------------------------------------------------------- steps

    def share(self, source: Source, *, time_first: bool) -> Source:
        self._shared.append(Shared(source, self.rank, self.size, time_first=time_first))
        return self._shared[-1]

    def interruption(self) -> Interruption:
        return self._ctrl_c

    def step(self, compute: Callable[[], Found], batch: Batch) -> Found:
        if not self._has_stepped:  # later it is looked at once in an epoch
            self._has_stepped = True
            self._together(None)
        failure: Exception | None = None
        own: Found | None = None
        buffer = self._buffer
        assert batch.part is not None
        try:
            with cpu.part_of_batch(cpu.Part(*batch.part, time_first=not self._model.batch_first)):
                own = compute()
        except Exception as error:
            failure = error
        if own is None or own.gradients is None:
            buffer[:] = 0
        else:
            share = own.weight / self._weight
            np.multiply(own.gradients.flat, share, out=buffer[:WEIGHT])
            with np.errstate(over="ignore"):  # a float64 that is too large for the model's dtype
                buffer[WEIGHT:] = share, own.loss * share, 0, 0, 0
        buffer[FAILED], buffer[INTERRUPTED] = failure is not None, self._ctrl_c.pressed
        self.comm.Allreduce(MPI.IN_PLACE, buffer)
        if buffer[FAILED]:
            self._fail(failure)
        if buffer[ENDED]:
            self._raise(errors.other_batches())
        assert own is not None
        self._ctrl_c.requested = bool(buffer[INTERRUPTED])
        share = float(buffer[WEIGHT])
        if not share:
            return own._replace(gradients=None, batch_loss=None)
        gradients = self._model.params._new_gradients() if own.gradients is None else own.gradients
        np.multiply(buffer[:WEIGHT], 1 / share, out=gradients.flat)
        self._weight = 2.0 ** math.frexp(share * self._weight)[1]
        return own._replace(gradients=gradients, batch_loss=float(buffer[LOSS]) / share)

    def end_epoch(self) -> None:
        self._buffer[:] = 0
        self._buffer[ENDED] = 1
        self.comm.Allreduce(MPI.IN_PLACE, self._buffer)
        if self._buffer[FAILED]:
            self._fail(None)
        if self._buffer[ENDED] != self.size:
            self._raise(errors.other_batches())

    def _fail(self, failure: Exception | None) -> NoReturn:
        """All processes learn what went wrong in some, and raise."""
        told = self.comm.allgather(
            None if failure is None else (_described(failure), isinstance(failure, errors.NonFiniteError))
        )
        if failure is not None:
            self._raise(failure)
        rank, (text, is_non_finite) = next((rank, each) for rank, each in enumerate(told) if each is not None)
        self._raise(errors.NonFiniteError(f"rank {rank}: {text}") if is_non_finite else errors.other_rank(rank, text))

    # ------------------------------------------------------------------------------------------- what is done together

    def total(self, sums: Sums) -> Sums:
        return sums.together(self._together(sums.content()))

    def _together(self, content: Any) -> list[Any]:
        """What every process has, if all had the same batches until now."""
        told = self.comm.allgather((content, [own.seen for own in self._shared]))
        if any(seen != told[0][1] for _, seen in told):
            self._raise(errors.other_batches())
        return [own for own, _ in told]

    def agree(self, run: Run, *, after_epoch: bool) -> None:
        if not after_epoch and not self._watches_steps:
            return
        checksum = zlib.crc32(self._model.params.flat.tobytes()) if after_epoch else 0
        told = self.comm.allgather((run.history.stopped, checksum))
        if len({own for _, own in told}) > 1:
            self._raise(errors.other_parameters())
        run.history.stopped = next((reason for reason, _ in told if reason is not None), None)

    def check_interrupted(self) -> None:
        if not self._ctrl_c.requested:
            raise

    def on_first(self, function: Callable[[], Value]) -> Value | None:
        value, failure = None, None
        if self.is_first:
            try:
                value = function()
            except Exception as error:
                failure = error
        told = self.comm.bcast(None if failure is None else _described(failure))
        if told is not None:
            self._raise(errors.other_rank(0, told) if failure is None else failure)
        return value

    def from_first(self, function: Callable[[], Value]) -> Value:
        value = self.on_first(function)
        return self.comm.bcast(value)  # type: ignore[no-any-return]

    def joined(self, state: Any) -> Any:
        return joined(self.comm.allgather(state))

    def own(self, state: Any) -> Any:
        if isinstance(state, (tuple, list)):
            return type(state)(map(self.own, state))
        return None if state is None else state[:, share_of(slice(0, state.shape[1]), self.rank, self.size)]


class Agreed(Interruption):
    """Ctrl-C in one process is for all: `requested` once all know of it, at the same step."""

    pressed = False

    def _request(self, number: int, frame: Any) -> None:
        super()._request(number, frame)
        self.requested, self.pressed = False, True


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
