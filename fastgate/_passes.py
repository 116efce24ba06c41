"""The ways through the layers of a model: forward, back, and one step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastgate import _errors, _samples
from fastgate._arrays import Array, as_size
from fastgate._params import NamedArrays
from fastgate._places import as_floating_beside
from fastgate._protocol import Member
from fastgate._valid import ALL, Valid

Members = Sequence[Member]


class _Place:
    """An error inside the ``with`` gets a note that names the layer where it came up."""

    member: Member

    def __enter__(self) -> _Place:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, Exception):
            error.add_note(f"in {self.member.place}")


def keys_of(rng_key: int | None, layers: int) -> Sequence[int | None]:
    """A dropout key for each layer, which no other layer has in any step."""
    if rng_key is None:
        return [None] * layers
    first = as_size("rng_key", rng_key, least=0) * layers
    return range(first, first + layers)


def infer(members: Members, x: Any, starts: Sequence[Any], valid: Valid) -> tuple[Any, list[Any], Valid]:
    """y, the final states, and which steps of y count."""
    ends: list[Any] = []
    with _Place() as here:
        for m in members:
            here.member = m
            before = x
            if m.is_recurrent:
                x, end = m.layer(x, starts[len(ends)], **m.told(valid))
                ends.append(end)
                directions = 1 + m.layer.bidirectional
            elif m.is_final:
                x = m.layer(ends[-1], directions=directions)
            else:
                x = m.infer(x, valid)
            if m.makes_mask:
                valid = m.after(before, valid, x)
    return x, ends, valid


def forward(
    members: Members, x: Any, starts: Sequence[Any], valid: Valid, training: bool, keys: Sequence[int | None]
) -> tuple[Any, list[Any], list[Any], Valid]:
    """The same with dropout, and with a tape of each layer."""
    ends: list[Any] = []
    tapes: list[Any] = []
    is_ours = False  # x is the output of a layer, which nobody else will write
    with _Place() as here:
        for m, key in zip(members, keys, strict=True):
            here.member = m
            before = x
            options = {"training": training, "rng_key": key, **m.told(valid)}
            if m.is_recurrent:
                x, end, tape = m.layer.forward(x, starts[len(ends)], copy=not is_ours, **options)
                ends.append(end)
                directions = 1 + m.layer.bidirectional
            elif m.is_final:
                x, tape = m.layer.forward(ends[-1], directions=directions)
            else:
                x, tape = m.forward(x, options)
            if m.makes_mask:
                valid = m.after(before, valid, x)
            is_ours = m.makes_output or (is_ours and m.is_own)
            tapes.append(tape)
    return x, ends, tapes, valid


def backward(
    members: Members, tapes: Sequence[Any], dy: Any, ends: Sequence[Any], targets: Sequence[NamedArrays],
    axis: int | None = None,
) -> tuple[Any, list[Any]]:  # fmt: skip
    """dy (None: nothing comes from above), `ends` of the final states -> dx, those of the first states; parameter
    gradients are written into `targets`, zeros before; those of each sequence if these are on an `axis` of the input.
    """
    own_axis = 0 if any(m.is_final for m in members) else axis  # of dy, where it matters
    own_ends, own_targets = list(ends), list(targets)
    starts: list[Any] = []
    from_final: Any = None  # what FinalState hands to the recurrent layer before it
    with _Place() as here:
        for m, tape in zip(reversed(members), reversed(tapes), strict=True):
            here.member = m
            target = own_targets.pop() if m.params else None
            if m.is_recurrent:
                dstate = _sum(own_ends.pop(), from_final)
                if dy is None and dstate is None:
                    dy = np.zeros(tape.y_shape, m.layer.dtype)
                found = m.layer.backward(tape, dy, dstate, per_sample=axis is not None)
                starts.append(found.state)
                dy, from_final = found.x, None
            elif m.is_final and dy is not None:
                dy, from_final, own_axis = None, m.layer.backward(tape, dy), axis
                continue
            elif dy is None:
                continue
            elif target is not None and axis is not None:
                dy = _samples.backward(m, tape, dy, own_axis or 0, target)
                continue
            else:
                found = m.backward(tape, dy)
                dy = found.x
            if target is not None:
                m.collect(found, target)
    return dy, starts[::-1]


def step(members: Members, x: Any, starts: Sequence[Any]) -> tuple[Any, list[Any]]:
    """One time step: y and the states after it."""
    ends: list[Any] = []
    valid = ALL
    with _Place() as here:
        for m in members:
            here.member = m
            before = x
            if m.is_recurrent:
                start = starts[len(ends)]
                x, end = m.layer.step(x, start)
                if valid.mask is not None:
                    x, end = _skipped(valid.mask[..., None], x, start, end)
                ends.append(end)
            elif not m.repeats_past:  # as no step before it is skipped
                x = m.infer(x, ALL)
            if m.makes_mask:
                valid = m.after(before, valid, x)
    return x, ends


def _skipped(mask: Array, y: Array, start: Any, end: Any) -> tuple[Array, Any]:
    """A step of a recurrent layer as it is where the mask (B, 1) or (1,) is True; elsewhere 0, and no step at all."""
    if isinstance(end, tuple):
        h, c = (None, None) if start is None else start
        return np.where(mask, y, 0), (_chosen(mask, end[0], h), _chosen(mask, end[1], c))
    return np.where(mask, y, 0), _chosen(mask, end, start)


def _chosen(mask: Array, end: Array, start: Any) -> Array:
    return np.where(mask, end, np.asarray(0 if start is None else start, end.dtype))


def _sum(given: Any, found: Any) -> Any:
    """Of two gradients in one state, either of which may be None; a pair may have None in it."""
    if given is None or found is None:
        return found if given is None else given
    if isinstance(found, tuple):
        if not isinstance(given, (tuple, list)) or len(given) != 2:
            raise _errors.wrong_type("dstate", "a pair (h, c)", type(given).__name__)
        return tuple(_sum(*parts) for parts in zip(given, found, strict=True))
    own: Array = as_floating_beside("dstate", given, found)
    if own.shape != found.shape:
        raise _errors.wrong_shape("dstate", f"{found.shape}", own.shape)
    return own + found
