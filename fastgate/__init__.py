"""LSTM, GRU and RNN from NumPy: fused SIMD kernels compiled by Numba, with back-propagation through time."""

from fastgate._params import NamedArrays, Params
from fastgate._tape import Gradients, LayerGradients, LayerTape, Tape
from fastgate._threads import get_num_threads, set_num_threads
from fastgate.embedding import Embedding
from fastgate.gru import GRU
from fastgate.linear import Linear
from fastgate.losses import cross_entropy, mse
from fastgate.lstm import LSTM
from fastgate.optimizers import Adam, clip_gradient_norm
from fastgate.rnn import RNN

__version__ = "0.2.1"

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Adam",
    "Embedding",
    "Gradients",
    "LayerGradients",
    "LayerTape",
    "Linear",
    "NamedArrays",
    "Params",
    "Tape",
    "clip_gradient_norm",
    "cross_entropy",
    "get_num_threads",
    "mse",
    "set_num_threads",
]
