"""The demo's model in PyTorch: the same layers, initial weights, loss and optimiser, as PyTorch does them fastest."""

from collections.abc import Mapping, Sequence
from math import log
from typing import Any

import numpy as np

from fastgate._arrays import Array
from fastgate.demo.model import MAX_NORM, Sizes


class TorchCharModel:
    """Trains as `CharModel` does; `initial` are its parameters before the first step."""

    def __init__(self, torch: Any, sizes: Sizes, initial: Sequence[Mapping[str, Array]]) -> None:
        nn = torch.nn
        cell = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[sizes.cell]
        self._torch = torch
        self._layers = (
            nn.Embedding(sizes.symbols, sizes.embedded),
            cell(sizes.embedded, sizes.hidden, sizes.layers, batch_first=True),
            nn.Linear(sizes.hidden, sizes.symbols),
        )
        for layer, arrays in zip(self._layers, initial, strict=True):
            layer.load_state_dict({name: torch.tensor(array.copy()) for name, array in arrays.items()})
        self._parameters = [parameter for layer in self._layers for parameter in layer.parameters()]
        self._optimizer = torch.optim.Adam(self._parameters, fused=True)

    def train(self, x: Array, target: Array, state: Any, rate: float) -> tuple[float, Any]:
        """As `CharModel.train`."""
        torch, (embedding, recurrent, output) = self._torch, self._layers
        y, state = recurrent(embedding(torch.from_numpy(np.ascontiguousarray(x))), state)
        labels = torch.from_numpy(np.ascontiguousarray(target))
        loss = torch.nn.functional.cross_entropy(output(y).flatten(0, 1), labels.flatten())

        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, MAX_NORM)
        self._optimizer.param_groups[0]["lr"] = rate
        self._optimizer.step()
        state = tuple(part.detach() for part in state) if isinstance(state, tuple) else state.detach()
        return loss.item() / log(2), state
