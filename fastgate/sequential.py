"""A model whose layers follow one another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy.typing as npt

from fastgate import _assembly, _errors, _passes, _samples
from fastgate._arrays import Array, as_flag, is_there
from fastgate._chained import Chained, States
from fastgate._model import ModelGradients, ModelTape, check_model_tape
from fastgate._params import NamedArrays
from fastgate._places import given_back, placed
from fastgate._protocol import Member, member
from fastgate._valid import zeros_where
from fastgate.embedding import Embedding
from fastgate.stream import Streamed


class Sequential(Chained, Streamed):
    """Layers that follow one another: each one's output is the input of the next.

    Parameters
    ----------
    *layers : layers
        `LSTM`, `GRU`, `RNN`, `Embedding`, `Linear`, `Dropout`, `Activation`, `LayerNorm`, `FinalState`, `Masking`,
        `RepeatPast`, `Reverse`, `MergeDirections`, other `Sequential` models, and layers of your own, which need no
        more than

        * ``y, tape = layer.forward(x)``, which may also take any of the keywords ``training``, ``rng_key`` (a number
          that is another in every step and for every layer, or None), ``lengths``, ``mask`` and ``reset`` (as below, or
          None; not both of the first two, and lengths only where they say all);
        * ``gradients = layer.backward(tape, dy)``, an object with ``x`` (None where the input has no gradient) and
          ``params`` (name -> array);
        * if there are parameters, ``layer.params``, a `fastgate.Params`;
        * if it says which steps count behind it, ``layer.compute_mask(x, mask)`` of those that count before it, which
          returns a mask, or None where all count, also beyond the caller's lengths; without it these are the same.

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
    device : str
        "cuda" where all its parameters lie on a GPU, as after ``model.to("cuda")``; else "cpu".
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
        self._assemble(tuple(_members(layers)))
        self._freeze()

    def __call__(
        self,
        x: npt.ArrayLike,
        lengths: npt.ArrayLike | None = None,
        *,
        mask: npt.ArrayLike | None = None,
        reset: npt.ArrayLike | None = None,
    ) -> Array:
        """Run the model for inference: no dropout, nothing is kept.

        Parameters
        ----------
        x : array_like
            As the first layer takes it: (B, T, features), or integers (B, T) for an `Embedding`; or (T, B, ...) with
            ``batch_first=False``.
        lengths : array_like of int, (B,), optional
            Steps of each sequence, 0 to T, in any order. What lies beyond is never read; and where all layers act step
            by step, `y` is 0 there.
        mask : array_like of bool, (B, T), or (T, B) with ``batch_first=False``, or unbatched (T,), optional
            Not beside `lengths`. Steps where it is False are skipped, as those beyond the lengths. Layers which make a
            mask themselves, ``Embedding(mask_zero=True)`` and `Masking`, take away more of them, for what follows.
        reset : array_like of bool, shaped as `mask`, optional
            Before a step where it is True the states of that sequence's recurrent layers are set to zeros, as the
            layers describe it, and `RepeatPast` forgets what it would repeat.

        Returns
        -------
        ndarray
            The last layer's output.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, shape or range; a note names the layer.
        """
        return self.run(x, lengths=lengths, mask=mask, reset=reset)[0]

    def run(
        self,
        x: npt.ArrayLike,
        state: Sequence[Any] | None = None,
        *,
        lengths: npt.ArrayLike | None = None,
        mask: npt.ArrayLike | None = None,
        reset: npt.ArrayLike | None = None,
    ) -> tuple[Array, States]:
        """Run the model for inference, from and to the states of its recurrent layers.

        Parameters
        ----------
        x, lengths, mask, reset
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
        y, ends, _ = self._infer(x, lengths, state, mask, reset)
        return y, ends

    def forward(
        self,
        x: npt.ArrayLike,
        *,
        lengths: npt.ArrayLike | None = None,
        mask: npt.ArrayLike | None = None,
        reset: npt.ArrayLike | None = None,
        training: bool = True,
        rng_key: int | None = None,
        state: Sequence[Any] | None = None,
    ) -> tuple[Array, ModelTape]:
        """Run the model and keep what `backward` needs.

        Parameters
        ----------
        x, lengths, mask, reset
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
            ``tape.state`` is the tuple of the recurrent layers' final states, ``tape.mask`` says which steps of `y`
            count.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, shape or range; a note names the layer.
        """
        keys = _passes.keys_of(rng_key, len(self._members))
        return self._forward(x, lengths, mask, training, keys, state, reset)

    def backward(
        self,
        tape: ModelTape,
        dy: npt.ArrayLike | None = None,
        dstate: Sequence[Any] | None = None,
        *,
        per_sample: bool = False,
    ) -> ModelGradients:
        """From the gradient in y, in the final states, or in both to those in x, the first states and the parameters.

        Parameters
        ----------
        tape : ModelTape
            From `forward` of this model, whose parameters have not been written since. It can be used again.
        dy : array_like, the shape of y, optional
            Never read beyond a sequence's length, or where the mask is False, if `y` is 0 there.
        dstate : sequence, one gradient (or None) for each recurrent layer, optional
        per_sample : bool
            As in `backward` of a recurrent layer: ``params`` has a leading axis of the B sequences, or of 1. Not with
            layers of your own that have parameters.

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
        axis = int(not self.batch_first) if as_flag("per_sample", per_sample) else None
        if per_sample and any(map(is_there, (own.flat for own in self.params.layers))):
            raise _errors.not_on_device("per_sample", "cuda")
        samples = None if axis is None else _samples.count(self._members, tape.tapes, axis)
        axis = None if samples is None else axis
        gradients = self.params._new_gradients() if samples is None else self.params._new_gradients(samples)
        own = None if dy is None else self._cleared(placed(dy, self.device, self.dtype, "dy"), tape.beyond)
        ends, targets = self._read_states("dstate", dstate), self.params.split(gradients)
        dx, starts = _passes.backward(self._members, tape.tapes, own, ends, targets, axis)
        if per_sample and samples is None:
            gradients = NamedArrays(gradients.flat[None], gradients._shapes)
        if self._clears_input and dx is not None:
            dx = zeros_where(tape.beyond, dx)  # forward read zeros there, whatever x held
        if not tape.stays:
            return ModelGradients(given_back(dx), given_back(tuple(starts)), gradients)
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
            `FinalState`, `Reverse`, `RepeatPast` behind a layer that makes a mask, and a layer of your own whose
            `forward` takes lengths or a mask.
        """
        if self._unsteppable is not None:
            raise _errors.whole_sequences(self._unsteppable.place)
        y, ends = _passes.step(self._members, x, self._read_states("state", state))
        return y, tuple(ends)

    def _streamed(self) -> tuple[list[tuple[str, Any]], tuple[int | None, ...]]:
        if self._unsteppable is not None:
            raise _errors.whole_sequences(self._unsteppable.place, "stream")
        recurrent = [m for m in self._members if m.is_recurrent]
        for m in recurrent:
            if m.layer.bidirectional:
                raise _errors.no_single_step("stream", f"{m.place}, which is bidirectional,")
        first = self._members[0].layer
        features = () if isinstance(first, Embedding) else (_assembly.features_taken(first),)
        return [(f"{m.path}.", m.layer) for m in recurrent], features


def _members(layers: tuple[Any, ...], above: str = "") -> Iterator[Member]:
    """The layers, and those of nested models in their place."""
    for number, layer in enumerate(layers):
        path = f"{above}{number}"
        if isinstance(layer, Sequential) and type(layer).forward is Sequential.forward:
            yield from _members(layer.layers, f"{path}.")
        else:
            yield member(path, layer)
