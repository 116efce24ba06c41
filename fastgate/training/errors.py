"""What a training says when it cannot go on, beside the sentences about wrong arguments."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
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


def interrupted(step: int, path: Path | None) -> str:
    rest = "the history so far is returned"
    if path is not None:
        rest = f"checkpoint {path.name} is written; resume=True goes on from it"
    return f"fit: interrupted after step {step}; {rest}"


def no_such_column(name: object, names: Iterable[str]) -> KeyError:
    return KeyError(f"history: no column {name!r}; there are {', '.join(names) or 'none yet'}")


def no_batches(epoch: int) -> ValueError:
    return ValueError(
        f"x: expected batches, got none in epoch {epoch}; an iterator gives its batches once: pass a callable(epoch)"
        " that returns an iterable"
    )


def no_epoch(batches: object) -> TypeError:
    name = getattr(batches, "__name__", type(batches).__name__)
    return TypeError(f"x: expected a callable(epoch), which takes the epoch's number, got {name}, which does not")


def no_targets() -> ValueError:
    return ValueError("y: expected targets, beside x or in each batch (x, y), got None")


def one_for_all_steps(steps: int) -> str:
    return (
        "y has one target for each sequence, the model an output for each step: the loss compares it with all"
        f" {steps}; put fastgate.FinalState() after the recurrent layer if you want one output for each sequence, or"
        " give a target for each step"
    )


def lost_steps(place: str, shape: tuple[int, ...]) -> ValueError:
    return ValueError(
        f"y: expected three axes or more, an output per step, from {place}, got {shape}; keep a last axis of 1, or let"
        " its forward take lengths if it ends time"
    )


def takes_no_mask(argument: str, name: str, place: str | None) -> TypeError:
    return TypeError(
        f"{argument}: expected a function that takes mask=, booleans (B, T), as {place} makes one that says which steps"
        f" count; got {name}, which takes none"
    )


def unmeasured() -> ValueError:
    return ValueError("metrics: functions of your own are measured on validation data only; pass validation=")


def nothing_counts() -> ValueError:
    return ValueError("weights: expected a step that counts, also by lengths and masks, got none in the whole epoch")


def not_finite(step: int, epoch: int, what: str, where: str) -> NonFiniteError:
    return NonFiniteError(
        f"step {step} (epoch {epoch}): {what}; what is not finite first: {where}."
        " The parameters are those before this step"
    )


def other_rank(rank: int, failure: str) -> RuntimeError:
    return RuntimeError(f"distributed: rank {rank} has failed: {failure}")


def other_arguments(rank: int, name: str, first: object, other: object) -> ValueError:
    return ValueError(
        f"distributed: rank {rank} has {name} {other!r}, rank 0 has {first!r}; call fit with the same model, data and"
        " arguments in all processes"
    )


def other_parameters() -> RuntimeError:
    return RuntimeError(
        "distributed: the parameters are not the same in all processes any more; a callback that changes the model or"
        " the optimiser must do so in all of them"
    )


def other_batches() -> ValueError:
    return ValueError(
        "distributed: x, or validation, gives other batches in one process than in another, or more; it must give the"
        " same whole batches in all of them, of which each process takes its rows"
    )


def rank_failed(rank: int, size: int, failure: str) -> str:
    return f"fit: rank {rank} of {size} has failed, and ends all of them: {failure}"


def rank_waits(rank: int, size: int) -> str:
    return f"fastgate: process {rank} of {size} waits for the others to call fit"


def folder_in_use(folder: object) -> RuntimeError:
    return RuntimeError(f"checkpoint: another training writes into {str(folder)!r} now")


def checkpoint_refused(what: str, error: OSError) -> OSError:
    return OSError(f"checkpoint: {what}: {error.strerror or error}")


def holds_checkpoints(folder: object) -> ValueError:
    return ValueError(
        f"checkpoint: {str(folder)!r} holds checkpoints already; pass resume=True to go on with that training, or"
        " another folder"
    )


def none_readable(folder: object) -> ValueError:
    return ValueError(
        f"checkpoint: {str(folder)!r} holds checkpoints, none of which can be read; move them away to begin anew"
    )


def other_training(path: object, name: str, then: object, now: object) -> ValueError:
    return ValueError(
        f"resume: {str(path)!r} is of a training with {name} {then!r}, this one has {now!r}; use the same"
        " arguments, or another folder"
    )
