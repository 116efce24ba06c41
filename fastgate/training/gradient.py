"""From a batch to its loss and the gradient in all parameters, or to the place where a number is not finite."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from fastgate._params import NamedArrays
from fastgate._places import placed
from fastgate.training import errors
from fastgate.training.layout import Batch
from fastgate.training.nonfinite import first_in_backward, first_in_forward, is_finite
from fastgate.training.objective import Objective, Outputs


def there(model: Any, x: Any) -> Any:
    """A batch where the model computes, and where its outputs then stay: it is copied once."""
    return tuple(there(model, part) for part in x) if isinstance(x, tuple) else placed(x, model.device, model.dtype)


class Found(NamedTuple):
    """What a batch comes to."""

    loss: float
    weight: float  # how much the batch counts; 0: nothing in it does, and there is no gradient
    given: Outputs
    gradients: NamedArrays | None
    state: Any  # the final state of the recurrent layers
    batch_loss: float | None  # of the whole batch, of which the rest may tell but a share; None where nothing counts


def loss_and_gradient(
    model: Any, objective: Objective, batch: Batch, key: int, state: Any, *, step: int, epoch: int
) -> Found:
    """Forward and back, from `state` (None: zeros), with the dropout of `key`."""
    if batch.y is None:
        raise errors.no_targets()
    options = {"lengths": batch.lengths, "rng_key": key} | ({} if state is None else {"state": state})
    y, tape = model.forward(there(model, batch.x), **options)
    given = objective.outputs(y, batch, tape.mask)
    weight = given.weight
    if not weight:
        return Found(math.nan, weight, given, None, tape.state, None)
    loss, dy = objective.loss(given)
    objective.doubt(given)
    if not math.isfinite(loss):
        where = first_in_forward(model, objective, batch, given, options)
        raise errors.not_finite(step, epoch, f"the loss is {loss}", where)
    gradients = model.backward(tape, dy).params
    if not is_finite(gradients.flat):
        where = first_in_backward(model, batch, dy, options)
        raise errors.not_finite(step, epoch, f"the loss is {loss:.4g}, but its gradient is not finite", where)
    return Found(loss, weight, given, gradients, tape.state, loss)
