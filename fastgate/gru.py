"""Gated recurrent unit."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from fastgate._arrays import as_choice
from fastgate._recurrent import Recurrent


class GRU(Recurrent):
    """Gated recurrent unit (Cho et al. 2014).

    ::

        r, z = sigmoid(W x + b + U h + b')           each with its own weights
        n    = tanh(W x + b + r * (U h + b'))        reset_after=True
        n    = tanh(W x + U (r * h) + b)             reset_after=False
        h'   = (1 - z) * n + z * h

    Parameters
    ----------
    input_size, hidden_size, num_layers, batch_first, dropout, bidirectional, dtype, device, seed, init
        As for `LSTM`.
    bias : bool or "single"
        As for `LSTM`. With ``reset_after=True`` a single bias leaves the one inside ``r * (...)`` a vector of its own,
        ``bias_hn_l0`` (H). With ``reset_after=False`` there is always at most one, ``bias_l0``.
    reset_after : bool
        True: the reset gate acts on the product, as in cuDNN, PyTorch and (by default) Keras. False: on the state
        before it, as in the paper.

    Attributes
    ----------
    params : Params
        As for `LSTM`, with 3H rows; gates in the order r, z, n.

    Raises
    ------
    TypeError, ValueError
        If an option has a wrong type or value; the message names it.
    """

    _gates = 3

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
        reset_after: bool = True,
    ) -> None:
        self.reset_after = as_choice("reset_after", reset_after, (True, False))
        common: dict[str, Any] = {"bias": bias, "batch_first": batch_first, "dropout": dropout, "seed": seed}
        common |= {"bidirectional": bidirectional, "dtype": dtype, "device": device, "init": init}
        cell, options = ("gru", {}) if self.reset_after else ("gru_reset_before", {"reset_after": False})
        super().__init__(input_size, hidden_size, num_layers, cell=cell, options=options, **common)
