"""Plain recurrent network."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from fastgate._activations import Activation, as_activation, as_clip, with_parameters
from fastgate._recurrent import Recurrent


class RNN(Recurrent):
    """Plain recurrent network (Elman 1990): ``h' = tanh(W x + b + U h + b')``, or relu and others.

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype, device, precision, seed, init
        As for `LSTM`.
    nonlinearity : activation
        "tanh", "relu" or another one; see `LSTM`.
    clip : float, optional
        What enters it is clipped to [-clip, clip]; see `LSTM`.
    recurrent_dropout : float, 0 to below 1
        In training the h in ``U h`` is multiplied by a mask; see `LSTM`.

    Attributes
    ----------
    params : Params
        As for `LSTM`, with H rows.

    Raises
    ------
    TypeError, ValueError
        If an option has a wrong type or value; the message names it.
    """

    _gates = "h"

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
        precision: str = "highest",
        seed: int | None = None,
        init: str = "pytorch",
        nonlinearity: Activation = "tanh",
        clip: float | None = None,
        recurrent_dropout: float = 0.0,
    ) -> None:
        self.nonlinearity = as_activation("nonlinearity", nonlinearity)
        self.clip = as_clip(clip)
        common: dict[str, Any] = {"bias": bias, "batch_first": batch_first, "dropout": dropout, "seed": seed}
        common |= {"bidirectional": bidirectional, "dtype": dtype, "device": device, "init": init}
        common["precision"] = precision
        common["recurrent_dropout"] = recurrent_dropout
        cell = {"kind": "rnn", "activations": (with_parameters(self.nonlinearity),), "clip": self.clip}
        usual = {"nonlinearity": "tanh", "clip": None}
        super().__init__(input_size, hidden_size, num_layers, cell=cell, usual=usual, **common)
