"""Long short-term memory."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from fastgate._recurrent import Recurrent


class LSTM(Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber 1997; forget gate: Gers, Schmidhuber and Cummins 2000).

    ::

        i, f, o = sigmoid(W x + b + U h + b')        each with its own weights
        g       = tanh(W x + b + U h + b')
        c'      = f * c + i * g
        h'      = o * tanh(c')

    Parameters
    ----------
    input_size : int
        I, features of the input.
    hidden_size : int
        H, units of each layer and direction.
    num_layers : int
        Layers stacked on one another.
    bias : bool or "single"
        True: two vectors per layer, as in PyTorch. "single": one, as in Keras and the papers. False: none.
    batch_first : bool
        Arrays are (B, T, ...); else (T, B, ...).
    dropout : float, 0 to below 1
        Applied to the outputs of every layer but the last, in training.
    bidirectional : bool
        A second direction reads each sequence from its end; D = 2, and outputs are side by side, forward first. States
        lie layer by layer, forward before reverse: ``h[-2]`` and ``h[-1]`` are those of the top layer.
    dtype : "float32" or "float64"
        Everything is computed in it.
    device : "cpu"
    seed : int, optional
        For the initial parameters and the dropout masks; drawn at random if None.
    init : "pytorch" or "keras"
        Uniform in +-1/sqrt(H); or Glorot uniform, orthogonal, and zero biases but one for the forget gate.

    Attributes
    ----------
    params : Params
        ``weight_ih_l0`` (4H, I), ``weight_hh_l0`` (4H, H), ``bias_ih_l0`` (4H), ``bias_hh_l0`` (4H), then those of
        ``l0_reverse`` and of further layers; gates in the order i, f, g, o. With ``bias="single"`` there is one
        ``bias_l0`` (4H).

    Raises
    ------
    TypeError, ValueError
        If an option has a wrong type or value; the message names it.

    Examples
    --------
    >>> import numpy as np, fastgate as fg
    >>> layer = fg.LSTM(3, 5, seed=0)
    >>> y, (h, c) = layer(np.zeros((2, 7, 3)))
    >>> y.shape, h.shape, c.shape
    ((2, 7, 5), (1, 2, 5), (1, 2, 5))
    """

    _gates = 4
    _forget_gate = 1

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
    ) -> None:
        common: dict[str, Any] = {"bias": bias, "batch_first": batch_first, "dropout": dropout, "seed": seed}
        common |= {"bidirectional": bidirectional, "dtype": dtype, "device": device, "init": init}
        super().__init__(input_size, hidden_size, num_layers, cell="lstm", options={}, **common)
