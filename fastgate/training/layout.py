"""How a model lays out what it reads and gives: which axis is which is decided here, by rule and never by size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastgate import _errors
from fastgate._arrays import Array
from fastgate._protocol import Member
from fastgate.activation import Activation
from fastgate.embedding import Embedding
from fastgate.reverse import Reverse
from fastgate.training import errors


class Batch(NamedTuple):
    """What one step works on: x as the model takes it, everything else with the samples first."""

    x: Any
    y: Array | None
    lengths: Any = None  # of x; for several inputs a tuple
    y_lengths: Array | None = None  # of y, where its steps are those of x
    weights: Array | None = None
    carries: bool = False  # whether it continues the batch before, row by row
    part: tuple[int, int, int] | None = None  # of a larger batch: its first row, how many, and those of all


class Input(NamedTuple):
    """What a model reads; an encoder-decoder two of them."""

    step_axes: int = 1  # after samples and time: features, or none where it holds integers for an Embedding
    is_sequences: bool = False  # samples and time are before them, for certain

    def check(self, name: str, array: Array, *leading: str) -> None:
        """Raise if an array has not so many axes, of which the leading ones are these."""
        axes = [*leading, *["features"] * self.step_axes]
        if self.is_sequences and array.ndim != len(axes):
            expected = f"({', '.join(axes)}{',' * (len(axes) == 1)})"
            expected += ", also for one sequence" * (len(leading) > 1)
            got = str(array.shape)
            if self.step_axes and array.ndim == len(leading):
                got += f"; one value per step is {name}[..., None]"
            raise _errors.misplaced(name, f"shape {expected}", got)


class Layout(NamedTuple):
    """What follows from the layers of a model, before any data are seen."""

    time_first: bool = False
    per_step: bool = True  # the output has a time axis, unless a layer of the user's own ends it
    keeps_steps: bool = True  # and it is that of x
    inputs: tuple[Input, ...] = (Input(),)  # an encoder-decoder has two, as a tuple
    can_carry: bool = True  # states, from piece to piece of a stream
    activation: str | None = None  # that the model ends with
    doubtful: str | None = None  # a last layer of the user's own that might end time, and takes no lengths
    mask_maker: str | None = None  # the first layer that says itself which steps count

    def has_steps(self, y: Array, batch: Batch) -> bool:
        """Whether an output has a time axis: three axes or more, unless `FinalState` has ended time.

        A layer of the user's own may have ended it too; but where there are lengths, it must have seen them.
        """
        has_steps = self.per_step and y.ndim > 2
        if batch.y_lengths is not None:
            if not has_steps and self.doubtful is not None:
                raise errors.lost_steps(self.doubtful, y.shape)
            leading = np.shape(batch.x[-1] if len(self.inputs) > 1 else batch.x)[:2]
            if has_steps and y.shape[:2] != leading:
                raise _errors.wrong_shape("y", f"({', '.join(map(str, leading))}, ...), the steps of x", y.shape)
        return has_steps


def layout_of(model: Any) -> Layout:
    """An encoder-decoder has the output of its decoder."""
    parts = (model.encoder, model.decoder) if hasattr(model, "decoder") else (model,)
    members = parts[-1]._members
    ends = [i for i, member in enumerate(members) if member.is_final or member.is_recurrent]
    is_final = bool(ends) and members[ends[-1]].is_final
    end = members[-1].layer
    is_two_way = any(getattr(member.layer, "bidirectional", False) for member in members)
    own = [member for member in members[ends[-1] + 1 if ends else 0 :] if not member.is_own]
    turns = sum(isinstance(member.layer, Reverse) for member in members)
    is_known = not own or any(member.takes & {"lengths", "mask"} for member in own)
    return Layout(
        time_first=not model.batch_first,
        per_step=not is_final,
        keeps_steps=turns % 2 == 0 and not any(member.is_final for member in members),
        inputs=tuple(_input_of(part._members) for part in parts),
        can_carry=len(parts) == 1 and not is_two_way and not turns,
        activation=end.function if isinstance(end, Activation) else None,
        doubtful=None if is_known else own[-1].place,
        mask_maker=next((member.place for member in members if member.makes_mask and not member.is_final), None),
    )


def _input_of(members: Sequence[Member]) -> Input:
    """x surely has a time axis where a recurrent layer meets it before any layer that may change its axes."""
    first = next((member for member in members if not member.is_stepwise), None)
    step_axes = int(not isinstance(members[0].layer, Embedding))
    return Input(step_axes, first is not None and (first.is_recurrent or first.is_over_time))
