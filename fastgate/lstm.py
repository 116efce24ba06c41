"""Long short-term memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy.typing as npt

from fastgate._activations import Activation, as_activations, as_clip, with_parameters
from fastgate._arrays import as_flag, as_size
from fastgate._concatenated import Equation, Gates
from fastgate._recurrent import Recurrent

USUAL = ("sigmoid", "tanh", "tanh")


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
    device : "cpu" or "cuda"
        "cuda": on an NVIDIA GPU, see ``help("fastgate.cuda")``; needs the extra `cuda`.
    precision : "highest", "high", "medium", "bfloat16" or "float16"
        To what numbers of float32 on a GPU may be rounded before they are multiplied, for its tensor cores; sums,
        states and all else stay float32, and so does a recurrence whose weights do not fit into registers. "highest":
        to nothing. "high": to the sum of two bfloat16. "medium": to TF32. "bfloat16" and "float16": to these; with
        "float16" gradients are multiplied as bfloat16, since float16 has no room for small ones, so that no loss needs
        a scale. In float16 an input or a weight beyond 65504 is infinite, and `y` may be NaN. In the order of these
        names, `y` is at most 6e-6, 4e-4, 3e-3 and 4e-4 off, and gradients of weights 6e-6, 4e-4, 3e-3 and 3e-3 of the
        largest of them: a model's figures, for initial weights and normal inputs over 100 steps, H from 64 to 1024.
        The CPU, and float64, always have the highest.
    seed : int, optional
        For the initial parameters and the dropout masks; drawn at random if None.
    init : "pytorch" or "keras"
        Uniform in +-1/sqrt(H); or Glorot uniform, orthogonal, and zero biases but one for the forget gate.
    proj_size : int, below hidden_size
        P: ``h' = W_hr (o * tanh(c'))`` has P units (Sak et al. 2014), and so has `y`; c keeps H. 0 for no projection.
    activations : three activations
        Of the gates i, f, o; of g; and of c'. Each is a name or, with parameters alpha and beta that are not the usual
        ones, a tuple such as ``("hard_sigmoid", 1/6, 0.5)``. Names and usual parameters (definitions: ONNX's operator
        LSTM): sigmoid, tanh, relu, linear, affine (1, 0), leaky_relu (0.01), thresholded_relu (1), scaled_tanh (1, 1),
        hard_sigmoid (0.2, 0.5), elu (1), softsign, softplus.
    clip : float, optional
        What enters the activations of i, f, g and o is clipped to [-clip, clip], and its gradient is 0 beyond. c is not
        clipped.
    coupled : bool
        There is no forget gate, but ``f = 1 - i`` (Greff et al. 2017).
    peepholes : bool
        Gates see the memory: i and f also add ``p * c`` and o adds ``p * c'`` (Gers and Schmidhuber 2000).
    recurrent_dropout : float, 0 to below 1
        In training the h in ``U h`` is dropped: every gate multiplies it by a mask of its own, drawn anew for each
        sequence, layer and direction and the same at all steps (Gal and Ghahramani 2016; exactly as in Keras). What is
        kept is divided by 1 - recurrent_dropout. With a projection it is the projected h.

    Attributes
    ----------
    params : Params
        ``weight_ih_l0`` (4H, I), ``weight_hh_l0`` (4H, H), ``bias_ih_l0`` (4H), ``bias_hh_l0`` (4H), then those of
        ``l0_reverse`` and of further layers; gates in the order i, f, g, o. With ``bias="single"`` there is one
        ``bias_l0`` (4H). With ``proj_size`` ``weight_hh_l0`` is (4H, P), and there is a ``weight_hr_l0`` (P, H). With
        ``coupled`` there are 3H rows, of i, g, o. Peepholes are ``peephole_i_l0``, ``peephole_f_l0`` (unless coupled)
        and ``peephole_o_l0``, (H) each.

    Notes
    -----
    Other options than the usual ones, and each combination of them, have kernels of their own, as fast as the others
    and compiled on first use.

    So has training with recurrent dropout. Its kernels multiply gate by gate, the tape keeps what each gate has
    multiplied (4H numbers more for every step of a sequence), and a batch of few sequences is not shared out over
    threads by its units. Inference does not know of it.

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
        proj_size: int = 0,
        activations: Sequence[Activation] = USUAL,
        clip: float | None = None,
        coupled: bool = False,
        peepholes: bool = False,
        recurrent_dropout: float = 0.0,
    ) -> None:
        self.proj_size = as_size("proj_size", proj_size, least=0)
        self.activations = as_activations("activations", activations, USUAL)
        self.clip = as_clip(clip)
        self.coupled = as_flag("coupled", coupled)
        self.peepholes = as_flag("peepholes", peepholes)
        self._gates = "igo" if self.coupled else "ifgo"
        common: dict[str, Any] = {"bias": bias, "batch_first": batch_first, "dropout": dropout, "seed": seed}
        common |= {"bidirectional": bidirectional, "dtype": dtype, "device": device, "init": init}
        common["precision"] = precision
        common["recurrent_dropout"] = recurrent_dropout
        cell = {
            "kind": "lstm",
            "activations": tuple(map(with_parameters, self.activations)),
            "clip": self.clip,
            "coupled": self.coupled,
            "peepholes": self.peepholes,
            "projected": self.proj_size > 0,
        }
        usual = {"proj_size": 0, "activations": USUAL, "clip": None, "coupled": False, "peepholes": False}
        super().__init__(
            input_size, hidden_size, num_layers, cell=cell, usual=usual, proj_size=self.proj_size, **common
        )

    @classmethod
    def from_concatenated(
        cls,
        gates: Gates,
        *,
        order: str = "hx",
        batch_first: bool = True,
        dtype: npt.DTypeLike | None = None,
    ) -> Self:
        """A layer from weights printed as one matrix over ``[h, x]``: ``sigmoid(W [h, x] + b)``, and so on.

        Parameters
        ----------
        gates : mapping
            From the names "input", "forget", "candidate" (also called g, or c with a tilde) and "output" to each gate's
            W (H, H + I), or to (W, b) with b (H) or (H, 1). Gates whose rows lie in one matrix, one block of H after
            the other, are named together: ``{"input candidate forget output": (W, b)}`` with W (4H, H + I). Code that
            multiplies from the right, ``[h, x] W``, has the transpose of W.
        order : "hx" or "xh"
            Which columns come first.
        batch_first
            As for `LSTM`.
        dtype : "float32" or "float64", optional
            By default that of the weights: float32 if none needs more.

        Returns
        -------
        LSTM
            One layer of one direction, with a single bias, or none if no gate has one. Its parameters are the numbers
            given: they are rounded, once, only if their dtype is wider than the layer's.

        Raises
        ------
        TypeError, ValueError
            If a gate is missing, unknown or named twice, an array has a wrong shape or is not of real numbers, or an
            option has a wrong value; the message names it.

        Examples
        --------
        >>> import numpy as np, fastgate as fg
        >>> W, b = np.zeros((4 * 5, 5 + 3)), np.zeros(4 * 5)
        >>> fg.LSTM.from_concatenated({"forget input candidate output": (W, b)})
        LSTM(3, 5, bias='single', dtype='float64')
        """
        equation = Equation(gates, ("input", "forget", "candidate", "output"), order)
        bias = "single" if equation.b else False
        sizes = equation.input_size, equation.hidden_size
        layer = cls(*sizes, bias=bias, batch_first=batch_first, dtype=equation.dtype(dtype), seed=0)
        layer.params.update(equation.params(layer.dtype, bias=bool(bias)))
        return layer
