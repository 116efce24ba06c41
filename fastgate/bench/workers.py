"""Every library in a process of its own: its number of threads is right from the start, and its idle threads, which may
go on spinning for a while, can be waited for."""

import multiprocessing
import signal
from contextlib import suppress
from time import perf_counter, process_time, sleep
from typing import Any, Self

from fastgate._terminal import UserError
from fastgate.bench import peers, roof
from fastgate.bench.peers import Run

BLOCK = 0.01  # seconds of work between two looks at the clock, or one call
PAUSE, LONGEST_PAUSE = 0.002, 0.5  # seconds


class Cannot(Exception):
    """Why a library does not do something."""


class Worker:
    """The other process, seen from here."""

    def __init__(self, library: str, threads: int) -> None:
        self.library = library
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, library, threads), daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, question: str, *arguments: Any) -> Any:
        """Raises `Cannot` with the library's reason."""
        try:
            self._pipe.send((question, arguments))
            problem, answer = self._pipe.recv()
        except (EOFError, OSError):
            raise UserError(f"the process that runs {self.library} has ended; too little memory?") from None
        if problem is not None:
            raise Cannot(problem)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._pipe.close()
        self._process.terminate()
        self._process.join()


def _serve(pipe: Any, library: str, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the other process's to answer
    service = _Service(library, threads)
    with suppress(EOFError, OSError):
        while True:
            question, arguments = pipe.recv()
            reply: tuple[str | None, Any]
            try:
                reply = None, getattr(service, question)(*arguments)
            except Exception as error:  # whatever a library raises is its reason
                reply = str(error) if isinstance(error, NotImplementedError) else f"{library}: {error!r}", None
            pipe.send(reply)


class _Service:
    """What a worker can be asked."""

    def __init__(self, library: str, threads: int) -> None:
        self.library, self.threads = library, threads
        self.run: Run = _nothing
        self.calls = 1

    def start(self) -> str:
        """Load the library; its version."""
        module = peers.peer(self.library)
        module.configure(self.threads)
        return str(peers.load(self.library).__version__)

    def prepare(self, work: str, cell: str, shape: str, dtype: str) -> float:
        """Make ready, compile and warm up; about how many seconds a call takes."""
        self.run = _nothing  # what was prepared before makes room
        self.run = peers.build(work, self.library, cell, shape, dtype, self.threads)
        begin = perf_counter()
        self.run()
        seconds = perf_counter() - begin
        self.calls = max(1, int(BLOCK / seconds))
        return self.time() if self.calls > 1 else seconds

    def time(self) -> float:
        """Seconds of a call: the mean of a block, after half of one that is not counted, for caches and clock rate."""
        for _ in range(max(1, self.calls // 2)):
            self.run()
        begin = perf_counter()
        for _ in range(self.calls):
            self.run()
        seconds = (perf_counter() - begin) / self.calls
        self.calls = max(1, int(BLOCK / seconds))
        _wait_for_silence()
        return seconds

    def peak(self, dtype: str) -> float:
        return roof.peak(dtype, self.threads)

    def bandwidths(self) -> dict[str, float]:
        return roof.bandwidths(self.threads)


def _nothing() -> None:
    """Before anything is prepared."""


def _wait_for_silence() -> None:
    """Until no thread of this process computes any more: the next library's turn must not be disturbed."""
    begin = perf_counter()
    while perf_counter() - begin < LONGEST_PAUSE:
        busy = process_time()
        sleep(PAUSE)
        if process_time() - busy < PAUSE / 10:
            return
