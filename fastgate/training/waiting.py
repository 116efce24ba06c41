"""Callbacks that wait for a quantity to improve: early stopping, and a smaller learning rate."""

from __future__ import annotations

import math
from typing import Any

from fastgate import _errors
from fastgate._arrays import Array, as_choice, as_flag, as_number, as_positive, as_size
from fastgate.training.callbacks import Callback, Run
from fastgate.training.history import VALIDATION

LARGER_IS_BETTER = ("accuracy", "r2")


class _Watching(Callback):
    """Compares a column of the history with its best value yet."""

    def __init__(self, monitor: str | None, mode: str | None, min_delta: float) -> None:
        self.monitor = monitor
        self.mode = None if mode is None else as_choice("mode", mode, ("min", "max"))
        self.min_delta = as_number("min_delta", min_delta)
        self.best: float | None = None
        self.best_epoch: int | None = None
        self.waited = 0

    def on_train_begin(self, run: Run) -> None:
        """Check that there is what is watched; forget the training before."""
        if self.monitor is not None and self.monitor not in run.history:
            expected = f"a column of the history: {', '.join(run.history)}, or one that a callback begins before"
            raise _errors.wrong_value("monitor", expected, self.monitor)
        if run.epoch == 0:
            self.best, self.best_epoch, self.waited = None, None, 0

    def is_best(self, run: Run) -> bool:
        """Whether the epoch that has ended is better than all before; counts those that are not."""
        name = self.monitor or (VALIDATION + "loss" if VALIDATION + "loss" in run.history else "loss")
        value = run.history[name][-1]
        largest = self.mode == "max" or (self.mode is None and name.removeprefix(VALIDATION) in LARGER_IS_BETTER)
        if self.best is None:
            is_better = not math.isnan(value)
        else:
            is_better = value > self.best + self.min_delta if largest else value < self.best - self.min_delta
        if is_better:
            self.best, self.best_epoch, self.waited = value, run.epoch - 1, 0
        else:
            self.waited += 1
        return is_better

    def state(self) -> dict[str, Any]:
        """The best value and its epoch, and for how long there was no better one."""
        return {"best": self.best, "best_epoch": self.best_epoch, "waited": self.waited}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        self.best, self.best_epoch, self.waited = state["best"], state["best_epoch"], state["waited"]


class EarlyStopping(_Watching):
    """Stop when a quantity has not improved for some epochs, and go back to the parameters that were best.

    Parameters
    ----------
    patience : int
        How many epochs without improvement are borne.
    monitor : str, optional
        A column of the history; ``val_loss`` if there is one, else ``loss``. One of a callback's own must be there
        from its ``on_train_begin`` on, and the callback stand before this one.
    mode : "min" or "max", optional
        What is better; "max" for accuracy and r2, else "min".
    min_delta : float
        An improvement is larger than this.
    restore_best : bool
        Whether the model has its best parameters when the training has ended; after Ctrl-C it keeps its last.

    Raises
    ------
    TypeError, ValueError
        If an option has a wrong type or value.
    """

    def __init__(
        self,
        patience: int = 5,
        *,
        monitor: str | None = None,
        mode: str | None = None,
        min_delta: float = 0.0,
        restore_best: bool = True,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience = as_size("patience", patience)
        self.restore_best = as_flag("restore_best", restore_best)
        self._parameters: Array | None = None

    def on_train_begin(self, run: Run) -> None:
        """Forget the training before."""
        super().on_train_begin(run)
        if run.epoch == 0:
            self._parameters = None

    def on_epoch_end(self, run: Run) -> None:
        """Keep the parameters of the best epoch, and stop after too many that are not."""
        if self.is_best(run):
            self._parameters = run.model.params.flat if self.restore_best else None
        elif self.waited >= self.patience:
            run.stop(f"no improvement for {self.waited} epochs")

    def on_train_end(self, run: Run) -> None:
        """Go back to the best parameters."""
        run.history.best_epoch = self.best_epoch
        if self._parameters is not None and run.has_ended:
            run.model.params.flat = self._parameters

    def state(self) -> dict[str, Any]:
        """The best value, its epoch and its parameters, and for how long there was no better one."""
        return super().state() | ({} if self._parameters is None else {"parameters": self._parameters})

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        super().restore(state)
        self._parameters = state.get("parameters")


class ReduceOnPlateau(_Watching):
    """Make the learning rate smaller when a quantity has not improved for some epochs.

    Parameters
    ----------
    factor : float
        By which it is multiplied, between 0 and 1.
    patience : int
        How many epochs without improvement are borne before each reduction.
    monitor, mode, min_delta
        As of `EarlyStopping`.
    min_lr : float
        It never becomes smaller than this.

    Raises
    ------
    TypeError, ValueError
        If an option has a wrong type or value, or, in `fit`, the optimiser's rate is a schedule.
    """

    def __init__(
        self,
        factor: float = 0.5,
        patience: int = 3,
        *,
        monitor: str | None = None,
        mode: str | None = None,
        min_delta: float = 0.0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.factor, self.patience = as_positive("factor", factor), as_size("patience", patience)
        self.min_lr = as_number("min_lr", min_lr)
        if self.factor >= 1.0:
            raise _errors.wrong_value("factor", "a number between 0 and 1", factor)

    def on_train_begin(self, run: Run) -> None:
        """Check that there is a rate to reduce."""
        super().on_train_begin(run)
        lr = getattr(run.optimizer, "lr", None)  # "lbfgs" has none
        if lr is None or callable(lr):
            got = "a schedule" if lr else f"none, of {run.optimizer!r}"
            raise _errors.wrong_type("optimizer.lr", "a number beside ReduceOnPlateau", got)

    def on_epoch_end(self, run: Run) -> None:
        """Reduce the rate after too many epochs without improvement."""
        if not self.is_best(run) and self.waited >= self.patience:
            lr = run.optimizer.lr
            run.optimizer.lr = min(lr, max(lr * self.factor, self.min_lr))
            self.waited = 0
