"""Models from the JSON that RTNeural reads, and to it.

==============================================  =======================================================================
RTNeural                                        fastgate
==============================================  =======================================================================
lstm                                            LSTM(bias="single")
gru                                             GRU, whose two biases are the two rows of RTNeural's
dense, time-distributed-dense                   Linear, and an Activation if it has one
activation: tanh, relu, sigmoid, softmax, elu   Activation
prelu                                           Activation("leaky_relu") or ("relu"), if all slopes are 0.01 or 0; else
                                                refused
conv1d, conv2d, batchnorm, batchnorm2d          refused
unknown, which RTNeural leaves out unsaid       refused: take it out if it is a Dropout
==============================================  =======================================================================

RTNeural runs step by step, and gives an output at every step, whatever its JSON says of shapes: so does the model here.
In `lstm` and `gru` it computes tanh, whatever activation stands there: any other is refused.

To RTNeural, `Dropout` is left out, a stack becomes several layers, two biases of an LSTM become their sum, and zeros
stand for a bias that is missing. RNN, Embedding, LayerNorm, FinalState, bidirectional layers and all other options are
refused.

Besides, the JSON of GuitarML (NeuralPi, Proteus) is read: ``model_data`` of a "SimpleRNN" and its ``state_dict``,
where ``skip`` is 0; with another one the input is added to the output, for which fastgate has no layer.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from fastgate import _errors
from fastgate._arrays import as_dtype
from fastgate._atomic import atomic_file
from fastgate._endings import check_ending
from fastgate._model import on_cpu
from fastgate.exchange import rtneural_files, rtneural_guitar
from fastgate.exchange.rtneural_layers import Reader
from fastgate.exchange.rtneural_writer import description_of
from fastgate.sequential import Sequential


def from_rtneural(source: Any, *, dtype: npt.DTypeLike = "float32") -> Sequential:
    """A model from the JSON that RTNeural reads: the same numbers.

    What is known is listed in `fastgate.exchange.rtneural`. RTNeural is not needed.

    Parameters
    ----------
    source : str, path-like or mapping
        A file, or what it says: ``{"in_shape": [...], "layers": [...]}``. Weights may be arrays.
    dtype : "float32" or "float64"
        The JSON does not say it: it is that of the program which reads it, usually float.

    Returns
    -------
    Sequential
        With ``batch_first=True``.

    Raises
    ------
    TypeError, ValueError
        If this is no such JSON, is damaged, or asks for what is not computed here; the message names the layer.
    OSError
        If there is no such file, or it cannot be read.

    Examples
    --------
    >>> import fastgate as fg
    >>> dense = {"type": "dense", "activation": "tanh", "shape": [None, 1], "weights": [[[2.0], [3.0]], [0.5]]}
    >>> fg.from_rtneural({"in_shape": [None, 2], "layers": [dense]}).layers
    (Linear(2, 1), Activation('tanh'))
    """
    own_dtype = as_dtype(dtype)
    if isinstance(source, (str, os.PathLike)):
        name, content = f"path: {str(source)!r}", rtneural_files.read(source)
    elif isinstance(source, Mapping):
        name, content = "source", source
    else:
        raise _errors.wrong_type("source", "a path or a mapping", type(source).__name__)
    if isinstance(content, Mapping) and "model_data" in content:
        return rtneural_guitar.model_of(name, content, own_dtype)
    return Reader(name, own_dtype).model(content)


def to_rtneural(layer: Any, path: str | os.PathLike[str] | None = None) -> dict[str, Any] | None:
    """A layer or model as the JSON that RTNeural reads.

    What becomes of which layer is listed in `fastgate.exchange.rtneural`. Numbers are written in full.

    Parameters
    ----------
    layer : layer or Sequential
    path : str or path-like, optional
        Write it into this file, whole or not at all.

    Returns
    -------
    dict
        Of plain numbers, lists and strings. None if a path is given.

    Raises
    ------
    TypeError, ValueError
        If RTNeural has no equal of a layer, or a weight is not finite; the message names the layer.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import fastgate as fg
    >>> [layer["type"] for layer in fg.to_rtneural(fg.Sequential(fg.LSTM(1, 8), fg.Linear(8, 1)))["layers"]]
    ['lstm', 'dense']
    """
    found = description_of(on_cpu(layer))
    if path is None:
        return found
    check_ending(path, "to_rtneural")
    with atomic_file(path) as file:
        file.write(json.dumps(found, allow_nan=False).encode())
    return None
