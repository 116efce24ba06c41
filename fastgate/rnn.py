"""Plain recurrent network."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from fastgate._arrays import as_choice
from fastgate._recurrent import Recurrent


class RNN(Recurrent):
    """Plain recurrent network (Elman 1990): ``h' = tanh(W x + b + U h + b')``, or relu.

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype, device, seed, init
        As for `LSTM`.
    nonlinearity : "tanh" or "relu"

    Attributes
    ----------
    params : Params
        As for `LSTM`, with H rows.

    Raises
    ------
    TypeError, ValueError
        If an option has a wrong type or value; the message names it.
    """

    _gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool | str = True,
        batch_first: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: npt.DTypeLike = "float32",
        device: str = "cpu",
        seed: int | None = None,
        init: str = "pytorch",
        nonlinearity: str = "tanh",
    ) -> None:
        self.nonlinearity = as_choice("nonlinearity", nonlinearity, ("tanh", "relu"))
        common: dict[str, Any] = {"bias": bias, "batch_first": batch_first, "dropout": dropout, "seed": seed}
        common |= {"bidirectional": bidirectional, "dtype": dtype, "device": device, "init": init}
        options = {} if nonlinearity == "tanh" else {"nonlinearity": nonlinearity}
        super().__init__(input_size, hidden_size, num_layers, cell=f"rnn_{nonlinearity}", options=options, **common)
