"""Numbers from sequences."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_array

from fastgate import _errors
from fastgate._arrays import Array, kind_of
from fastgate.sklearn.estimator import SequenceEstimator


class SequenceRegressor(RegressorMixin, SequenceEstimator):  # type: ignore[misc]
    """A recurrent network that predicts one number, or several, from each sequence.

    Stacked recurrent layers read a sequence, and a linear layer its final state. The targets are standardised inside,
    so that their scale does not matter; features should be standardised before, as for any network.

    Parameters
    ----------
    cell : "lstm", "gru" or "rnn"
    hidden_size : int
        Units of each layer and direction.
    num_layers : int
    bidirectional : bool
        Read each sequence from its end as well.
    dropout : float, 0 to below 1
        Applied between the recurrent layers and to the final state, in training.
    optimizer : "adam", "adamw", "rmsprop", "sgd" or "lbfgs"
        "sgd" is with Nesterov's momentum of 0.9. "lbfgs" takes all data in every step and an epoch is one iteration;
        it is good for small data, and `learning_rate` and `clip_norm` mean nothing to it.
    learning_rate : float
    weight_decay : float
        For "adamw" decoupled, else added to the gradient.
    clip_norm : float or None
        Largest norm of the gradient of a batch.
    epochs : int
    batch_size : int
    early_stopping : bool
        Set some data aside, stop when the loss on them does not get better, and keep the weights that were best.
    validation_fraction : float
        How much is set aside; a classifier keeps the proportions of the classes.
    n_iter_no_change : int
        How many epochs without improvement are borne.
    warm_start : bool
        A further `fit` begins with the weights, and the scale of the targets, of the one before.
    dtype : "auto", "float32" or "float64"
        In which the network computes: "auto" takes float32 if X has it and float64 for all else, as scikit-learn does.
        float32 is enough for most data, and faster.
    random_state : int, RandomState or None
        For initial weights, dropout, the order of the samples and the data set aside. An int gives the same bits every
        time, whatever the number of threads.
    verbose : bool
        Show how the training goes on.

    Attributes
    ----------
    network_ : Sequential
        What was trained; its outputs are standardised targets, or logits. `fastgate.save` writes it into a file.
    history_ : History
        Of the last `fit`: ``history_["loss"]`` by epoch (of standardised targets), ``history_.plot()``.
    n_iter_ : int
        Epochs of the last `fit`.
    n_features_in_ : int
        Columns of a two-dimensional X; else the features of a step.
    feature_names_in_ : ndarray of str
        Names of the columns, where X was a data frame with such names.

    Notes
    -----
    fastgate has threads of its own, as many as there are CPUs, and uses them where a batch is large enough to gain by
    it. joblib gives each of its processes (``n_jobs=2``) its share of them, by ``NUMBA_NUM_THREADS``; processes that
    are started otherwise do not know of each other: set ``FASTGATE_NUM_THREADS`` for them. Results do not depend on it.
    In threads of one process, as joblib's "threading" has them, fastgate's threads are shared.

    In a `Pipeline`, transformers like `StandardScaler` take two-dimensional X only.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgate.sklearn import SequenceRegressor
    >>> X = np.random.default_rng(0).normal(size=(200, 10))
    >>> model = SequenceRegressor("gru", epochs=20, random_state=0).fit(X, X[:, -1])
    >>> model.predict(X).shape
    (200,)
    """

    _mean: Array  # of the targets, (outputs)
    _scale: Array
    _is_flat: bool

    def fit(self, X: Any, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> SequenceRegressor:
        """Train on sequences and their targets.

        Parameters
        ----------
        X : array_like (N, T), with one value for each step; array_like (N, T, features); or list of N sequences
            A list holds arrays of unequal length, (T_i, features) or (T_i,).
        y : array_like, (N,) or (N, outputs)
        sample_weight : array_like, (N,), optional
            At least 0. The loss of a batch is the weighted mean; a sample of weight 0 is as if it were not there.

        Returns
        -------
        SequenceRegressor
            The estimator itself.

        Raises
        ------
        TypeError, ValueError
            If an argument or a parameter has the wrong type, shape or range; the message names it.
        NonFiniteError
            If a loss or gradient is not finite.
        """
        x, weights, counting = self._read(X, y, sample_weight)
        if kind_of(np.asarray(y)) == "strings":
            raise _errors.wrong_type("y", "numbers", "strings; SequenceClassifier learns classes")
        own = check_array(y, dtype=np.float64, ensure_2d=False, input_name="y", estimator=self)
        target = own.reshape(len(own), -1)[counting]
        if self._goes_on:
            mean, scale = self._mean, self._scale
        else:
            mean = np.average(target, axis=0, weights=weights)
            deviation = np.sqrt(np.average((target - mean) ** 2, axis=0, weights=weights))
            scale = np.where(deviation > 0, deviation, 1.0)
        standard = ((target - mean) / scale).astype(x[0].dtype)
        self._train(x, standard, weights, "mse", outputs=target.shape[1])
        self._mean, self._scale, self._is_flat = mean, scale, own.ndim == 1
        return self

    def predict(self, X: Any) -> Array:
        """The targets of sequences.

        Parameters
        ----------
        X : as in `fit`
            With two axes if it had two in `fit`, and as many columns; with as many features for each step, else.

        Returns
        -------
        ndarray, (N,) or (N, outputs), as y was in `fit`

        Raises
        ------
        NotFittedError
        TypeError, ValueError
            If X is not as it was in `fit`.
        """
        y: Array = self._outputs(X) * self._scale + self._mean
        return y[:, 0] if self._is_flat else y

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
