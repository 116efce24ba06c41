"""LSTM, GRU and RNN from NumPy: fused SIMD kernels compiled by Numba, with back-propagation through time."""

from fastgate._params import NamedArrays, Params
from fastgate._tape import Gradients, LayerGradients, LayerTape, Tape
from fastgate._threads import get_num_threads, set_num_threads
from fastgate.clipping import clip_gradient_norm, clip_gradient_value
from fastgate.embedding import Embedding
from fastgate.gru import GRU
from fastgate.linear import Linear
from fastgate.losses import binary_cross_entropy, cross_entropy, huber, mae, mse
from fastgate.lstm import LSTM
from fastgate.metrics import accuracy, bits_per_character, mean_absolute_error, mean_squared_error, perplexity, r2
from fastgate.optimizers import SGD, Adam, AdamW, RMSprop
from fastgate.rnn import RNN
from fastgate.schedules import CosineDecay, ExponentialDecay, LinearWarmup, StepDecay

__version__ = "0.2.0"

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "SGD",
    "Adam",
    "AdamW",
    "CosineDecay",
    "Embedding",
    "ExponentialDecay",
    "Gradients",
    "LayerGradients",
    "LayerTape",
    "Linear",
    "LinearWarmup",
    "NamedArrays",
    "Params",
    "RMSprop",
    "StepDecay",
    "Tape",
    "accuracy",
    "binary_cross_entropy",
    "bits_per_character",
    "clip_gradient_norm",
    "clip_gradient_value",
    "cross_entropy",
    "get_num_threads",
    "huber",
    "mae",
    "mean_absolute_error",
    "mean_squared_error",
    "mse",
    "perplexity",
    "r2",
    "set_num_threads",
]
