"""Classes of sequences."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, softmax
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from fastgate import _errors
from fastgate._arrays import Array
from fastgate.sklearn.estimator import SequenceEstimator


class SequenceClassifier(ClassifierMixin, SequenceEstimator):  # type: ignore[misc]
    """A recurrent network that tells the class of each sequence.

    Stacked recurrent layers read a sequence, and a linear layer makes logits of its final state: one for two classes,
    else one for each. The loss is the cross entropy.

    Parameters
    ----------
    cell, hidden_size, num_layers, bidirectional, dropout
        What the network is; as in `SequenceRegressor`, like all that follow.
    optimizer, learning_rate, weight_decay, clip_norm, epochs, batch_size
        How it is trained.
    early_stopping, validation_fraction, n_iter_no_change
        When that ends.
    warm_start, dtype, random_state, verbose

    Attributes
    ----------
    classes_ : ndarray
        Sorted.
    network_, history_, n_iter_, n_features_in_, feature_names_in_
        As of `SequenceRegressor`, which also says how it behaves beside ``n_jobs``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgate.sklearn import SequenceClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.normal(size=(length, 3)) for length in rng.integers(5, 9, size=60)]
    >>> y = ["up" if sequence[-1, 0] > 0 else "down" for sequence in X]
    >>> model = SequenceClassifier(epochs=5, random_state=0).fit(X, y)
    >>> model.predict_proba(X).shape
    (60, 2)
    """

    classes_: Array

    def fit(self, X: Any, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> SequenceClassifier:
        """Train on sequences and their classes.

        Parameters
        ----------
        X : array_like (N, T), with one value for each step; array_like (N, T, features); or list of N sequences
            A list holds arrays of unequal length, (T_i, features) or (T_i,).
        y : array_like, (N,)
            Labels: numbers or strings, of two classes or more.
        sample_weight : array_like, (N,), optional
            At least 0. The loss of a batch is the weighted mean; a sample of weight 0 is as if it were not there.

        Returns
        -------
        SequenceClassifier
            The estimator itself.

        Raises
        ------
        TypeError, ValueError
            If an argument or a parameter has the wrong type, shape or range; the message names it.
        NonFiniteError
            If a loss or gradient is not finite.
        """
        x, weights, counting = self._read(X, y, sample_weight)
        labels = column_or_1d(y, warn=True)
        check_classification_targets(labels)
        classes, target = np.unique(labels[counting], return_inverse=True)
        if len(classes) < 2:
            raise _errors.misplaced("y", "at least two classes", f"one class only, {classes.tolist()[0]!r}")
        if self._goes_on and not np.array_equal(classes, self.classes_):
            raise _errors.wrong_value("y", f"the classes of the fit before, {list(self.classes_)}", list(classes))
        is_binary = len(classes) == 2
        loss, outputs = ("binary_cross_entropy", 1) if is_binary else ("cross_entropy", len(classes))
        self._train(x, target, weights, loss, outputs=outputs, stratify=target)
        self.classes_ = classes
        return self

    def decision_function(self, X: Any) -> Array:
        """Logits: of the second class for two, above 0 where it is the likelier one; else of each class.

        Parameters
        ----------
        X : as in `fit`
            With two axes if it had two in `fit`, and as many columns; with as many features for each step, else.

        Returns
        -------
        ndarray, (N,) or (N, classes)

        Raises
        ------
        NotFittedError
        TypeError, ValueError
            If X is not as it was in `fit`.
        """
        y = self._outputs(X)
        return y[:, 0] if y.shape[1] == 1 else y

    def predict_proba(self, X: Any) -> Array:
        """Probability of each class.

        Parameters
        ----------
        X : as in `decision_function`

        Returns
        -------
        ndarray, (N, classes)
            In the order of `classes_`.

        Raises
        ------
        NotFittedError, TypeError, ValueError
            As from `decision_function`.
        """
        y = self.decision_function(X)
        found: Array = np.stack([expit(-y), expit(y)], axis=1) if y.ndim == 1 else softmax(y, axis=1)
        return found

    def predict(self, X: Any) -> Array:
        """The likeliest class.

        Parameters
        ----------
        X : as in `decision_function`

        Returns
        -------
        ndarray, (N,)
            Labels as y had them in `fit`.

        Raises
        ------
        NotFittedError, TypeError, ValueError
            As from `decision_function`.
        """
        y = self.decision_function(X)
        chosen: Array = self.classes_[(y > 0).astype(np.intp) if y.ndim == 1 else y.argmax(axis=1)]
        return chosen
