"""What `fit` says to somebody new to it: every mistake is named in terms of what they passed, with what to do."""

import copy

import numpy as np
import pytest
from complaints import complaint
from training_tools import classifier, ragged, tagger

import fastgate as fg

X = np.random.default_rng(0).standard_normal((9, 4, 3)).astype(np.float32)
LABELS = np.arange(9) % 3
CLASSES = {"loss": "cross_entropy", "batch_size": 9}


def test_an_optimiser_is_of_one_model():
    optimizer, model = fg.Adam(1e-3), classifier(outputs=3)
    model.fit(X, LABELS, optimizer=optimizer, **CLASSES)
    model.fit(X, LABELS, optimizer=optimizer, **CLASSES)
    copied, own = copy.deepcopy((model, optimizer))
    copied.fit(X, LABELS, optimizer=own, **CLASSES)
    pieces = "this Adam has trained another model (2 steps)", "make a new one for each model, as fg.Adam(...)"
    with complaint(ValueError, "optimizer", *pieces):
        classifier(outputs=3).fit(X, LABELS, optimizer=optimizer, **CLASSES)
    del model  # what was trained is another model even if nothing is left of it
    with complaint(ValueError, "optimizer", *pieces):
        copied.fit(X, LABELS, optimizer=optimizer, **CLASSES)
    optimizer.restore(optimizer.state())
    copied.fit(X, LABELS, optimizer=optimizer, **CLASSES)


def test_labels_per_step_are_as_many_as_steps():
    x, y = ragged()
    short = [y[0], y[1][:-1], *y[2:]]
    options = {"loss": "cross_entropy", "optimizer": fg.Adam()}
    steps = len(x[1])
    with complaint(ValueError, "y[1]", f"expected {steps} entries, one for each step of x[1], got {steps - 1}"):
        tagger().fit(x, short, **options)
    with complaint(ValueError, "y", "one entry for each of the 10 samples of x, got 9"):
        tagger().fit(x, y[:-1], **options)
    with complaint(TypeError, "y", "one array, as x is one, got sequences of unequal length"):
        tagger().fit(np.zeros((10, 6), int), y, **options)
    with complaint(TypeError, "y", "one entry for each sequence, as the model has a FinalState"):
        classifier(outputs=7).fit([X[0], X[1, :2]], [LABELS[:4], LABELS[:2]], **options)
