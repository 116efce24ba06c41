"""A model whose layers follow one another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgate import _assembly, _errors, _passes
from fastgate._arrays import Array, as_array, as_choice, as_lengths, as_real
from fastgate._model import Model, ModelGradients, ModelTape, check_model_tape
from fastgate._model_params import ModelParams
from fastgate._protocol import Member, member
from fastgate._tape import State

States = tuple[State, ...]


class Sequential(Model):
    """Layers that follow one another: each one's output is the input of the next.

    Parameters
    ----------
    *layers : layers
        `LSTM`, `GRU`, `RNN`, `Embedding`, `Linear`, `Dropout`, `Activation`, `LayerNorm`, `FinalState`, other
        `Sequential` models, and layers of your own, which need no more than

        * ``y, tape = layer.forward(x)``, which may also take any of the keywords ``training``, ``rng_key`` (a number
          that is another in every step and for every layer, or None) and ``lengths`` (as below, or None);
        * ``gradients = layer.backward(tape, dy)``, an object with ``x`` (None where the input has no gradient) and
          ``params`` (name -> array);
        * if there are parameters, ``layer.params``, a `fastgate.Params`.

        If it has ``in_features`` and ``out_features``, ``dtype`` of its params or ``batch_first``, they are checked.

    Attributes
    ----------
    layers : tuple
        As given.
    params : mapping
        ``"0.weight"``, ``"1.weight_ih_l0"``, ...: number of the layer and its own name, as in PyTorch. Written as those
        of a layer; ``params.flat`` is a copy.
    dtype : numpy.dtype
        Of all parameters; float32 if there are none.
    batch_first : bool
        As its recurrent layers have it; True if there are none.

    Raises
    ------
    TypeError, ValueError
        If something is no layer or does not fit: its size, dtype or `batch_first`; parameters that are another layer's,
        too; a `FinalState` that does not follow a recurrent layer. The message names the layer by number and class.

    Examples
    --------
    >>> import numpy as np, fastgate as fg
    >>> model = fg.Sequential(fg.Embedding(100, 8), fg.LSTM(8, 16), fg.FinalState(), fg.Linear(16, 2))
    >>> x, labels = np.array([[5, 99, 7], [1, 2, 0]]), [1, 0]
    >>> y, tape = model.forward(x, lengths=[3, 2])
    >>> loss, dy = fg.cross_entropy(y, labels)
    >>> gradients = model.backward(tape, dy)
    >>> sorted(gradients.params) == sorted(model.params)
    True
    """

    def __init__(self, *layers: Any) -> None:
        if not layers:
            raise _errors.wrong_value("layers", "at least one layer", layers)
        self.layers = layers
        self._members = tuple(_members(layers))
        _assembly.check(self._members)
        self.dtype = np.dtype(next((m.params.dtype for m in self._members if m.params), np.float32))
        layouts = (m.layer.batch_first for m in self._members if hasattr(m.layer, "batch_first"))
        self.batch_first = bool(next(layouts, True))
        self.params = ModelParams([(m.path, m.params) for m in self._members if m.params], self.dtype)
        self._recurrent_count = sum(m.is_recurrent for m in self._members)
        self._unsteppable = next((m for m in self._members if m.needs_sequences), None)
        keeps_time = all(m.is_stepwise or m.is_recurrent for m in self._members)
        self._clears_input = not self._members[0].is_recurrent  # which reads nothing beyond the lengths itself
        self._clears_output = keeps_time and not self._members[-1].is_recurrent
        self._freeze()

    def __call__(self, x: npt.ArrayLike, lengths: npt.ArrayLike | None = None) -> Array:
        """Run the model for inference: no dropout, nothing is kept.

        Parameters
        ----------
        x : array_like
            As the first layer takes it: (B, T, features), or integers (B, T) for an `Embedding`; or (T, B, ...) with
            ``batch_first=False``.
        lengths : array_like of int, (B,), optional
            Steps of each sequence, 0 to T, in any order. What lies beyond is never read; and where all layers act step
            by step, `y` is 0 there.

        Returns
        -------
        ndarray
            The last layer's output.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, shape or range; a note names the layer.
        """
        return self.run(x, lengths=lengths)[0]

    def run(
        self, x: npt.ArrayLike, state: Sequence[Any] | None = None, *, lengths: npt.ArrayLike | None = None
    ) -> tuple[Array, States]:
        """Run the model for inference, from and to the states of its recurrent layers.

        Parameters
        ----------
        x, lengths
            As in calling the model.
        state : sequence, one state (or None, for zeros) for each recurrent layer, optional
            Zeros by default.

        Returns
        -------
        y : ndarray
        state : tuple
            Each recurrent layer's final state.

        Raises
        ------
        TypeError, ValueError
            As calling the model does.
        """
        own, own_lengths, beyond = self._read(x, lengths)
        y, ends = _passes.infer(self._members, own, self._read_states("state", state), own_lengths)
        return self._cleared(y, beyond), tuple(ends)

    def forward(
        self,
        x: npt.ArrayLike,
        *,
        lengths: npt.ArrayLike | None = None,
        training: bool = True,
        rng_key: int | None = None,
        state: Sequence[Any] | None = None,
    ) -> tuple[Array, ModelTape]:
        """Run the model and keep what `backward` needs.

        Parameters
        ----------
        x, lengths
            As in calling the model.
        training : bool
            Apply dropout.
        rng_key : int, 0 or more
            Names the dropout masks; each layer gets a key of its own from it. Needed when dropout is applied; the
            number of the training step is a good choice.
        state : sequence, one state (or None, for zeros) for each recurrent layer, optional

        Returns
        -------
        y : ndarray
        tape : ModelTape
            ``tape.state`` is the tuple of the recurrent layers' final states.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, shape or range; a note names the layer.
        """
        return self._forward(x, lengths, training, _passes.keys_of(rng_key, len(self._members)), state)

    def backward(
        self, tape: ModelTape, dy: npt.ArrayLike | None = None, dstate: Sequence[Any] | None = None
    ) -> ModelGradients:
        """From the gradient in y, in the final states, or in both to those in x, the first states and the parameters.

        Parameters
        ----------
        tape : ModelTape
            From `forward` of this model, whose parameters have not been written since. It can be used again.
        dy : array_like, the shape of y, optional
            Never read beyond a sequence's length where `y` is 0.
        dstate : sequence, one gradient (or None) for each recurrent layer, optional

        Returns
        -------
        ModelGradients
            ``x`` (None where the input has no gradient, as integers), ``state`` (a tuple) and ``params``, a mapping
            with a vector ``flat`` behind it; ``model.params.split`` gives that of each layer.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or shape, neither `dy` nor `dstate` is given, the tape is of another
            model, or parameters have been written since.
        """
        check_model_tape(tape, self)
        if dy is None and dstate is None:
            raise _errors.nothing_to_propagate()
        gradients = self.params._new_gradients()
        own = None if dy is None else self._cleared(dy, tape.beyond)
        ends, targets = self._read_states("dstate", dstate), self.params.split(gradients)
        dx, starts = _passes.backward(self._members, tape.tapes, own, ends, targets)
        if tape.beyond is not None and self._clears_input and dx is not None:
            dx = _zeros_where(tape.beyond, dx)  # forward read zeros there, whatever x held
        return ModelGradients(dx, tuple(starts), gradients)

    def step(self, x: npt.ArrayLike, state: Sequence[Any] | None = None) -> tuple[Array, States]:
        """Advance by one time step: for streams and for sampling.

        Parameters
        ----------
        x : array_like, (B, features) or (features,); of integers (B,) or () for an `Embedding`
        state : as returned by `step` or `run`, optional
            Zeros by default.

        Returns
        -------
        y : ndarray, (B, ...) or unbatched
        state : tuple

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or shape, a layer is bidirectional, or a layer needs whole sequences:
            `FinalState`, and a layer of your own whose `forward` takes ``lengths``.
        """
        if self._unsteppable is not None:
            raise _errors.whole_sequences(self._unsteppable.place)
        y, ends = _passes.step(self._members, x, self._read_states("state", state))
        return y, tuple(ends)

    def _forward(self, x: Any, lengths: Any, training: bool, keys: Any, state: Any) -> tuple[Array, ModelTape]:
        as_choice("training", training, (True, False))
        snapshots, starts = self.params._snapshots(), self._read_states("state", state)
        own, own_lengths, beyond = self._read(x, lengths)
        y, ends, tapes = _passes.forward(self._members, own, starts, own_lengths, training, keys)
        return self._cleared(y, beyond), ModelTape(self.params, snapshots, tapes, tuple(ends), beyond)

    def _read(self, x: Any, lengths: Any) -> tuple[Any, Any, Array | None]:
        """x with zeros beyond the lengths, so that no layer sees what is there; lengths; and where that is."""
        if lengths is None:
            return x, None, None
        array = as_array("x", x)
        if array.ndim < 2:
            raise _errors.wrong_shape("x", "of a batch of sequences, beside lengths", array.shape)
        B, T = array.shape[:2] if self.batch_first else array.shape[1::-1]
        own = as_lengths(lengths, B, T)
        beyond = np.arange(T) >= own[:, None]
        beyond = beyond if self.batch_first else beyond.T
        return _zeros_where(beyond, array) if self._clears_input else array, own, beyond

    def _cleared(self, y: Any, beyond: Array | None) -> Any:
        """Zeros beyond the lengths, where y (or dy) has time steps."""
        if beyond is None or not self._clears_output:
            return y
        array = as_real("dy", y)
        return _zeros_where(beyond, array) if array.shape[:2] == beyond.shape else array

    def _read_states(self, name: str, state: Any) -> list[Any]:
        count = self._recurrent_count
        if state is None:
            return [None] * count
        if not isinstance(state, (tuple, list)) or len(state) != count:
            got = f"{len(state)}" if isinstance(state, (tuple, list)) else type(state).__name__
            raise _errors.wrong_type(name, f"a tuple of {count}, one for each recurrent layer", got)
        return list(state)

    def _described(self) -> Iterator[tuple[str, Any, int]]:
        for m in self._members:
            yield m.path, m.layer, m.params.flat.size if m.params else 0

    def __repr__(self) -> str:
        inside = "".join(f"    {line}\n" for layer in self.layers for line in f"{layer!r},".splitlines())
        return f"Sequential(\n{inside})"


def _zeros_where(beyond: Array, array: Array) -> Array:
    if not beyond.any():
        return array
    own = array.copy()
    own[beyond] = 0
    return own


def _members(layers: tuple[Any, ...], above: str = "") -> Iterator[Member]:
    """The layers, and those of nested models in their place."""
    for number, layer in enumerate(layers):
        path = f"{above}{number}"
        if isinstance(layer, Sequential) and type(layer).forward is Sequential.forward:
            yield from _members(layer.layers, f"{path}.")
        else:
            yield member(path, layer)
