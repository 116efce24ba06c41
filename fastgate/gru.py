"""Gated recurrent unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from fastgate import _errors
from fastgate._activations import Activation, as_activations, as_clip, with_parameters
from fastgate._arrays import as_flag, as_floating
from fastgate._concatenated import Equation, Gates, as_vector
from fastgate._recurrent import Recurrent

USUAL = ("sigmoid", "tanh")


class GRU(Recurrent):
    """Gated recurrent unit (Cho et al. 2014).

    ::

        r, z = sigmoid(W x + b + U h + b')           each with its own weights
        n    = tanh(W x + b + r * (U h + b'))        reset_after=True
        n    = tanh(W x + U (r * h) + b)             reset_after=False
        h'   = (1 - z) * n + z * h
        h'   = (1 - z) * n + z * (r * h)             reset_carry=True, as some print it

    Parameters
    ----------
    input_size, hidden_size, num_layers, batch_first, dropout, bidirectional, dtype, device, precision, seed, init
        As for `LSTM`.
    bias : bool or "single"
        As for `LSTM`. With ``reset_after=True`` a single bias leaves the one inside ``r * (...)`` a vector of its own,
        ``bias_hn_l0`` (H). With ``reset_after=False`` there is always at most one, ``bias_l0``.
    reset_after : bool
        True: the reset gate acts on the product, as in cuDNN, PyTorch and (by default) Keras. False: on the state
        before it, as in the paper.
    reset_carry : bool
        True: the reset gate also acts on the state that is carried over; with ``reset_after=False`` only.
    activations : two activations
        Of the gates r and z, and of n; see `LSTM`.
    clip : float, optional
        What enters the activations is clipped to [-clip, clip]; see `LSTM`.
    recurrent_dropout : float, 0 to below 1
        In training the h in ``U h``, or in ``U (r * h)``, is multiplied by a mask, each gate's own; see `LSTM`. As in
        Keras the h in ``z * h`` is not, and so neither is the r * h there.

    Attributes
    ----------
    params : Params
        As for `LSTM`, with 3H rows; gates in the order r, z, n.

    Raises
    ------
    TypeError, ValueError
        If an option has a wrong type or value; the message names it.
    """

    _gates = "rzn"

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
        reset_after: bool = True,
        reset_carry: bool = False,
        activations: Sequence[Activation] = USUAL,
        clip: float | None = None,
        recurrent_dropout: float = 0.0,
    ) -> None:
        self.reset_after = as_flag("reset_after", reset_after)
        self.reset_carry = as_flag("reset_carry", reset_carry)
        if reset_after and reset_carry:
            raise _errors.carry_of_reset_after()
        self.activations = as_activations("activations", activations, USUAL)
        self.clip = as_clip(clip)
        common: dict[str, Any] = {"bias": bias, "batch_first": batch_first, "dropout": dropout, "seed": seed}
        common |= {"bidirectional": bidirectional, "dtype": dtype, "device": device, "init": init}
        common["precision"] = precision
        common["recurrent_dropout"] = recurrent_dropout
        kind = "gru" if reset_after else "gru_reset_carry" if reset_carry else "gru_reset_before"
        cell = {"kind": kind, "activations": tuple(map(with_parameters, self.activations)), "clip": self.clip}
        usual = {"reset_after": True, "reset_carry": False, "activations": USUAL, "clip": None}
        super().__init__(input_size, hidden_size, num_layers, cell=cell, usual=usual, **common)

    @classmethod
    def from_concatenated(
        cls,
        gates: Gates,
        *,
        z_keeps: bool,
        order: str = "hx",
        inner_bias: npt.ArrayLike | None = None,
        reset_after: bool = False,
        reset_carry: bool = False,
        batch_first: bool = True,
        dtype: npt.DTypeLike | None = None,
    ) -> Self:
        """A layer from weights printed as one matrix over ``[h, x]``: ``n = tanh(W [r * h, x] + b)``, and so on.

        Unlike in `GRU` the default is ``reset_after=False``, because that is what this equation says.

        Parameters
        ----------
        gates : mapping
            From the names "reset", "update" and "candidate" to W or (W, b), as for `LSTM.from_concatenated`.
        z_keeps : bool
            True: ``h' = (1 - z) * n + z * h``, as in `GRU`. False: ``h' = (1 - z) * h + z * n``; the update gate of the
            layer is then 1 - z, which is the same gate with its weights and bias negated.
        order, batch_first, dtype
            As for `LSTM.from_concatenated`.
        inner_bias : array_like, (H,) or (H, 1), optional
            One more bias of the candidate, printed inside the product. With ``reset_after=False``, as in
            ``tanh(W x + U (r * h + inner_bias) + b)``, it becomes ``U inner_bias + b``, an exact sum that is rounded to
            float64 and then to the layer's dtype. With ``reset_after=True``, as in ``tanh(W x + b + r * (U h +
            inner_bias))``, it is ``bias_hn_l0``.
        reset_after, reset_carry
            As for `GRU`. With ``z_keeps=False`` the carry is ``h' = (1 - z) * r * h + z * n``.

        Returns
        -------
        GRU
            As for `LSTM.from_concatenated`.

        Raises
        ------
        TypeError, ValueError
            As for `LSTM.from_concatenated`.
        """
        equation = Equation(gates, ("reset", "update", "candidate"), order)
        if not as_flag("z_keeps", z_keeps):
            equation.negate("update")
        inner = None if inner_bias is None else as_vector("inner_bias", inner_bias, equation.hidden_size)
        bias = "single" if equation.b or inner is not None else False
        layer = cls(
            equation.input_size,
            equation.hidden_size,
            bias=bias,
            batch_first=batch_first,
            dtype=equation.dtype(dtype, inner),
            seed=0,
            reset_after=reset_after,
            reset_carry=reset_carry,
        )
        own_inner = {}
        if layer.reset_after and bias:
            zeros = np.zeros(layer.hidden_size)
            own_inner["bias_hn_l0"] = as_floating("inner_bias", zeros if inner is None else inner, layer.dtype)
        elif inner is not None:
            equation.fold("candidate", inner)
        layer.params.update(equation.params(layer.dtype, bias=bool(bias)) | own_inner)
        return layer
