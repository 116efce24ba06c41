"""LSTM, GRU and RNN from NumPy: fused SIMD kernels compiled by Numba, with back-propagation through time."""

from fastgate._params import NamedArrays, Params
from fastgate._tape import Gradients, LayerGradients, LayerTape, Tape
from fastgate._threads import get_num_threads, set_num_threads
from fastgate.embedding import Embedding
from fastgate.final_state import FinalState
from fastgate.gru import GRU
from fastgate.linear import Linear
from fastgate.losses import cross_entropy, mse
from fastgate.lstm import LSTM
from fastgate.optimizers import Adam, clip_gradient_norm
from fastgate.rnn import RNN
from fastgate.sequential import Sequential

__version__ = "0.2.0"

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Adam",
    "Embedding",
    "FinalState",
    "Gradients",
    "LayerGradients",
    "LayerTape",
    "Linear",
    "NamedArrays",
    "Params",
    "Sequential",
    "Tape",
    "clip_gradient_norm",
    "cross_entropy",
    "get_num_threads",
    "mse",
    "set_num_threads",
]
