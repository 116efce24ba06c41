"""From sequences to sequences of another length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgate import _assembly, _errors, _passes
from fastgate._arrays import Array, as_limit, as_pairs, as_size
from fastgate._chained import States
from fastgate._model import Model, ModelGradients, ModelTape, check_model_tape
from fastgate._model_params import ModelParams
from fastgate._params import NamedArrays
from fastgate.embedding import Embedding
from fastgate.sequential import Sequential

Pair = tuple[npt.ArrayLike, npt.ArrayLike]


class EncoderDecoder(Model):
    """Two models: the second's recurrent layers start from the final states of the first's (Sutskever et al. 2014).

    In training the decoder reads the target up to each step and predicts the next (teacher forcing); `generate` lets it
    read what it has said itself.

    Lengths are those of each of the two. The only masks are those that ``Embedding(mask_zero=True)`` or `Masking` make:
    each holds within the model whose layer makes it, and ``tape.mask`` is the decoder's.

    Parameters
    ----------
    encoder : Sequential
        Its last layer is recurrent; only its final states are used.
    decoder : Sequential
        With as many recurrent layers, each with states like those of the encoder's: both LSTM or neither, the same
        `hidden_size`, and the same ``num_layers * D``.

    Attributes
    ----------
    params : mapping
        ``"encoder.0.weight"``, ..., ``"decoder.0.weight"``, ...; see `Sequential`.
    dtype : numpy.dtype
    device : str
    batch_first : bool

    Raises
    ------
    TypeError, ValueError
        If something is no `Sequential`, or they do not fit one another; the message names the layer.

    Examples
    --------
    >>> import numpy as np, fastgate as fg
    >>> encoder = fg.Sequential(fg.Embedding(20, 8), fg.GRU(8, 16))
    >>> decoder = fg.Sequential(fg.Embedding(12, 8), fg.GRU(8, 16), fg.Linear(16, 12))
    >>> model = fg.EncoderDecoder(encoder, decoder)
    >>> source, target = np.ones((2, 7), int), np.ones((2, 5), int)
    >>> y, tape = model.forward((source, target[:, :-1]), lengths=([7, 3], [4, 2]))
    >>> y.shape
    (2, 4, 12)
    """

    def __init__(self, encoder: Sequential, decoder: Sequential) -> None:
        for name, part in (("encoder", encoder), ("decoder", decoder)):
            if not isinstance(part, Sequential):
                raise _errors.wrong_type(name, "a Sequential", type(part).__name__)
        self.encoder, self.decoder = encoder, decoder
        members = [
            replace(m, path=f"{name}.{m.path}")
            for name, part in (("encoder", encoder), ("decoder", decoder))
            for m in part._members
        ]
        _assembly.check_common(members)
        self._check_states()
        self.dtype, self.batch_first = encoder.dtype, decoder.batch_first
        self.params = ModelParams([(m.path, m.params) for m in members if m.params], self.dtype)
        self._freeze()

    def _check_states(self) -> None:
        if not self.encoder._members[-1].is_recurrent:
            raise _errors.wrong_value("encoder", "an LSTM, GRU or RNN as its last layer", self.encoder.layers[-1])
        given, taken = (
            [m for m in part._members if m.is_recurrent] for part in (self.encoder, self.decoder)
        )  # fmt: skip
        if len(given) != len(taken):
            raise _errors.misplaced("decoder", f"{len(given)} recurrent layers, as the encoder has", len(taken))
        for giver, taker in zip(given, taken, strict=True):
            if (state := _state_of(giver.layer)) != _state_of(taker.layer):
                expected = f"a state of {state}, as encoder layer {giver.path} gives"
                raise _errors.misplaced(f"decoder {taker.place}", expected, _state_of(taker.layer))

    def __call__(self, x: Pair, lengths: Any = None) -> Array:
        """Predict each step of known targets: no dropout, nothing is kept.

        Parameters
        ----------
        x : pair of array_like, (source, target)
            As encoder and decoder take them; their batches are equal, their times are not.
        lengths : pair of (None or array_like of int, (B,)), optional
            Of sources and targets.

        Returns
        -------
        ndarray
            The decoder's output.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, shape or range; a note names the layer.
        """
        return self._infer(x, lengths, None)[0]

    def forward(
        self, x: Pair, *, lengths: Any = None, training: bool = True, rng_key: int | None = None
    ) -> tuple[Array, ModelTape]:
        """Predict each step of known targets and keep what `backward` needs.

        Parameters
        ----------
        x, lengths
            As in calling the model.
        training, rng_key
            As in `Sequential.forward`.

        Returns
        -------
        y : ndarray
            The decoder's output.
        tape : ModelTape
            ``tape.state`` is the tuple of the decoder's final states.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, shape or range; a note names the layer.
        """
        (source, target), (source_lengths, target_lengths) = as_pairs(x, lengths)
        snapshots, count = self.params._snapshots(), len(self.encoder._members)
        keys = _passes.keys_of(rng_key, count + len(self.decoder._members))
        _, first = self.encoder._forward(source, source_lengths, None, training, keys[:count], None)
        y, second = self.decoder._forward(target, target_lengths, None, training, keys[count:], first.state)
        return y, ModelTape(self.params, snapshots, [first, second], second.state, None, second.mask)

    def _infer(self, x: Any, lengths: Any, state: Any) -> tuple[Array, States, Array | None]:
        (source, target), (source_lengths, target_lengths) = as_pairs(x, lengths)
        _, first, _ = self.encoder._infer(source, source_lengths, state)
        return self.decoder._infer(target, target_lengths, first)

    def backward(self, tape: ModelTape, dy: npt.ArrayLike) -> ModelGradients:
        """From the gradient in y to those in source, target and all parameters, through the states.

        Parameters
        ----------
        tape : ModelTape
            From `forward` of this model, whose parameters have not been written since. It can be used again.
        dy : array_like, the shape of y

        Returns
        -------
        ModelGradients
            ``x`` (a pair, None where there are integers) and ``params``.

        Raises
        ------
        TypeError, ValueError
            If dy is not shaped as y, the tape is of another model, or parameters have been written since.
        """
        check_model_tape(tape, self)
        first, second = tape.tapes
        late = self.decoder.backward(second, dy)
        early = self.encoder.backward(first, None, late.state)
        flat = np.concatenate([early.params.flat, late.params.flat])  # wherever both lie
        return ModelGradients((early.x, late.x), (), NamedArrays(flat, self.params._shapes))

    def generate(
        self,
        source: npt.ArrayLike,
        start: int,
        stop: int | None,
        max_steps: int,
        *,
        lengths: npt.ArrayLike | None = None,
        temperature: float | None = None,
        seed: int | None = None,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Let the decoder, whose first layer is an `Embedding`, read its own last symbol.

        Parameters
        ----------
        source : array_like, a batch as the encoder takes it
        start : int
            What the decoder reads first.
        stop : int or None
            The symbol that ends a sequence; None: none does.
        max_steps : int
        lengths : array_like of int, (B,), optional
            Of the sources.
        temperature : float, above 0, optional
            None takes the likeliest symbol at each step. Otherwise one is drawn from softmax(logits / temperature).
        seed : int, optional
            For the draws; drawn at random if None.

        Returns
        -------
        symbols : ndarray of int, (B, n), or (n, B) with ``batch_first=False``
            n is at most `max_steps`; from its end on a row holds `stop`.
        lengths : ndarray of int, (B,)
            Symbols before `stop`.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, shape or range, the decoder does not begin with an `Embedding`, or it
            does not give one logit for each of its symbols.
        """
        table = self.decoder._members[0].layer
        if not isinstance(table, Embedding):
            raise _errors.wrong_value("decoder", "an Embedding as its first layer", self.decoder.layers[0])
        _, state = self.encoder.run(source, lengths=lengths)
        first = state[0][0] if isinstance(state[0], tuple) else state[0]
        if first.ndim != 3:
            raise _errors.wrong_shape("source", "of a batch of sequences", np.shape(source))
        heat = None if temperature is None else as_limit("temperature", temperature)
        rng = np.random.default_rng(None if seed is None else as_size("seed", seed, least=0))
        last = np.full(first.shape[1], as_size("start", start, least=0))
        end = -1 if stop is None else as_size("stop", stop, least=0)
        chosen, running = [], np.ones(last.shape, bool)
        for _ in range(as_size("max_steps", max_steps)):
            if not running.any():
                break
            logits, state = self.decoder.step(last, state)
            if logits.shape != (last.size, table.num_embeddings):
                raise _errors.wrong_shape("logits", f"(batch, {table.num_embeddings})", logits.shape)
            last = np.where(running, _choose(logits, heat, rng), end)
            running &= last != end
            chosen.append(last)
            last = np.where(running, last, start)  # whatever a row that has ended reads
        symbols = np.array(chosen, np.int64).reshape(len(chosen), running.size)
        counts = (symbols != end).sum(axis=0)
        return (symbols.T if self.batch_first else symbols), counts

    def _described(self) -> Iterator[tuple[str, Any, int]]:
        for name, part in (("encoder", self.encoder), ("decoder", self.decoder)):
            for path, layer, count in part._described():
                yield f"{name}.{path}", layer, count

    def __repr__(self) -> str:
        inside = "".join(f"    {line}\n" for part in (self.encoder, self.decoder) for line in f"{part!r},".splitlines())
        return f"EncoderDecoder(\n{inside})"


def _state_of(layer: Any) -> str:
    """What two layers must have in common to have the same states."""
    kind, size = "h and c" if layer._cell.has_memory else "h", layer._layout.output_size
    of_c = f", c of {layer.hidden_size}" if layer._layout.is_projected else ""
    return f"{kind}, ({layer.num_layers * (1 + layer.bidirectional)}, batch, {size}){of_c}"


def _choose(logits: Array, temperature: float | None, rng: np.random.Generator) -> Array:
    """(B, symbols) -> (B,)"""
    if temperature is not None:  # Gumbel's trick: the largest of noisy logits is a draw from their softmax
        logits = logits.astype(np.float64) / temperature + rng.gumbel(size=logits.shape)
    return np.asarray(logits.argmax(axis=1))
