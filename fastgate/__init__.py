"""LSTM, GRU and RNN from NumPy: fused SIMD kernels compiled by Numba, with back-propagation through time."""

from fastgate._files import load, save
from fastgate._from_config import from_config
from fastgate._model import ModelGradients, ModelTape
from fastgate._model_params import ModelParams
from fastgate._params import NamedArrays, Params
from fastgate._tape import Gradients, LayerGradients, LayerTape, Tape
from fastgate._threads import get_num_threads, set_num_threads
from fastgate.activation import Activation
from fastgate.c.export import to_c
from fastgate.c.function import CFunction
from fastgate.clipping import clip_gradient_norm, clip_gradient_value
from fastgate.dropout import Dropout
from fastgate.embedding import Embedding
from fastgate.encoder_decoder import EncoderDecoder
from fastgate.ensemble import Ensemble, EnsembleTape
from fastgate.exchange.keras import from_keras, to_keras
from fastgate.exchange.onnx import from_onnx, to_onnx
from fastgate.exchange.pytorch import from_torch, to_torch
from fastgate.exchange.rtneural import from_rtneural, to_rtneural
from fastgate.final_state import FinalState
from fastgate.gru import GRU
from fastgate.layer_norm import LayerNorm
from fastgate.linear import Linear
from fastgate.losses import binary_cross_entropy, cross_entropy, huber, mae, mse
from fastgate.lstm import LSTM
from fastgate.masking import Masking
from fastgate.merge_directions import MergeDirections
from fastgate.metrics import accuracy, bits_per_character, mean_absolute_error, mean_squared_error, perplexity, r2
from fastgate.optimizers import SGD, Adam, AdamW, RMSprop
from fastgate.repeat_past import RepeatPast
from fastgate.reverse import Reverse
from fastgate.rnn import RNN
from fastgate.schedules import CosineDecay, ExponentialDecay, LinearWarmup, StepDecay
from fastgate.sequential import Sequential
from fastgate.stream import Stream
from fastgate.training.callbacks import Callback, Run
from fastgate.training.errors import NonFiniteError
from fastgate.training.history import History
from fastgate.training.waiting import EarlyStopping, ReduceOnPlateau

Dense = Linear  # as Keras calls it

__version__ = "0.6.0"

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "SGD",
    "Activation",
    "Adam",
    "AdamW",
    "CFunction",
    "Callback",
    "CosineDecay",
    "Dense",
    "Dropout",
    "EarlyStopping",
    "Embedding",
    "EncoderDecoder",
    "Ensemble",
    "EnsembleTape",
    "ExponentialDecay",
    "FinalState",
    "Gradients",
    "History",
    "LayerGradients",
    "LayerNorm",
    "LayerTape",
    "Linear",
    "LinearWarmup",
    "Masking",
    "MergeDirections",
    "ModelGradients",
    "ModelParams",
    "ModelTape",
    "NamedArrays",
    "NonFiniteError",
    "Params",
    "RMSprop",
    "ReduceOnPlateau",
    "RepeatPast",
    "Reverse",
    "Run",
    "Sequential",
    "StepDecay",
    "Stream",
    "Tape",
    "accuracy",
    "binary_cross_entropy",
    "bits_per_character",
    "clip_gradient_norm",
    "clip_gradient_value",
    "cross_entropy",
    "from_config",
    "from_keras",
    "from_onnx",
    "from_rtneural",
    "from_torch",
    "get_num_threads",
    "huber",
    "load",
    "mae",
    "mean_absolute_error",
    "mean_squared_error",
    "mse",
    "perplexity",
    "r2",
    "save",
    "set_num_threads",
    "to_c",
    "to_keras",
    "to_onnx",
    "to_rtneural",
    "to_torch",
]
