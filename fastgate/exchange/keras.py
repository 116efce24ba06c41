"""Layers and models from Keras 3, and to it.

=====================================================  ===================================================
Keras                                                  fastgate
=====================================================  ===================================================
LSTM, GRU, SimpleRNN; RNN of their cells               LSTM, GRU, RNN
  activation, recurrent_activation: tanh, sigmoid,     activations, nonlinearity
  relu, linear, hard_sigmoid, elu, leaky_relu,
  softsign, softplus
  use_bias; reset_after; recurrent_dropout             bias ("single"; True for two in a GRU); the same
  dropout                                              Dropout(same_every_step=True) before it
  go_backwards                                         Reverse before it
  return_sequences=False                               FinalState behind it
  return_sequences=True behind a mask                  RepeatPast behind it, unless zero_output_for_mask
  return_state                                         nothing: layers return it anyway; refused in a model
  stateful                                             nothing: pass on the state that `run` returns
RNN of StackedRNNCells                                 one layer for each cell
Bidirectional: concat, sum, mul, ave                   bidirectional=True; MergeDirections but for concat
Embedding: mask_zero; Masking                          the same
Dense; TimeDistributed(Dense)                          Linear, and Activation
Activation, ReLU, LeakyReLU, ELU, Softmax              Activation, where it has the same function
LayerNormalization over the last axis                  LayerNorm; without scale or center it is refused
Dropout; SpatialDropout1D                              Dropout; the same with same_every_step=True
InputLayer; Flatten, Reshape that change nothing       nothing
Sequential; functional models that are a chain         Sequential, all layers of nested ones in one row
any other layer, option or graph; classes of others    refused by name; never imported or run
=====================================================  ===================================================

What concerns training alone is not taken over: initializers, regularizers, constraints, `trainable`, seeds. Noise of
dropout is fastgate's own, and that of ``dropout`` one for both directions of `Bidirectional`, where Keras has two, and
for all gates, where Keras has one for each beside ``recurrent_dropout``. Policies of 16 bits (mixed_float16, ...)
become float32, which computes more exactly; weights stored as bfloat16 in a file are refused. hard_sigmoid of a file
of Keras 2 is that of Keras 2.

Two things are refused where a mask can arrive: ``go_backwards`` with ``return_sequences``, as Keras hands the mask on
unreversed beside a reversed output; and ``zero_output_for_mask`` without ``return_sequences``.

To Keras the same table is read from right to left. A stack of several layers becomes one layer for each, two biases
become their sum (but for a GRU with ``reset_after=True``), and there are no peepholes, projections, clips and coupled
gates, no ``batch_first=False``, ``padding_idx`` and FinalState of all layers: these are refused. Activations must be of
the table, so hard_sigmoid with 1/6 and 0.5.

A file is read in Python alone. Of HDF5 it may hold what Keras writes, and nothing else: see `fastgate.exchange.hdf5`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastgate import _errors
from fastgate._endings import check_ending
from fastgate._model import on_cpu
from fastgate.exchange import errors, keras_chain, keras_export, keras_files, keras_writer
from fastgate.exchange.keras_description import MODELS, RECURRENT, Layer, Reader
from fastgate.exchange.keras_files import Contents
from fastgate.exchange.keras_sources import Flat, Live
from fastgate.final_state import FinalState
from fastgate.sequential import Sequential


def from_keras(source: Any, *, into: Any = None) -> Any:
    """A layer or model from Keras: the same parameters to the last bit, or an error that says why not.

    What becomes of which layer is listed in `fastgate.exchange.keras`. Files are read without Keras, h5py or a backend,
    and nothing of them is ever run. Sizes are compared with what is stored before memory is asked for.

    Parameters
    ----------
    source : keras layer or model, str or path-like
        A built layer or model; or the name of a file: ``.keras``, ``.weights.h5``, or a whole model in the ``.h5`` of
        Keras 2 (and of Keras 3, which can still write it).
    into : layer or model of fastgate, optional
        Write the weights into this one, and return it. Needed for ``.weights.h5``, which says nothing of the layers'
        options. Layers are told by class and order, as Keras itself does. Of two biases, where Keras has one, the
        second becomes 0. Options are not compared.

    Returns
    -------
    layer or model
        Its parameters are copies. A recurrent layer by itself becomes one of fastgate, which returns outputs of all
        steps and the final state, whatever return_sequences and return_state say, if it has none of the options that
        need further parts; then, and of a model, it is a `Sequential`.

    Raises
    ------
    TypeError, ValueError
        If something has no equal in fastgate or does not fit, or the file is damaged or foreign. The message names the
        layer and option.
    OSError
        If there is no such file, or it cannot be read.

    Examples
    --------
    >>> import keras, fastgate as fg
    >>> layer = keras.layers.LSTM(5)
    >>> layer.build((None, None, 3))
    >>> fg.from_keras(layer)
    LSTM(3, 5, bias='single')
    """
    with _opened(source) as found:
        if into is not None:
            layers = keras_export.layers_of(into, "into")
            is_model = found.config is None or found.config.get("class_name") in MODELS
            keras_writer.read_into(layers, found.source, is_model)
            made = into
        elif found.config is None:
            raise errors.weights_alone()
        else:
            chain = list(Reader(found.generation).chain(found.config, found.source))
            if isinstance(found.source, Flat):
                found.source.check_done()
            made = _layer_or_model(chain, keras_chain.parts_of(chain), found)
    return made


def to_keras(layer: Any, path: str | os.PathLike[str] | None = None) -> Any:
    """A layer or model as one of Keras, or as a file of one: the same numbers.

    What becomes of which layer is listed in `fastgate.exchange.keras`.

    Parameters
    ----------
    layer : layer or Sequential
    path : str or path-like, optional
        Write a file instead, with h5py (the extra `keras`) and without Keras: ``.keras``, a model that
        ``keras.models.load_model`` reads, also of a single layer; or ``.weights.h5``, for ``model.load_weights``. It is
        written whole or not at all. A model without recurrent layers is one of (B, features).

    Returns
    -------
    keras.Layer or keras.Sequential
        Built, with the layer's parameters. Of a single layer it is one that returns sequences; of a stack, a model.
    None
        If a path is given.

    Raises
    ------
    TypeError, ValueError
        If Keras has no equal of a layer or an option, or the path has another ending.
    ImportError
        If Keras, or for a file h5py, is not installed.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import fastgate as fg
    >>> fg.to_keras(fg.Sequential(fg.GRU(3, 5), fg.FinalState(), fg.Linear(5, 2)), "model.keras")
    """
    layers = keras_export.layers_of(on_cpu(layer))
    if not layers:
        raise _errors.wrong_value("layer", "at least one layer that does something", layer)
    dtype = str(getattr(layer, "dtype", "float32"))
    if path is None:
        return keras_writer.object_of(layers, dtype, isinstance(layer, Sequential))
    check_ending(path, "to_keras")
    keras_writer.write(path, layers, dtype, weights_alone=Path(path).suffix == ".h5")
    return None


@contextmanager
def _opened(source: Any) -> Iterator[Contents]:
    keras = sys.modules.get("keras")  # without which nobody has a layer of it
    if keras is not None and keras.__version__[:2] == "3." and isinstance(source, keras.layers.Layer):
        if not source.built:
            raise _errors.wrong_value("source", "a layer that is built: call it once", source.name)
        yield Contents(_serialized(keras, source), Live(source), 3)
    elif isinstance(source, (str, os.PathLike)):
        with keras_files.opened(source) as found:
            yield found
    else:
        raise _errors.wrong_type("source", "a layer or model of Keras 3, or a path", type(source).__name__)


def _serialized(keras: Any, source: Any) -> Any:
    try:
        return keras.saving.serialize_keras_object(source)
    except NotImplementedError:  # a class of somebody's own, or a model with such layers
        raise errors.without_config(source.name) from None


def _layer_or_model(chain: list[Layer], parts: list[Any], found: Contents) -> Any:
    """What has no options that need more parts is given as the one layer that it is."""
    if not parts:
        raise _errors.misplaced("source", "at least one layer that does something", "none")
    if found.config.get("class_name") not in MODELS:
        own = [part for part in parts if not isinstance(part, FinalState)]
        if len(own) == 1:
            return own[0]
        return Sequential(*parts)
    for layer in chain:
        if layer.kind in RECURRENT and any(
            each.options.flag("return_state") for each in (layer, *layer.parts) if each.kind in RECURRENT
        ):
            raise errors.no_equal(layer.place, "return_state", True, "as what follows takes one output")
    return Sequential(*parts)
