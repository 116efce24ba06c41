"""What all models share: their tape, their summary, and how they are trained."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np

from fastgate import _errors
from fastgate._arrays import Array
from fastgate._frozen import Frozen
from fastgate._model_params import ModelParams
from fastgate._params import NamedArrays, Snapshot
from fastgate._placed import Placed, as_device
from fastgate._tape import State
from fastgate.training.evaluation import evaluate, predict
from fastgate.training.fit import fit


@dataclass(frozen=True, eq=False)
class ModelTape:
    """The memory of one `forward` of a model: its layers' tapes. Valid until a parameter of the model is written.

    `mask` says which steps of the output count, (B, T), (T, B) or unbatched (T,), if there were lengths or a mask, or a
    layer has made one; None if all count, or the output has no steps.
    """

    params: ModelParams = field(repr=False)
    snapshots: tuple[Snapshot, ...] = field(repr=False)
    tapes: list[Any] = field(repr=False)
    state: Any = field(repr=False)  # the final state of each recurrent layer
    beyond: Array | None = field(repr=False)  # as the mask of the input, which steps of it do not count
    mask: Array | None = field(repr=False)
    stays: bool = field(default=True, repr=False)  # on the device, where x was

    @property
    def nbytes(self) -> int:
        """Bytes that the tapes keep, those of layers whose tapes tell."""
        return sum(getattr(tape, "nbytes", 0) for tape in self.tapes)


class ModelGradients(NamedTuple):
    """What `backward` of a model returns: every array is fresh and yours.

    ``x`` is None where the input has no gradient, as integers, and a pair where it is one; ``state`` has one gradient
    for each recurrent layer.
    """

    x: Any
    state: tuple[State, ...]
    params: NamedArrays


def check_model_tape(tape: Any, model: Model) -> None:
    """Raise unless the tape is of this model, and of the parameters it has now."""
    if not isinstance(tape, ModelTape):
        raise _errors.wrong_type("tape", "the tape that forward returned", type(tape).__name__)
    if tape.params is not model.params:
        raise _errors.foreign_tape(type(model).__name__)
    if not model.params._are(tape.snapshots):
        raise _errors.stale_tape()


class Model(Frozen):
    """Base of `Sequential` and `EncoderDecoder`."""

    params: ModelParams
    dtype: np.dtype[Any]
    batch_first: bool

    fit, predict, evaluate = fit, predict, evaluate

    @property
    def device(self) -> str:
        """Where the model computes: "cuda" where all its parameters lie there.

        Layers of several devices may follow one another: then data are copied between them at every step.
        """
        return self.params.device

    def to(self, device: str) -> Self:
        """This model on a device: all its layers that have parameters; the others compute where their input lies.

        Parameters
        ----------
        device : "cpu" or "cuda"

        Returns
        -------
        model of the same class
            The model itself where it is there; else another one with copies of the parameters. Layers of your own are
            copied, and go on computing on the CPU.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            If there is no such device, or a layer is quantized; a note names the layer.
        """
        as_device(device)
        there = [layer.device == device for _, layer, _ in self._described() if isinstance(layer, Placed)]
        if all(there):
            return self
        return _moved(self, device)  # type: ignore[no-any-return]

    def _infer(self, x: Any, lengths: Any, state: Any) -> tuple[Array, tuple[State, ...], Array | None]:
        """y, the final states, and the mask of y."""
        raise NotImplementedError

    def _described(self) -> Iterator[tuple[str, Any, int]]:
        """Of each layer its place, itself and the number of its parameters."""
        raise NotImplementedError

    def summary(self) -> str:
        """The layers, one a line, with the number of parameters of each.

        Returns
        -------
        str
        """
        rows = [(path, repr(layer), f"{count:,}") for path, layer, count in self._described()]
        total = sum(count for *_, count in self._described())
        rows = [("layer", "", "parameters"), *rows, ("all", "", f"{total:,}")]
        paths, texts, counts = (max(map(len, column)) for column in zip(*rows, strict=True))
        return "\n".join(f"{path:{paths}}  {text:{texts}}  {count:>{counts}}" for path, text, count in rows)


def on_cpu(layer: Any) -> Any:
    """A layer or model there, for what reads its parameters: itself, if it is there; anything else is left alone."""
    return layer.to("cpu") if isinstance(layer, (Placed, Model)) else layer


def _moved(part: Any, device: str) -> Any:
    """A layer, or several of them; those without a device are copied."""
    if isinstance(part, tuple):
        return tuple(_moved(layer, device) for layer in part)
    if isinstance(part, Model):
        options = {name: getattr(part, name) for name in inspect.signature(type(part)).parameters}
        return part.replace(**{name: _moved(option, device) for name, option in options.items()})
    if not isinstance(part, Placed):
        return copy.deepcopy(part)
    try:
        return part.replace(device=device) if part.device == device else part.to(device)
    except (TypeError, ValueError, RuntimeError) as error:
        error.add_note(f"in {part!r}")
        raise
