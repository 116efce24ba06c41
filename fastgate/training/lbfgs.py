"""`fit(optimizer="lbfgs")`: the limited-memory method of Broyden, Fletcher, Goldfarb and Shanno, by scipy.optimize."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np

from fastgate import _errors
from fastgate._arrays import Array
from fastgate._terminal import Interruption, warn
from fastgate.training import errors
from fastgate.training.batches import Source
from fastgate.training.callbacks import Callback, Run
from fastgate.training.evaluation import measure
from fastgate.training.gradient import loss_and_gradient
from fastgate.training.history import History
from fastgate.training.objective import Objective
from fastgate.training.validation import Validation


def minimize(
    run: Run,
    objective: Objective,
    source: Source,
    held_out: Validation | None,
    callbacks: list[Callback],
    refused: dict[str, Any],
) -> History:
    """Train on all data at once, an epoch being one iteration. Dropout draws the same mask at every evaluation."""
    from scipy.optimize import minimize as scipy_minimize

    for name, value in refused.items():
        if value is not None and value is not False:
            raise _errors.wrong_value(name, "nothing beside optimizer='lbfgs'", value)
    model, history = run.model, run.history
    accepted, start = model.params.flat, perf_counter()
    ctrl_c = Interruption()

    def evaluate(vector: Array) -> tuple[float, Array]:
        model.params.flat = vector
        history.steps += 1
        loss, gradient = _loss_and_gradient(model, objective, source, history)
        if ctrl_c.requested:
            raise KeyboardInterrupt
        return loss, gradient

    def after_iteration(intermediate_result: Any) -> None:
        nonlocal accepted, start
        model.params.flat = intermediate_result.x
        accepted, run.loss = model.params.flat, float(intermediate_result.fun)
        row = {"loss": run.loss}
        if objective.metrics:
            row = measure(model, objective, source, ctrl_c=ctrl_c) | row
        if held_out is not None:
            row |= held_out.measure(ctrl_c)
        history.append(row, perf_counter() - start)
        run.epoch, start = run.epoch + 1, perf_counter()
        for callback in callbacks:
            callback.on_epoch_end(run)
        if history.stopped is not None:
            raise StopIteration

    try:
        for callback in callbacks:
            callback.on_train_begin(run)
        with ctrl_c:
            options = {"maxiter": run.epochs, "maxfun": 20 * run.epochs + 20}
            begin = accepted.astype(np.float64)
            if run.epochs:
                found = scipy_minimize(
                    evaluate, begin, jac=True, method="L-BFGS-B", callback=after_iteration, options=options
                )
                if found.success and history.stopped is None and run.epoch < run.epochs:
                    history.stopped = f"converged: {found.message}"
        run.has_ended = True
    except KeyboardInterrupt:
        history.interrupted = True
        warn(errors.interrupted(history.steps, None))
    except errors.NonFiniteError as error:
        error.history = history
        raise
    finally:
        model.params.flat = accepted  # not of a trial step along a line
        for callback in callbacks:
            callback.on_train_end(run)
    return history


def _loss_and_gradient(model: Any, objective: Objective, source: Source, history: History) -> tuple[float, Array]:
    """Of all data, batch by batch."""
    total, weights, gradient = 0.0, 0.0, np.zeros(model.params.flat.size)
    for i, batch in enumerate(source.epoch(0)):
        found = loss_and_gradient(model, objective, batch, i, None, step=history.steps - 1, epoch=history.epochs)
        if found.gradients is not None:
            total, weights = total + found.weight * found.loss, weights + found.weight
            gradient += found.weight * np.asarray(found.gradients.flat, np.float64)
    if not weights:
        raise errors.nothing_counts()
    return total / weights, gradient / weights
