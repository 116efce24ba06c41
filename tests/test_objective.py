"""What the loss, the metrics and the end of the model must be for one another."""

from dataclasses import dataclass

import numpy as np
import pytest
from complaints import complaint
from training_tools import arrays, ragged

import fastgate as fg

X, _ = arrays()
LABELS = np.arange(len(X)) % 2


def ending(*layers, outputs=2):
    return fg.Sequential(fg.LSTM(3, 5, seed=0), fg.FinalState(), fg.Linear(5, outputs, seed=1), *layers)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax", "log_softmax"])
@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy", fg.cross_entropy])
def test_losses_of_logits_get_no_probabilities(activation, loss):
    model = ending(fg.Activation(activation))
    with complaint(
        ValueError,
        "loss",
        "logits",
        f"Activation('{activation}')",
        "leave it out, as fg.Sequential(*model.layers[:-1])",
    ):
        model.fit(X, LABELS, loss=loss, optimizer=fg.Adam())
    with complaint(ValueError, "loss", "logits"):
        model.evaluate(X, LABELS, loss=loss)


@pytest.mark.parametrize("metric", ["accuracy", "perplexity", "bits_per_character"])
def test_neither_do_metrics_of_logits(metric):
    with complaint(ValueError, "metrics", metric, "Activation('sigmoid')"):
        ending(fg.Activation("sigmoid")).evaluate(X, np.eye(2)[LABELS], loss="mse", metrics=metric)


def test_so_it_is_with_a_decoder():
    def half(*layers):
        return fg.Sequential(fg.Embedding(7, 3, seed=0), fg.GRU(3, 5, seed=1), *layers)

    x, y = ragged()
    model = fg.EncoderDecoder(half(), half(fg.Linear(5, 7, seed=2), fg.Activation("softmax")))
    with complaint(ValueError, "loss", "Activation('softmax')"):
        model.evaluate((x, x), y, loss="cross_entropy")
    single, lengths = np.zeros((10, 4), int), np.full(10, 3)
    model = fg.EncoderDecoder(half(), half(fg.Linear(5, 7, seed=2)))
    for given in (single, (single,) * 3, single[:2]):
        with complaint(TypeError, "x", "a pair (source, target)"):
            model.fit(given, single, loss="cross_entropy", optimizer=fg.Adam())
    with complaint(TypeError, "lengths", "a pair"):
        model.fit((single, single), single, lengths=lengths, loss="cross_entropy", optimizer=fg.Adam())
    for given in ((lengths, lengths), [lengths, None]):
        assert "loss" in model.evaluate((single, single), single, lengths=given, loss="cross_entropy")


def test_other_ends_and_other_losses_are_as_they_were():
    assert "loss" in ending(fg.Activation("sigmoid")).evaluate(X, np.eye(2)[LABELS], loss="mse", metrics="r2")
    assert "loss" in ending(fg.Activation("relu")).evaluate(X, LABELS, loss="cross_entropy", metrics="accuracy")


def test_accuracy_takes_the_targets_for_what_the_loss_does():
    """Many labels that are the same at every step: with as many steps as labels they look like classes."""
    rng = np.random.default_rng(0)
    model = fg.Sequential(fg.LSTM(3, 4, seed=0))
    for T in (4, 5):
        x, labels = rng.standard_normal((6, T, 3)), rng.integers(0, 2, (6, 4))
        found = model.evaluate(x, labels, loss="binary_cross_entropy", metrics="accuracy", batch_size=4)
        at_every_step = np.repeat(labels[:, None], T, axis=1)
        assert found["accuracy"] == pytest.approx(fg.accuracy(model(x), at_every_step))
        assert found["accuracy"] == pytest.approx(np.mean((model(x) > 0) == at_every_step))
        classes = rng.integers(0, 4, (6, T))
        found = model.evaluate(x, classes, loss="cross_entropy", metrics="accuracy", batch_size=4)
        assert found["accuracy"] == pytest.approx(np.mean(model(x).argmax(axis=-1) == classes))


def test_a_loss_and_a_metric_may_be_objects_without_a_hash():
    @dataclass
    class Scaled:
        factor: float = 2.0

        def __call__(self, y, target):
            loss, dy = fg.mse(y, target)
            return self.factor * loss, self.factor * dy

    @dataclass
    class Largest:
        axis: int = 1

        def __call__(self, y, target):
            return y.max(axis=self.axis).mean()

    found = ending().evaluate(X, np.eye(2)[LABELS], loss=Scaled(), metrics=[Largest(), "mean_squared_error"])
    assert found["loss"] == pytest.approx(2 * found["mean_squared_error"])
    assert found["Largest"] == pytest.approx(ending()(X).max(axis=1).mean())
