"""Paired times: in every round each library takes one block, so that whatever slows the machine slows them all."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import NamedTuple

import numpy as np

from fastgate._terminal import UserError
from fastgate.bench.shapes import Shape
from fastgate.bench.workers import Cannot, Worker

OURS = "fastgate"
FEWEST, MOST = 5, 200  # rounds


class Task(NamedTuple):
    """What a table is about."""

    cell: str
    work: str
    dtype: str
    threads: int

    def __str__(self) -> str:
        threads = f"{self.threads} thread" + "s" * (self.threads > 1)
        return f"{self.cell}, {self.work.replace('_', ' ')}, {self.dtype}, {threads}"


class Spread(NamedTuple):
    """Of paired or single figures: the median, and where 80 % of them lie."""

    median: float
    p10: float
    p90: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        low, middle, high = np.percentile(values, (10, 50, 90))
        return cls(float(middle), float(low), float(high))


@dataclass
class Row:
    """One shape: the seconds of a call in every round, by library; why others are missing; the machine's peak."""

    task: Task
    shape: Shape
    seconds: dict[str, list[float]]
    missing: dict[str, str] = field(default_factory=dict)
    peak: float = 0.0  # floating-point operations per second, with the task's dtype and threads

    def time(self, library: str) -> Spread:
        return Spread.of(self.seconds[library])

    @property
    def best_peer(self) -> str | None:
        """That of the smallest median."""
        peers = [library for library in self.seconds if library != OURS]
        return min(peers, key=lambda library: self.time(library).median, default=None)

    @property
    def ratio(self) -> Spread | None:
        """The best peer's time over ours, round by round."""
        if self.best_peer is None or OURS not in self.seconds:
            return None
        pairs = zip(self.seconds[self.best_peer], self.seconds[OURS], strict=True)
        return Spread.of([theirs / ours for theirs, ours in pairs])

    @property
    def operations(self) -> float:
        """Of one call, a multiply-add counting two."""
        return 2.0 * self.shape.multiply_adds(self.task.cell, self.task.work)

    @property
    def rate(self) -> float:
        """Our floating-point operations per second; NaN where fastgate is not measured."""
        return self.operations / self.time(OURS).median if OURS in self.seconds else float("nan")

    @property
    def intensity(self) -> float:
        """Operations for every byte that must be moved."""
        moved = self.shape.numbers_moved(self.task.cell, self.task.work) * np.dtype(self.task.dtype).itemsize
        return self.operations / moved


def geometric_mean(rows: Iterable[Row]) -> float | None:
    """Of the ratios."""
    ratios = [row.ratio.median for row in rows if row.ratio is not None]
    return float(np.exp(np.mean(np.log(ratios)))) if ratios else None


@contextmanager
def team(libraries: Iterable[str], threads: int) -> Iterator[tuple[dict[str, Worker], dict[str, str], dict[str, str]]]:
    """The workers that could start, their versions, and why others could not."""
    with ExitStack() as stack:
        workers = {library: stack.enter_context(Worker(library, threads)) for library in libraries}
        versions, missing = {}, {}
        for library, worker in workers.items():
            try:
                versions[library] = worker.ask("start")
            except Cannot as reason:
                missing[library] = str(reason)
        yield {library: workers[library] for library in versions}, versions, missing


def measure(task: Task, shape: Shape, workers: dict[str, Worker], seconds: float) -> Row:
    """Rounds for about `seconds`; some rounds however long they take."""
    row = Row(task, shape, {})
    for library, worker in workers.items():
        sizes = f"{shape.B},{shape.I},{shape.H}" if task.work == "step" else str(shape)
        try:
            worker.ask("prepare", task.work, task.cell, sizes, task.dtype)
            row.seconds[library] = []
        except Cannot as reason:
            row.missing[library] = str(reason)
    if OURS in row.missing:
        raise UserError(row.missing[OURS])
    if OURS in workers:
        row.peak = workers[OURS].ask("peak", task.dtype)
    begin, rounds = perf_counter(), 0
    while row.seconds and rounds < MOST and (rounds < FEWEST or perf_counter() - begin < seconds):
        in_turn = list(row.seconds) if rounds % 2 else list(row.seconds)[::-1]
        for library in in_turn:
            row.seconds[library].append(workers[library].ask("time"))
        rounds += 1
    return row
