"""One step of training: a batch in, new parameters out; or an error that leaves the parameters as they were."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from fastgate._arrays import Array, as_limit
from fastgate.clipping import clip_gradient_norm, clip_gradient_value
from fastgate.training import errors
from fastgate.training.gradient import Found, loss_and_gradient
from fastgate.training.group import Group
from fastgate.training.layout import Batch
from fastgate.training.nonfinite import is_finite
from fastgate.training.objective import Objective


class Stepper:
    """A model with what trains it; `state` is carried from batch to batch if `carries`."""

    def __init__(
        self,
        model: Any,
        objective: Objective,
        optimizer: Any,
        group: Group,
        *,
        clip_norm: float | None,
        clip_value: float | None,
        carries: bool,
    ) -> None:
        self.model, self.objective, self.optimizer, self.carries = model, objective, optimizer, carries
        self.group = group
        self.clip_norm = None if clip_norm is None else as_limit("clip_norm", clip_norm)
        self.clip_value = None if clip_value is None else as_limit("clip_value", clip_value)
        self.state: Any = None
        self.before: list[Array] | None = None  # the parameters, while they are being written

    def step(self, batch: Batch, number: int, epoch: int) -> Found:
        """Learn from one batch; `number` counts the steps of all epochs.

        The key of dropout is the number of steps that the optimiser has done, in trainings before this one too.
        """
        key = getattr(self.optimizer, "steps", number)
        state = self.state if self.carries and batch.carries else None
        own = partial(loss_and_gradient, self.model, self.objective, batch, key, state, step=number, epoch=epoch)
        found = self.group.step(own, batch)
        if found.gradients is not None:
            parts = self.model.params.split(found.gradients)
            if self.clip_value is not None:
                clip_gradient_value(parts, self.clip_value)
            if self.clip_norm is not None:
                clip_gradient_norm(parts, self.clip_norm)
            self._update(parts, number, epoch)
        self.state = found.state if self.carries else None
        return found

    def _update(self, gradients: list[Any], number: int, epoch: int) -> None:
        owners = self.model.params.layers
        self.before = [own.flat for own in owners]
        with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is looked at
            self.optimizer.step(owners, gradients)
        bad = [i for i, own in enumerate(owners) if not is_finite(own.flat)]
        if bad:
            self.go_back()
            path, _ = self.model.params._owners[bad[0]]
            where = f"the parameters of layer {path}"
            raise errors.not_finite(number, epoch, "the optimiser's update is not finite", where)
        self.before = None

    def go_back(self) -> None:
        """Undo an update that did not come to its end."""
        if self.before is not None:
            for own, flat in zip(self.model.params.layers, self.before, strict=True):
                own.flat = flat
            self.before = None
