"""What both estimators share: their parameters, their network and how it is trained."""

from __future__ import annotations

import warnings
from types import FunctionType
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from fastgate import _errors
from fastgate._arrays import Array, as_choice, as_flag
from fastgate.dropout import Dropout
from fastgate.final_state import FinalState
from fastgate.gru import GRU
from fastgate.linear import Linear
from fastgate.lstm import LSTM
from fastgate.optimizers import OPTIMIZERS
from fastgate.rnn import RNN
from fastgate.sequential import Sequential
from fastgate.sklearn.inputs import Sequences, read_dtype, read_sequences, read_weights, take
from fastgate.training.history import History
from fastgate.training.waiting import EarlyStopping

CELLS = {"lstm": LSTM, "gru": GRU, "rnn": RNN}
LBFGS = "lbfgs"
PREDICTED_AT_ONCE = 256  # sequences


class SequenceEstimator(BaseEstimator):  # type: ignore[misc]
    """Base of `SequenceRegressor`, which describes the parameters, and `SequenceClassifier`."""

    network_: Sequential
    history_: History
    n_iter_: int
    n_features_in_: int

    def __init_subclass__(cls, **options: Any) -> None:
        """Where Python complains of an argument, it names the function: it is called as the class that is made."""
        super().__init_subclass__(**options)
        own: Any = SequenceEstimator.__init__
        if getattr(cls.__init__, "__code__", None) == own.__code__:
            made = FunctionType(own.__code__, own.__globals__, own.__name__, own.__defaults__, own.__closure__)
            made.__kwdefaults__, made.__annotations__ = own.__kwdefaults__, own.__annotations__
            made.__module__, made.__qualname__ = cls.__module__, f"{cls.__qualname__}.__init__"
            cls.__init__ = made  # type: ignore[method-assign]

    def __init__(
        self,
        cell: str = "lstm",
        *,
        hidden_size: int = 32,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        optimizer: str = "adam",
        learning_rate: float = 5e-3,
        weight_decay: float = 0.0,
        clip_norm: float | None = 1.0,
        epochs: int = 50,
        batch_size: int = 32,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        warm_start: bool = False,
        dtype: str = "auto",
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.cell = cell
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.epochs = epochs
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.dtype = dtype
        self.random_state = random_state
        self.verbose = verbose

    def _read(self, X: Any, y: Any, sample_weight: Any) -> tuple[Sequences, Array | None, Array]:
        """The samples that count, their weights, and which ones they are."""
        if y is None:  # in the words that scikit-learn's checks look for
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        x = read_sequences(self, X, read_dtype(self.dtype), reset=not self._goes_on)
        check_consistent_length(x, y)
        weights = read_weights(sample_weight, len(x))
        if weights is None:
            return x, None, np.arange(len(x))
        counting = np.flatnonzero(weights)  # so that a sample without weight is as none, to the last bit
        return take(x, counting), weights[counting], counting

    def _train(
        self, x: Sequences, y: Array, weights: Array | None, loss: str, *, outputs: int, stratify: Array | None = None
    ) -> None:
        """Learn y, as the loss takes it, from x; `stratify` (N,) is what the data set aside keep the proportions of."""
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        network = self._made(x[0].shape[-1], outputs, x[0].dtype, seed)
        optimizer = self._optimizer()
        validation = None
        if as_flag("early_stopping", self.early_stopping):
            rows = np.arange(len(x))
            options = {"test_size": self.validation_fraction, "random_state": seed, "stratify": stratify}
            rows, held_out = train_test_split(rows, **options)
            validation = (take(x, held_out), y[held_out], None, None if weights is None else weights[held_out])
            x, y, weights = take(x, rows), y[rows], None if weights is None else weights[rows]
        history = network.fit(
            x,
            y,
            loss=loss,
            optimizer=optimizer,
            epochs=self.epochs,
            batch_size=self.batch_size,
            validation=validation,
            weights=weights,
            seed=seed,
            clip_norm=None if optimizer == LBFGS else self.clip_norm,
            early_stopping=EarlyStopping(self.n_iter_no_change) if self.early_stopping else None,
            progress=bool(self.verbose),
        )
        if history.interrupted:
            warnings.warn("Training was interrupted: the estimator is what it was until then", stacklevel=3)
        self.network_, self.history_, self.n_iter_ = network, history, history.epochs

    def _made(self, features: int, outputs: int, dtype: Any, seed: int) -> Sequential:
        """A network as the parameters say: a new one, or with the weights that it had."""
        cell = CELLS[as_choice("cell", self.cell, tuple(CELLS))]
        seeds = [int(word) for word in np.random.SeedSequence(seed).generate_state(3)]
        recurrent = cell(
            features,
            self.hidden_size,
            self.num_layers,
            dropout=self.dropout,
            bidirectional=self.bidirectional,
            dtype=dtype,
            seed=seeds[0],
            init="keras",  # learns what lies far back in fewer epochs
        )
        width = (1 + recurrent.bidirectional) * recurrent.hidden_size
        head = Linear(width, outputs, dtype=dtype, seed=seeds[1], init="keras")
        network = Sequential(recurrent, FinalState(), Dropout(self.dropout, seed=seeds[2]), head)
        if self._goes_on:
            shapes, before = ({name: own.shape for name, own in n.params.items()} for n in (network, self.network_))
            if shapes != before:
                expected = "the cell, sizes, features and outputs of the fit before"
                raise _errors.wrong_value("warm_start", expected, shapes)
            network.params.flat = self.network_.params.flat
        return network

    def _optimizer(self) -> Any:
        name = as_choice("optimizer", self.optimizer, (*OPTIMIZERS, LBFGS))
        if name == LBFGS:
            if self.weight_decay:
                raise _errors.wrong_value("weight_decay", "0 beside optimizer='lbfgs'", self.weight_decay)
            return name
        options = {"momentum": 0.9, "nesterov": True} if name == "sgd" else {}
        return OPTIMIZERS[name](self.learning_rate, weight_decay=self.weight_decay, **options)

    @property
    def _goes_on(self) -> bool:
        return bool(self.warm_start) and hasattr(self, "network_")

    def _outputs(self, X: Any) -> Array:
        """(N, outputs) of the network, in float64."""
        check_is_fitted(self, "network_")
        x = read_sequences(self, X, self.network_.dtype, reset=False)
        y: Array = self.network_.predict(x, batch_size=PREDICTED_AT_ONCE).astype(np.float64)
        return y
