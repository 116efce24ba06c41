"""What looks on while a model is trained, and may interfere."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from fastgate.training.history import History


@dataclass
class Run:
    """A training under way, as callbacks see it.

    Attributes
    ----------
    model, optimizer
        As `fit` was given them.
    history : History
    epochs : int
        How many there shall be.
    epoch : int
        Which epoch is under way, from 0: how many are completed.
    step : int
        How many steps of this epoch are done.
    steps_per_epoch : int or None
        If it is known beforehand.
    loss : float
        Of the last step.
    has_ended : bool
        By itself, or stopped by a callback; neither by Ctrl-C nor by an error.
    """

    model: Any
    optimizer: Any
    history: History = field(default_factory=History)
    epochs: int = 1
    epoch: int = 0
    step: int = 0
    steps_per_epoch: int | None = None
    loss: float = math.nan
    has_ended: bool = False

    def stop(self, reason: str) -> None:
        """End the training after this step."""
        self.history.stopped = reason


class Callback:
    """Base of callbacks: override what you need.

    One that changes the training and keeps something from epoch to epoch gives it in `state` and takes it back in
    `restore`, so that it goes on where a checkpoint was written.
    """

    def on_train_begin(self, run: Run) -> None:
        """Before the first step; after `restore` if the training is resumed."""

    def on_step_end(self, run: Run) -> None:
        """After every step."""

    def on_epoch_end(self, run: Run) -> None:
        """After every epoch, when ``run.history.last()`` is its row."""

    def on_train_end(self, run: Run) -> None:
        """After the last step, however the training ended."""

    def state(self) -> dict[str, Any]:
        """What to write into a checkpoint: arrays, numbers, strings, None; dictionaries, lists and tuples of them.

        Keys are strings. It is called after `on_train_begin` for the first time, and then for every checkpoint.
        """
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
