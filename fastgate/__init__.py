"""LSTM, GRU and RNN from NumPy: fused SIMD kernels compiled by Numba, with back-propagation through time."""

from fastgate._params import Params
from fastgate._tape import Gradients, Tape
from fastgate._threads import get_num_threads, set_num_threads
from fastgate.gru import GRU
from fastgate.lstm import LSTM
from fastgate.rnn import RNN

__version__ = "0.1.0"

__all__ = ["GRU", "LSTM", "RNN", "Gradients", "Params", "Tape", "get_num_threads", "set_num_threads"]
