"""Sequences that arrive piece by piece: an object that keeps the state between them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy import ndarray

import fastgate
from fastgate import _border, _errors, _safetensors
from fastgate._arrays import Array, as_array, as_real, as_size, is_there
from fastgate._configuration import Configured
from fastgate._masks import as_mask

FORMAT = 1  # of what `save` writes; files of a higher one are refused
KEY = "fastgate.stream"  # in the metadata


class Stream:
    """The state of a layer or model between the steps of sequences that go on: ``layer.stream()`` makes one.

    Bits are those of running the whole sequences at once. Parameters that are written meanwhile are used from the next
    `push` on. A stream is for one thread at a time; any number of streams of a layer can run side by side. A copy
    (`copy.copy`) is a stream of the same layer that goes on by itself.

    Attributes
    ----------
    batch : int or None
        Sequences; None: one, whose arrays have no axis of sequences.

    Examples
    --------
    >>> import numpy as np, fastgate as fg
    >>> layer, x = fg.LSTM(3, 5), np.random.default_rng(0).standard_normal((2, 7, 3))
    >>> stream = layer.stream(2)
    >>> first, second, rest = stream.push(x[:, 0]), stream.push(x[:, 1]), stream.push(x[:, 2:])
    >>> np.array_equal(np.concatenate([first[:, None], second[:, None], rest], axis=1), layer(x)[0])
    True
    """

    def __init__(self, owner: Any, batch: int | None) -> None:
        self._layers, self._features = owner._streamed()
        self.batch = None if batch is None else as_size("batch", batch, least=0)
        self._owner, self._is_model = owner, not isinstance(owner, Configured)
        self._stays = not self._is_model and owner.device != "cpu"  # what comes from there
        self._size = 1 if self.batch is None else self.batch
        self._step, self._run = owner.step, owner.run if self._is_model else owner.__call__
        # Inside there is always an axis of sequences. States are never written, but replaced: copies may share them.
        self._one_step = self._features if self.batch is None else (self.batch, *self._features)
        self._state: Any = None
        self.reset()

    def push(self, x: npt.ArrayLike) -> Array:
        """Go on by one step or by several.

        Parameters
        ----------
        x : array_like, (B, I) for one step or (B, T, I) for several, (T, B, I) with ``batch_first=False``
            Without a batch (I,) or (T, I). For a model that begins with an `Embedding` integers without the last axis.

        Returns
        -------
        y : ndarray, (B, H), (B, T, H) or as `x` is laid out
            Fresh memory, unless all that the model does is to hand `x` on. On the GPU where `x` and the layer are.

        Raises
        ------
        TypeError, ValueError
            If `x` has the wrong type or shape. The state stays as it was.
        """
        if type(x) is ndarray and x.shape == self._one_step:  # what a stream usually is: as little work as possible
            y: Array
            if self.batch is None:
                y, self._state = self._step(x[None], self._state)
                return y[0]  # type: ignore[no-any-return]
            y, self._state = self._step(x, self._state)
            return y
        own: Any = x
        return self._push(own if self._stays and is_there(own) else as_array("x", own))

    def _push(self, x: Array) -> Array:
        has_batch, depth = self.batch is not None, len(self._features)
        is_piece = x.ndim == depth + has_batch + 1
        axis = int(is_piece and not self._owner.batch_first)  # of sequences
        is_known = is_piece or x.ndim == depth + has_batch
        fits = is_known and (None in self._features or x.shape[x.ndim - depth :] == self._features)
        if not fits or (has_batch and x.shape[axis] != self._size):
            raise _errors.wrong_shape("x", self._expected(), as_real("x", x).shape)
        leading = x.shape[:axis]
        own = x if has_batch else x.reshape(*leading, 1, *x.shape[axis:])
        y, self._state = (self._run if is_piece else self._step)(own, self._state)
        return y if has_batch else y.reshape(*leading, *y.shape[axis + 1 :])  # type: ignore[no-any-return]

    def reset(self, mask: npt.ArrayLike | None = None) -> None:
        """Set states to zeros.

        Parameters
        ----------
        mask : array_like of bool, (B,), optional
            Of which sequences, without a batch one boolean; of all by default.

        Raises
        ------
        TypeError, ValueError
            If the mask is no such array.
        """
        if mask is None:
            self._state = self._joined([self._zeros(layer) for _, layer in self._layers])
            return
        shape, axes = ((), "") if self.batch is None else ((self.batch,), "(batch)")
        rows = as_mask(mask, shape, axes=axes).reshape(-1)
        if not rows.any():
            return
        states = [[np.array(part) for part in parts] for parts in self._parts()]
        for parts in states:
            for part in parts:
                part[:, rows] = 0
        self._state = self._joined(states)

    @property
    def state(self) -> Any:
        """A copy of it, as the layer takes and returns states, or a tuple of them for a model; it can be assigned."""
        return self._joined([[self._outside(part) for part in parts] for parts in self._parts()])

    @state.setter
    def state(self, value: Any) -> None:
        values = value if self._is_model else (value,)
        if value is None:
            values = (None,) * len(self._layers)
        if not isinstance(values, (tuple, list)) or len(values) != len(self._layers):
            got = f"{len(values)}" if isinstance(values, (tuple, list)) else type(values).__name__
            expected = f"a tuple of {len(self._layers)}, one for each recurrent layer"
            raise _errors.wrong_type("state", expected, got)
        found, unbatched = [], self.batch is None
        for number, ((_, layer), own) in enumerate(zip(self._layers, values, strict=True)):
            name = f"state[{number}]" if self._is_model else "state"
            parts = _border.read_states(layer, name, own, tuple(self._zeros(layer)), unbatched=unbatched)
            found.append([part.copy() for part in parts])
        self._state = self._joined(found)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the state into a safetensors file, which is there whole or not at all, as those of `fastgate.save`.

        Parameters
        ----------
        path : str or path-like
            The file's name, used as it is.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        text = json.dumps({"format": FORMAT, "version": fastgate.__version__})
        arrays = {name: self._outside(part) for name, part in self._named(self._parts())}
        _safetensors.write(path, arrays, {KEY: text})

    def restore(self, path: str | os.PathLike[str]) -> None:
        """Take up the state that `save` wrote, for a stream of the same sizes.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        ValueError
            If the file is not one of `save`, is damaged, or of another kind of stream. The state stays as it was.
        OSError
            If there is no such file, or it cannot be read.
        """
        expected = {name: self._outside(part) for name, part in self._named(self._parts())}
        with _safetensors.opened(path) as contents:
            _check_format(path, contents.metadata)
            if set(contents.shapes) != set(expected):
                got = f"{', '.join(sorted(contents.shapes))}, expected {', '.join(sorted(expected))}"
                raise _errors.bad_file(path, f"is of another stream: it holds {got}")
            for name, array in expected.items():
                own, got_own = (array.dtype.name, array.shape), (contents.dtypes[name], contents.shapes[name])
                if got_own != own:
                    sizes = "its {!r} is {} of shape {}, expected {} of shape {}".format(name, *got_own, *own)
                    raise _errors.bad_file(path, f"is of another stream: {sizes}")
            arrays = iter([contents.read(name) for name in expected])
        self.state = self._joined([[next(arrays) for _ in parts] for parts in self._parts()])

    def _zeros(self, layer: Configured) -> list[Array]:
        return [np.zeros(shape, layer.dtype) for shape in _border.state_shapes(layer, self._size)]

    def _parts(self) -> list[list[Array]]:
        """Of each layer h, or h and c."""
        states = self._state if self._is_model else (self._state,)
        return [list(state) if isinstance(state, tuple) else [state] for state in states]

    def _joined(self, parts: list[list[Array]]) -> Any:
        """As the owner takes them."""
        states = tuple((own[0], own[1]) if len(own) == 2 else own[0] for own in parts)
        return states if self._is_model else states[0]

    def _named(self, parts: list[list[Array]]) -> Iterator[tuple[str, Array]]:
        for (prefix, _), own in zip(self._layers, parts, strict=True):
            yield from zip((f"{prefix}h", f"{prefix}c"), own, strict=False)

    def _outside(self, part: Array) -> Array:
        """A copy as the user has it, of NumPy."""
        own = np.array(part)
        return own[:, 0].copy() if self.batch is None else own

    def _expected(self) -> str:
        step = ["features" if size is None else str(size) for size in self._features]
        sizes = [] if self.batch is None else [str(self.batch)]
        piece = [*sizes, "time"] if self._owner.batch_first else ["time", *sizes]
        return " or ".join(f"({', '.join(part)}{',' * (len(part) == 1)})" for part in (sizes + step, piece + step))

    def __repr__(self) -> str:
        return f"Stream({self._owner!r}, batch={self.batch})"


class Streamed:
    """What layers and models have that make streams."""

    def stream(self, batch: int | None = None) -> Stream:
        """A stream of sequences, which keeps the states from step to step.

        Parameters
        ----------
        batch : int, optional
            Sequences that go on side by side; by default one, without an axis for it.

        Returns
        -------
        Stream

        Raises
        ------
        TypeError, ValueError
            If a layer is bidirectional or needs whole sequences, as `Sequential.step` says; or `batch` is no size.
        """
        return Stream(self, batch)

    def _streamed(self) -> tuple[Sequence[tuple[str, Configured]], tuple[int | None, ...]]:
        """The layers with a state, and how their names begin; and the shape of one step, None for a size that nobody
        knows.
        """
        raise NotImplementedError


def _check_format(path: Any, metadata: dict[str, str]) -> None:
    if KEY not in metadata:
        raise _errors.bad_file(path, "is a safetensors file, but not one of a stream's save")
    try:
        found = _safetensors.strict_json(metadata[KEY])
    except ValueError as error:
        raise _errors.bad_file(path, f"is damaged: in its metadata, {error}") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise _errors.bad_file(path, f"is of another format than {FORMAT}, which this fastgate reads: {found!r}")
