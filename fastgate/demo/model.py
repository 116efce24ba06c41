"""A character-level language model: what the demo trains."""

from collections.abc import Iterator
from math import log
from typing import Any, NamedTuple

import numpy as np

from fastgate._arrays import Array
from fastgate._params import NamedArrays, Params
from fastgate.clipping import clip_gradient_norm
from fastgate.demo.text import Codes
from fastgate.embedding import Embedding
from fastgate.gru import GRU
from fastgate.linear import Linear
from fastgate.losses import cross_entropy
from fastgate.lstm import LSTM
from fastgate.optimizers import Adam
from fastgate.rnn import RNN

CELLS = {"lstm": LSTM, "gru": GRU, "rnn": RNN}
EMBEDDED = 64
LEARNING_RATE = 4e-3
MAX_NORM = 1.0
EVALUATED = 1000  # characters at once


class Sizes(NamedTuple):
    symbols: int
    cell: str
    hidden: int
    layers: int
    seed: int

    @property
    def embedded(self) -> int:
        return min(EMBEDDED, self.hidden)


class CharModel:
    """Embedding, recurrent layers, Linear; trained by back-propagation through a part of a stream at a time."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self.embedding = Embedding(sizes.symbols, sizes.embedded, seed=sizes.seed)
        make = CELLS[sizes.cell]
        self.recurrent = make(sizes.embedded, sizes.hidden, sizes.layers, init="keras", seed=sizes.seed + 1)
        self.output = Linear(sizes.hidden, sizes.symbols, init="keras", seed=sizes.seed + 2)
        self._optimizer = Adam(LEARNING_RATE)

    @property
    def params(self) -> list[Params]:
        return [self.embedding.params, self.recurrent.params, self.output.params]

    def train(self, x: Array, target: Array, state: Any, rate: float) -> tuple[float, Any]:
        """One step on x (B,T), whose next characters are `target`; the loss in bits, and the state after x."""
        embedded, embedding_tape = self.embedding.forward(x)
        y, state, tape = self.recurrent.forward(embedded, state, copy=False)
        logits, output_tape = self.output.forward(y)
        loss, d_logits = cross_entropy(logits, target)

        d_output = self.output.backward(output_tape, d_logits)
        d_recurrent = self.recurrent.backward(tape, d_output.x)
        d_embedding = self.embedding.backward(embedding_tape, d_recurrent.x)

        gradients: list[NamedArrays] = [d_embedding.params, d_recurrent.params, d_output.params]
        clip_gradient_norm(gradients, MAX_NORM)
        self._optimizer.lr = rate
        self._optimizer.step(self.params, gradients)
        return loss / log(2), state

    def bits(self, codes: Codes) -> float:
        """Bits per character of one stream, each character predicted from all before it."""
        state, total = None, 0.0
        for at in range(0, len(codes) - 1, EVALUATED):
            x, target = codes[at : at + EVALUATED], codes[at + 1 : at + EVALUATED + 1]
            y, state = self.recurrent(self.embedding(x[: len(target)]), state)
            total += cross_entropy(self.output(y), target)[0] * len(target)
        return total / (len(codes) - 1) / log(2)

    def sample(self, start: int, *, never: int, temperature: float, seed: int) -> Iterator[int]:
        """What follows the symbol `start`, one at a time and without end; never the symbol `never`."""
        rng, state, code = np.random.default_rng(seed), None, start
        while True:
            y, state = self.recurrent.step(self.embedding(np.array(code)), state)
            logits = self.output(y).astype(np.float64) / temperature
            logits[never] = -np.inf
            # Gumbel's trick: the largest of noisy logits is a draw from their softmax.
            code = int(np.argmax(logits + rng.gumbel(size=len(logits))))
            yield code
