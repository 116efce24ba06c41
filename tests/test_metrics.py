"""Metrics, against plain formulas, and of batches as of the whole."""

import numpy as np
import pytest
from complaints import complaint

import fastgate as fg
from fastgate.metrics import METRICS, PARTS

B, T, F = 6, 4, 3
rng = np.random.default_rng(0)
Y = rng.standard_normal((B, T, F))
CLASSES = rng.integers(0, F, (B, T))
TARGET = Y + rng.standard_normal((B, T, F)) + 300
WEIGHTS, MASK = rng.uniform(0, 2, (B, T)), rng.uniform(size=(B, T)) < 0.6
OF_CLASSES = ("accuracy", "perplexity", "bits_per_character")


def target_of(name):
    return CLASSES if name in OF_CLASSES else TARGET


def by_hand(name, y, target, w):
    """Of rows y (N,F) with the weights w (N,)."""
    if name == "r2":
        mean = np.average(target, axis=0, weights=w)
        return np.mean(1 - (w @ (target - y) ** 2) / (w @ (target - mean) ** 2))
    if name == "accuracy":
        return np.average(y.argmax(axis=1) == target, weights=w)
    if name in OF_CLASSES:
        p = np.exp(y[np.arange(len(y)), target]) / np.exp(y).sum(axis=1)
        bits = np.average(-np.log2(p), weights=w)
        return bits if name == "bits_per_character" else 2**bits
    error = y - target
    return np.average((error**2 if name == "mean_squared_error" else np.abs(error)).mean(axis=1), weights=w)


@pytest.mark.parametrize("name", [metric.__name__ for metric in PARTS])
@pytest.mark.parametrize("chosen", [False, True], ids=["all", "chosen"])
def test_metrics_are_their_formulas(name, chosen):
    target = target_of(name)
    given = {"weights": WEIGHTS, "mask": MASK} if chosen else {}
    counts = MASK if chosen else np.ones_like(MASK)
    w = WEIGHTS[MASK] if chosen else np.ones(B * T)
    value = METRICS[name](Y, target, **given)
    assert type(value) is float
    assert value == pytest.approx(by_hand(name, Y[counts], target[counts], w), rel=1e-12)
    spoiled, unread = Y.copy(), target.copy()
    spoiled[~counts], unread[~counts] = np.nan, -1
    assert METRICS[name](spoiled, unread, **given) == value


@pytest.mark.parametrize("metric", PARTS, ids=lambda metric: metric.__name__)
def test_sums_of_batches_add_up(metric):
    """The mean of the batches' values would be another number."""
    target, (sums, add, value) = target_of(metric.__name__), PARTS[metric]
    total = None
    for rows in (slice(0, 1), slice(1, 4), slice(4, B)):
        batch = sums(Y[rows], target[rows], weights=WEIGHTS[rows], mask=MASK[rows])
        total = batch if total is None else add(total, batch)
    assert value(total) == pytest.approx(metric(Y, target, weights=WEIGHTS, mask=MASK), rel=1e-12)


def test_accuracy_of_one_logit():
    logits, target = np.array([[2.0], [-1.0], [3.0], [-4.0]]), [1, 1, 0, 0]
    assert fg.accuracy(logits, target) == 0.5
    assert fg.accuracy(logits, np.array(target)[:, None]) == 0.5
    assert fg.accuracy(logits[:, 0], target) == 0.5
    steps = np.stack([logits, -logits], axis=1)  # (4,2,1), one label for both
    assert fg.accuracy(steps, target) == 0.5
    assert fg.accuracy(steps, target, lengths=[2, 2, 1, 1]) == 0.5
    assert fg.accuracy(steps, target, lengths=[1, 0, 0, 1]) == 1
    assert fg.accuracy(np.tile(logits, 3), np.tile(np.array(target)[:, None], 3)) == 0.5  # many labels
    with complaint(ValueError, "target", "probabilities", "-1"):
        fg.accuracy(logits, [-1, 1, 1, -1])


def test_accuracy_of_one_class_for_all_steps():
    target = np.array([0, 1, 2, 0, 1, 2])
    assert fg.accuracy(Y, target) == np.mean(Y.argmax(axis=-1) == target[:, None])


def test_r2_at_its_borders():
    target = np.array([1.0, 2, 3, 4])
    assert fg.r2(target, target) == 1
    assert fg.r2(np.full(4, 2.5), target) == 0
    assert fg.r2(np.ones(4), np.ones(4)) == 1
    assert fg.r2(np.zeros(4), np.ones(4)) == 0
    both = np.stack([target, 1e6 * target], axis=1)
    assert fg.r2(np.stack([np.full(4, 2.5), both[:, 1]], axis=1), both) == 0.5  # features count alike
    assert fg.r2(both, both, mask=np.arange(8).reshape(4, 2) % 2 == 0) == 1


def test_perplexity_too_large_for_a_number():
    assert fg.perplexity(np.array([[1e4, 0]]), [1]) == np.inf


@pytest.mark.parametrize("target", [[0, 1, 1], [0, 1, 0]])
def test_accuracy_takes_no_classes_for_logits(target):
    """Every class above 0 would be an answer of yes: 0, 1, 2 against 0, 1, 1 all right."""
    for predicted in (np.array([0, 1, 2]), np.array([False, True, True]), np.zeros((3, 2), int)):
        with complaint(TypeError, "y", "expected logits", "np.mean(y == target)"):
            fg.accuracy(predicted, target)
