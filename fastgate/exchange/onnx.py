"""Models from ONNX, and to it.

========================================================  ==============================================================
ONNX                                                      fastgate
========================================================  ==============================================================
LSTM, GRU, RNN: all attributes, all inputs                a layer of one direction or two; "reverse" is a layer that is
                                                          given its sequences turned round; directions of different
                                                          activations are two layers
LSTM input_forget, P, clip                                coupled, peepholes, clip
GRU linear_before_reset=0                                 reset_after=False, whose two biases are added, once
activations: all that ONNX names, alpha, beta             activations, nonlinearity
`onnx_arithmetic.OPERATORS`, `onnx_shapes.OPERATORS`      NumPy
control flow, training, types other than float32,         refused, by the name of the node and the attribute
float64, integers and bool
========================================================  ==============================================================

A sequence of length 0 leaves its initial state as it is, where ONNX Runtime gives zeros, and ONNX says nothing.
"""

from __future__ import annotations

import os
from typing import Any

from fastgate._arrays import as_flag
from fastgate._atomic import atomic_file
from fastgate._endings import check_ending
from fastgate._model import on_cpu
from fastgate.exchange import onnx_files
from fastgate.exchange.onnx_graph import OnnxModel
from fastgate.exchange.onnx_writer import ModelWriter


def from_onnx(source: Any) -> OnnxModel:
    """A graph of ONNX, run by fastgate's layers and NumPy; what it asks for that is not computed is an error.

    The package onnx is needed (with the extra `onnx`), which reads the file and checks it; nothing else of it is used.

    Parameters
    ----------
    source : str, path-like, bytes or onnx.ModelProto
        Opset 7 or newer. Tensors may lie in files beside that of a path.

    Returns
    -------
    OnnxModel
        ``run({name: array})`` computes all outputs; `layers` are the recurrent ones, with their gradients; and
        `model`, where the graph is a plain chain of layers, is a `Sequential` that can be trained.

    Raises
    ------
    TypeError, ValueError
        If this is no valid ONNX model, or a node has an operator, attribute, shape or dtype that is not computed here;
        the message names it.
    ImportError
        If the package onnx is not installed.
    OSError
        If there is no such file, or it cannot be read.
    """
    return OnnxModel(onnx_files.read(source))


def to_onnx(
    layer: Any, path: str | os.PathLike[str] | None = None, *, lengths: bool = False, state: bool = False
) -> Any:
    """A layer or `Sequential` model as an ONNX graph: of opset 17, for inference, with any sizes of batch and time.

    Its input is ``x`` (of an `Embedding` in int64), laid out as the layer has it, and its output ``y``. Without a
    recurrent layer it takes a batch of rows.

    Parameters
    ----------
    layer : layer or Sequential
    path : str or path-like, optional
        Write it into this file, whole or not at all.
    lengths : bool
        It also takes ``lengths``, int32 (batch,).
    state : bool
        It also takes the states of recurrent layers, and gives the final ones: ``h_0``, ``c_0`` and ``h_n``, ``c_n``;
        in a model with the layer's number before it, as in ``1.h_0``.

    Returns
    -------
    onnx.ModelProto
        None if a path is given.

    Raises
    ------
    TypeError, ValueError
        If ONNX has no equal: of proj_size, reset_carry, quantized layers, `EncoderDecoder` and layers of your own; and
        of a clip or an activation's parameter in float64 that float32 cannot hold, as ONNX's attributes are.
    ImportError
        If the package onnx is not installed.
    OSError
        If the file cannot be written.
    """
    onnx = onnx_files.package()
    proto = ModelWriter(onnx, on_cpu(layer), lengths=as_flag("lengths", lengths), state=as_flag("state", state)).proto()
    if path is None:
        return proto
    check_ending(path, "to_onnx")
    with atomic_file(path) as file:
        file.write(proto.SerializeToString())
    return None
