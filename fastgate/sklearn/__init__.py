"""Estimators for scikit-learn: `SequenceRegressor` and `SequenceClassifier`, one target for each sequence."""

from importlib.util import find_spec

from fastgate import _errors

if find_spec("sklearn") is None:
    raise _errors.missing_extra("scikit-learn", "sklearn", "for fastgate.sklearn")

from fastgate.sklearn.classifier import SequenceClassifier
from fastgate.sklearn.regressor import SequenceRegressor

__all__ = ["SequenceClassifier", "SequenceRegressor"]
