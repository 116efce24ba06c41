"""The demo's training loop, the same for every model, with its times."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Protocol

import numpy as np

from fastgate._arrays import Array
from fastgate._terminal import Interruption, Progress
from fastgate.demo.model import LEARNING_RATE

Batches = Iterable[tuple[bool, Array, Array]]
AVERAGED = 50  # steps whose mean is called the loss


class Trainable(Protocol):
    def train(self, x: Array, target: Array, state: Any, rate: float) -> tuple[float, Any]: ...


@dataclass
class Run:
    """What happened: of every step the loss in bits, and the seconds until its end."""

    losses: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    characters: int = 0

    @property
    def steps(self) -> int:
        return len(self.losses)

    @property
    def seconds(self) -> float:
        """Spent in training steps alone."""
        return self.ends[-1] if self.ends else 0.0

    @property
    def characters_per_second(self) -> float:
        """At the median time of a step, which a busy moment of the machine does not move."""
        return self.characters / self.steps / float(np.median(np.diff(self.ends, prepend=0.0)))

    def loss(self, steps: int) -> float:
        """After so many steps, the mean of the last ones."""
        return float(np.mean(self.losses[max(0, steps - AVERAGED) : steps]))


Plan = Callable[[Sequence[Run]], float]  # how much of the work is done: from 0 to 1, and over at 1
PATIENCE = 2.5  # times as long as one model alone may all of them take


def by_time(seconds: float) -> Plan:
    """Of the first model; or of all, when the others are much slower."""
    return lambda runs: max(runs[0].seconds, sum(run.seconds for run in runs) / PATIENCE) / seconds


def by_steps(steps: int) -> Plan:
    return lambda runs: runs[0].steps / steps


def falling_rate(done: float) -> float:
    """A straight line, almost to zero."""
    return LEARNING_RATE * max(0.02, 1.0 - done)


def rehearse(model: Trainable, batches: Batches) -> None:
    """Two steps on a model that nobody keeps: whatever is slow the first time is not counted."""
    for (_, x, target), _ in zip(batches, range(2), strict=False):
        model.train(x, target, None, LEARNING_RATE)


def learn(
    models: Sequence[Trainable], batches: Batches, plan: Plan, progress: Progress, ctrl_c: Interruption
) -> list[Run]:
    """Train until the plan is done or Ctrl-C: every model on the same batches at the same rates, in turn, so that what
    else the machine does slows them alike."""
    runs, states = [Run() for _ in models], [None] * len(models)
    for is_start, x, target in batches:
        done = plan(runs)
        if done >= 1.0 or ctrl_c.requested:
            break
        rate = falling_rate(done)
        for i, (model, run) in enumerate(zip(models, runs, strict=True)):
            begin = perf_counter()
            loss, states[i] = model.train(x, target, None if is_start else states[i], rate)
            run.ends.append(run.seconds + perf_counter() - begin)
            run.losses.append(loss)
            run.characters += x.size
        progress.update(plan(runs), runs[0].steps, runs[0].loss(runs[0].steps))
    progress.close()
    return runs
