"""LSTM, GRU and RNN from NumPy: fused SIMD kernels compiled by Numba, with back-propagation through time."""

from fastgate._files import load, save
from fastgate._from_config import from_config
from fastgate._model import ModelGradients, ModelTape
from fastgate._model_params import ModelParams
from fastgate._params import NamedArrays, Params
from fastgate._tape import Gradients, LayerGradients, LayerTape, Tape
from fastgate._threads import get_num_threads, set_num_threads
from fastgate.activation import Activation
from fastgate.dropout import Dropout
from fastgate.embedding import Embedding
from fastgate.encoder_decoder import EncoderDecoder
from fastgate.final_state import FinalState
from fastgate.gru import GRU
from fastgate.layer_norm import LayerNorm
from fastgate.linear import Linear
from fastgate.losses import cross_entropy, mse
from fastgate.lstm import LSTM
from fastgate.optimizers import Adam, clip_gradient_norm
from fastgate.rnn import RNN
from fastgate.sequential import Sequential

Dense = Linear  # as Keras calls it

__version__ = "0.2.0"

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Activation",
    "Adam",
    "Dense",
    "Dropout",
    "Embedding",
    "EncoderDecoder",
    "FinalState",
    "Gradients",
    "LayerGradients",
    "LayerNorm",
    "LayerTape",
    "Linear",
    "ModelGradients",
    "ModelParams",
    "ModelTape",
    "NamedArrays",
    "Params",
    "Sequential",
    "Tape",
    "clip_gradient_norm",
    "cross_entropy",
    "from_config",
    "get_num_threads",
    "load",
    "mse",
    "save",
    "set_num_threads",
]
