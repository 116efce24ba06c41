"""What `fit` was asked for, read and checked, and the training that comes of it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from fastgate import _errors
from fastgate._arrays import as_flag, as_size
from fastgate._optimizer import Optimizer
from fastgate.optimizers import OPTIMIZERS
from fastgate.training import errors
from fastgate.training.batches import Source
from fastgate.training.callbacks import Callback, Run
from fastgate.training.checkpoint import Checkpoints
from fastgate.training.group import group_of
from fastgate.training.history import History
from fastgate.training.layout import layout_of
from fastgate.training.lbfgs import minimize
from fastgate.training.loop import Loop
from fastgate.training.objective import Objective, Sums
from fastgate.training.progress import Progress
from fastgate.training.resume import Saver, identity_of
from fastgate.training.sources import source_of
from fastgate.training.step import Stepper
from fastgate.training.validation import Validation, split
from fastgate.training.waiting import EarlyStopping


def fit(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    loss: Any,
    optimizer: Any,
    epochs: int = 1,
    batch_size: int = 32,
    validation: Any = None,
    metrics: Any = (),
    lengths: Any = None,
    weights: Any = None,
    shuffle: bool = True,
    seed: int = 0,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    early_stopping: int | EarlyStopping | None = None,
    callbacks: Any = (),
    progress: bool = False,
    checkpoint: Any = None,
    every: int | None = None,
    keep: int = 3,
    resume: bool = False,
    stateful: bool | int = False,
    steps_per_epoch: int | None = None,
    distributed: Any = None,
) -> History:
    """Train a model, where it lies: each batch is copied to the GPU of a model there, and the loss comes back.

    Parameters
    ----------
    x : array_like, list, iterable or callable
        * An array as the model takes it, with all samples: (N, T, features), integers (N, T), or time first. Of a
          `numpy.memmap` only what a batch needs is read.
        * A list of N arrays (T_i, features) or (T_i,) of unequal length: each batch is padded, with its lengths.
        * An iterable of batches ``(x, y)``, ``(x, y, lengths)`` or ``(x, y, lengths, weights)``; or a callable that
          takes the number of the epoch and returns such an iterable, which can be resumed.
        * For an encoder-decoder, a pair of arrays or lists; `lengths` likewise.
    y : array_like or list
        Targets, as the loss takes them: one for each sample, or one for each step; beside a list of sequences a list as
        long. The first axis is that of the samples, but for targets per step of a model with time first. A model with
        an output per step learns one for each sample at every step: for one output at the end put a `FinalState` in it.
    loss : str or callable
        "mse" or "mean_squared_error", "mae" or "mean_absolute_error", "huber", "cross_entropy", "binary_cross_entropy",
        or a function with their arguments, samples first, of ndarrays. Lengths are given to it where the model has an
        output per step, which has three axes or more; if a layer of your own ends time, it must take lengths where
        there are some. Where a layer makes a mask, as ``Embedding(mask_zero=True)``, that is given in their place: what
        is masked does not count. Both cross entropies take logits: no sigmoid or softmax at the end of the model.
    optimizer : optimiser, or "sgd", "adam", "adamw", "rmsprop" or "lbfgs"
        By name a new one with its default options.
        One for each model: what has trained another is refused, unless its `restore` was called since.
        "lbfgs" takes all data in every step, with scipy.optimize; an epoch is one iteration of it.
    epochs : int
    batch_size : int
        The last batch of an epoch may be smaller. In a stateful training, the number of streams.
    validation : float, tuple or iterable, optional
        ``(x, y)``, ``(x, y, lengths)`` or ``(x, y, lengths, weights)``; or what gives batches, as often as there are
        epochs; or a fraction: the last samples (of streams: steps), which are then not trained on.
    metrics : names or functions
        "accuracy", "perplexity", "bits_per_character", "r2", "mse" and "mae", also by their long names. Functions of
        your own see all outputs at once, and are measured on validation data only. Each has another name.
    lengths : array_like of int, (N,), optional
        Where steps that do not count are not the last ones of a sequence, put `Masking` or an ``Embedding`` with
        ``mask_zero=True`` at the beginning of the model; a mask is not taken here, and no resets: where states begin
        anew, as with the episodes of one recording, sequences are cut there, into a list.
    weights : array_like, (N,) or (N, T), optional
    shuffle : bool
        Whether each epoch takes arrays and lists in another order, which is a pure function of `seed` and its number
        in this call: in each of several calls of one epoch it is the same, unless they have other seeds. Not so
        dropout, whose masks follow the optimiser's count of steps from call to call.
    seed : int
    clip_norm, clip_value : float, optional
        Largest norm of all gradients, and largest value of each.
    early_stopping : int or EarlyStopping, optional
        After so many epochs without improvement; see `EarlyStopping`.
    callbacks : sequence of Callback
    progress : bool
        Show a bar (with tqdm, on a terminal or in a notebook) or a line for each epoch.
    checkpoint : path, optional
        A folder, made if need be, for checkpoints: all that is needed to go on with the same bits.
    every : int, optional
        After how many steps one is written; after every epoch by default, and always at the end and after Ctrl-C.
    keep : int
        How many checkpoints are kept.
    resume : bool
        Go on from the last checkpoint, if there is one: the model's parameters, the optimiser and the callbacks are
        those of that moment. Other arguments than `epochs`, `every`, `keep`, `progress` and the options of callbacks
        must be as they were; so must seeds of layers with dropout. Of arrays and lists, shapes and dtypes are compared,
        and the first and last sample. What early stopping has ended stays as it is.
    stateful : int, optional
        x is one long stream, (T, features) or (T,), which is cut into `batch_size` streams side by side, or some
        streams already, (B, T, ...): they are taken in pieces of so many steps. The state is carried from piece to
        piece, the gradient goes no further back than a piece. For an iterable of batches, which then follow one
        another: True. Not for bidirectional layers.
    steps_per_epoch : int, optional
        Of an iterable: how many batches make an epoch.
    distributed : mpi4py communicator or True, optional
        Train in all its processes together, which call `fit` with the same arguments; True is ``MPI.COMM_WORLD``. See
        `fastgate.training.ranks`.

    Returns
    -------
    History
        After Ctrl-C, of what was done until then, with ``interrupted`` True; a line on stderr says how to go on.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, shape or range; the message names it.
    NonFiniteError
        If a loss, gradient or update is not finite; the message names the step and the layer. The model keeps the
        parameters that it had before that step.
    RuntimeError
        If another training writes into `checkpoint`.
    """
    with group_of(distributed) as group, ExitStack() as stack:
        layout = layout_of(model)
        objective = Objective(loss, metrics, layout)
        is_lbfgs = isinstance(optimizer, str) and optimizer == "lbfgs"
        optimizer = optimizer if is_lbfgs else _as_optimizer(optimizer)
        own_seed = as_size("seed", seed, least=0) if as_flag("shuffle", shuffle) else None
        options: dict[str, Any] = {
            "layout": layout,
            "batch_size": as_size("batch_size", batch_size),
            "stateful": stateful,
        }
        source = source_of(x, y, lengths, weights, **options, seed=own_seed, steps_per_epoch=steps_per_epoch)
        source, other = split(source, validation, options)
        source = group.share(source, time_first=layout.time_first)
        other = None if other is None else group.share(other, time_first=layout.time_first)
        carries, sums = stateful is not False, Sums(objective, keeps_outputs=is_lbfgs)
        held_out = None if other is None else Validation(model, objective, other, group, carries=carries)
        if held_out is None and len(sums.names) <= len(objective.metrics):
            raise errors.unmeasured()
        run = Run(model, optimizer, epochs=as_size("epochs", epochs, least=0), steps_per_epoch=source.steps)
        called = _callbacks(early_stopping, callbacks, as_flag("progress", progress) and group.is_first)
        run.history.begin([*sums.names, *(held_out.columns if held_out else [])])
        if held_out is not None and not isinstance(validation, (int, float)):  # a part of x is as x
            held_out.check()
        if is_lbfgs:
            refused = {"clip_norm": clip_norm, "clip_value": clip_value, "stateful": stateful}
            refused |= {"checkpoint": checkpoint, "resume": resume, "every": every, "distributed": distributed}
            return minimize(run, objective, source, held_out, called, refused)
        limits = {"clip_norm": clip_norm, "clip_value": clip_value}
        stepper = Stepper(model, objective, optimizer, group, **limits, carries=carries)
        if checkpoint is not None and not all(hasattr(optimizer, name) for name in ("state", "restore")):
            raise _errors.wrong_type("optimizer", "one with state() and restore(), beside checkpoint", repr(optimizer))
        if as_flag("resume", resume):
            _check_resumable(source)
        if checkpoint is None and (resume or every is not None):
            raise _errors.wrong_value("checkpoint", "a folder, beside resume or every", checkpoint)
        every = None if every is None else as_size("every", every)

        def identity() -> dict[str, Any]:
            return (
                identity_of(model, optimizer)
                | source.description()
                | {
                    "validation": None if other is None else other.description(),
                    "loss": objective.name,
                    "metrics": list(objective.metrics),
                    "batch_size": options["batch_size"],
                    "clip_norm": stepper.clip_norm,
                    "clip_value": stepper.clip_value,
                    "seed": own_seed,
                    "stateful": carries,
                }
            )

        group.begin(run, lambda: identity() | {"checkpoint": checkpoint is not None, "every": every}, called)
        saver = None
        if checkpoint is not None:
            folder = group.on_first(lambda: _opened(stack, checkpoint, keep, resume=resume))
            saver = Saver(folder, every, identity(), run, stepper, sums, called)
            if resume:
                saver.go_on()
        if isinstance(optimizer, Optimizer):  # one that goes on from a checkpoint has forgotten what it trained before
            optimizer.check_owners(model.params.layers)
        ctrl_c = stack.enter_context(group.interruption())
        Loop(run, stepper, sums, source, held_out, called, saver, ctrl_c).train()
    return run.history


def _as_optimizer(optimizer: Any) -> Any:
    if isinstance(optimizer, str) and optimizer in OPTIMIZERS:
        return OPTIMIZERS[optimizer]()  # type: ignore[call-arg]
    if isinstance(optimizer, type) or not all(hasattr(optimizer, name) for name in ("lr", "step")):
        names = [*OPTIMIZERS, "lbfgs"]
        expected = f"an optimiser, as fastgate.Adam(1e-3), or {', '.join(map(repr, names))}"
        advice = _errors.did_you_mean(optimizer, names) if isinstance(optimizer, str) else ""
        raise _errors.wrong_type("optimizer", expected, f"{optimizer!r}{advice}")
    return optimizer


def _opened(stack: ExitStack, folder: Any, keep: int, *, resume: bool) -> Checkpoints:
    checkpoints = stack.enter_context(Checkpoints(folder, keep))
    if not resume and checkpoints.paths():
        raise errors.holds_checkpoints(folder)
    return checkpoints


def _callbacks(early_stopping: Any, callbacks: Any, progress: bool) -> list[Callback]:
    called = list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]
    for callback in called:
        if not isinstance(callback, Callback):
            raise _errors.wrong_type("callbacks", "a list of fastgate.Callback", type(callback).__name__)
    if early_stopping is not None:
        own = isinstance(early_stopping, EarlyStopping)
        called.insert(0, early_stopping if own else EarlyStopping(as_size("early_stopping", early_stopping)))
    return [*called, *([Progress()] if progress else [])]


def _check_resumable(source: Source) -> None:
    if not source.can_resume:
        expected = "an array, a list or a callable(epoch), beside resume: an iterator cannot be had again"
        raise _errors.wrong_type("x", expected, "an iterable of batches")
