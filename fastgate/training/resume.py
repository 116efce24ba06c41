"""The state of a training under way: what goes into a checkpoint, and how a training goes on from one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from fastgate._from_config import completed
from fastgate._params import on_host
from fastgate.training import checkpoint, errors
from fastgate.training.callbacks import Callback, Run
from fastgate.training.checkpoint import Checkpoints
from fastgate.training.objective import Sums
from fastgate.training.step import Stepper

CHANGING = ("lr", "steps", "kept", "trained")  # attributes of an optimiser that change while it is used
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")  # in what Python prints of functions and objects: another in each process


class Saver:
    """Writes checkpoints of one training and goes on from the last.

    Parameters
    ----------
    checkpoints : Checkpoints
        None in a process that is not the first of its group.
    every : int or None
        After how many steps there is one; None for after each epoch. There is one at the end, too.
    identity : dict
        What must be the same when the training goes on, by name.
    """

    def __init__(
        self,
        checkpoints: Checkpoints | None,
        every: int | None,
        identity: dict[str, Any],
        run: Run,
        stepper: Stepper,
        sums: Sums,
        callbacks: list[Callback],
    ) -> None:
        self._checkpoints, self._every, self._identity = (
            checkpoints,
            every,
            json.loads(json.dumps(identity, default=printed)),
        )
        self._run, self._stepper, self._sums = run, stepper, sums
        self._callbacks = [callback for callback in callbacks if type(callback).state is not Callback.state]
        self._first_lr = _rate_of(run.optimizer)
        self._written: tuple[int, int] | None = None
        self.path: Path | None = None  # of the last one

    def after_step(self) -> None:
        """Write one if it is time."""
        if self._every is not None and self._run.history.steps % self._every == 0:
            self.write()

    def after_epoch(self) -> None:
        """Write one if it is time."""
        if self._every is None:
            self.write()

    def write(self) -> None:
        """Write one, unless there is one of this very moment."""
        run, history, group = self._run, self._run.history, self._stepper.group
        moment = run.epoch, run.step
        if moment == self._written:
            return
        state = {
            "identity": self._identity,
            "position": moment,
            "parameters": on_host(run.model.params),
            "optimizer": run.optimizer.state(),
            "lr": [self._first_lr, _rate_of(run.optimizer)],
            "carried": group.joined(self._stepper.state),
            "sums": group.total(self._sums).state(),
            "history": {name: getattr(history, name) for name in ("columns", "steps", "seconds", "stopped")},
            "callbacks": self._kept_by_callbacks(),
        }
        self.path = group.on_first(lambda: self._folder.write(history.steps, state))
        self._written = moment

    def check(self) -> None:
        """Whether what callbacks keep can be written, before the first step."""
        self._kept_by_callbacks()

    def _kept_by_callbacks(self) -> list[list[Any]]:
        kept = [[type(callback).__name__, callback.state()] for callback in self._callbacks]
        for name, state in kept:
            checkpoint.check(f"{name}.state()", state)
        return kept

    def go_on(self) -> None:
        """From the last checkpoint, if there is one."""
        group = self._stepper.group
        found = group.from_first(lambda: self._folder.newest())
        if found is None:
            return
        self.path, state = found
        self._compare(self.path, state)
        run, history = self._run, self._run.history
        run.epoch, run.step = self._written = state["position"]
        run.model.params.update(state["parameters"])
        run.optimizer.restore(state["optimizer"])
        self._first_lr, lr = state["lr"]
        if not callable(run.optimizer.lr):
            run.optimizer.lr = lr
        self._stepper.state = group.own(state["carried"])
        if group.is_first:  # to which the shares of others are added
            self._sums.restore(state["sums"])
        for name, value in state["history"].items():
            setattr(history, name, value)
        for callback, (_, kept) in zip(self._callbacks, state["callbacks"], strict=True):
            callback.restore(kept)

    @property
    def _folder(self) -> Checkpoints:
        assert self._checkpoints is not None
        return self._checkpoints

    def _compare(self, path: Path, state: dict[str, Any]) -> None:
        """Whether the checkpoint is of this training."""
        then = state["identity"] | {"callbacks": [name for name, _ in state["callbacks"]]}
        then["model"] = _without_idle_seeds(completed(then["model"]))
        now = self._identity | {"callbacks": [type(callback).__name__ for callback in self._callbacks]}
        if then != now:
            raise errors.other_training(path, *difference(then, now))
        # A training that went on in the same process has the rate that it came to.
        if self._first_lr not in state["lr"]:
            raise errors.other_training(path, "learning rate", state["lr"][0], self._first_lr)


def identity_of(model: Any, optimizer: Any) -> dict[str, Any]:
    """What model and optimiser are, but for numbers that change in training."""
    options = {name.lstrip("_"): value for name, value in vars(optimizer).items()}
    kept = {name: printed(value) for name, value in options.items() if name not in CHANGING}
    return {
        "model": _config_of(model),
        "parameters": {name: [*array.shape, array.dtype.name] for name, array in model.params.items()},
        "optimizer": [type(optimizer).__name__, kept],
    }


def _config_of(model: Any) -> Any:
    try:
        return _without_idle_seeds(model.config())
    except (AttributeError, TypeError, ValueError):  # a layer of one's own need not have one
        return printed(model)


def _without_idle_seeds(config: Any) -> Any:
    """Seeds matter to a training that goes on only where they draw dropout."""
    if isinstance(config, dict):
        idle = () if any(map(config.get, ("dropout", "recurrent_dropout", "p"))) else ("seed", "init")
        return {name: _without_idle_seeds(value) for name, value in config.items() if name not in idle}
    if isinstance(config, (list, tuple)):
        return [_without_idle_seeds(part) for part in config]
    return config


def difference(then: Any, now: Any) -> tuple[str, Any, Any]:
    """Where two descriptions differ first, and what they say there."""
    if isinstance(then, dict) and isinstance(now, dict):
        names = [*now, *(name for name in then if name not in now)]
        pairs = ((name, then.get(name), now.get(name)) for name in names)
    elif isinstance(then, list) and isinstance(now, list) and any(isinstance(own, dict | list) for own in then + now):
        if len(then) != len(now):
            return "length", len(then), len(now)
        pairs = ((str(i), *pair) for i, pair in enumerate(zip(then, now, strict=True)))
    else:
        then, now = ("data" if isinstance(value, dict) else value for value in (then, now))
        return "", then, now
    name, *both = next((name, a, b) for name, a, b in pairs if a != b)
    inside, *values = difference(*both)
    return f"{name} {inside}".rstrip(), *values


def _rate_of(optimizer: Any) -> Any:
    return printed(optimizer.lr) if callable(optimizer.lr) else optimizer.lr


def printed(value: Any) -> str:
    """The same in every process."""
    return ADDRESS.sub("", repr(value))
