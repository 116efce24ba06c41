"""What a training says when it cannot go on, beside the sentences about wrong arguments."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class NonFiniteError(FloatingPointError):
    """Raised by `fit` where a loss, a gradient or an update is not finite; the parameters are those before that step.

    The message counts steps and epochs from 0. After an update that is not finite, the optimiser keeps what it has
    noted of that step: go on from a checkpoint, or with a new one.

    Attributes
    ----------
    history : History
        Of the training until then.
    """

    history: Any = None


def no_such_column(name: object, names: Iterable[str]) -> KeyError:
    return KeyError(f"history: no column {name!r}; there are {', '.join(names) or 'none yet'}")


def no_batches(epoch: int) -> ValueError:
    return ValueError(
        f"x: expected batches, got none in epoch {epoch}; an iterator gives its batches once: pass a callable(epoch)"
        " that returns an iterable"
    )


def no_targets() -> ValueError:
    return ValueError("y: expected targets, beside x or in each batch (x, y), got None")


def nothing_counts() -> ValueError:
    return ValueError("weights: expected a step that counts, got none in the whole epoch")


def not_finite(step: int, epoch: int, what: str, where: str) -> NonFiniteError:
    return NonFiniteError(
        f"step {step} (epoch {epoch}): {what}; what is not finite first: {where}."
        " The parameters are those before this step"
    )


def folder_in_use(folder: object) -> RuntimeError:
    return RuntimeError(f"checkpoint: another training writes into {str(folder)!r} now")


def holds_checkpoints(folder: object) -> ValueError:
    return ValueError(
        f"checkpoint: {str(folder)!r} holds checkpoints already; pass resume=True to go on with that training, or"
        " another folder"
    )


def other_training(path: object, name: str, then: object, now: object) -> ValueError:
    return ValueError(f"resume: {str(path)!r} is of a training with {name} {then!r}, this one has {now!r}")
