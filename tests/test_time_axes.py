"""Which axis of the data is time: decided by rule, or refused; never by what the sizes happen to be."""

from types import SimpleNamespace

import numpy as np
import pytest
from complaints import complaint

import fastgate as fg

rng = np.random.default_rng(0)
x = rng.standard_normal((40, 7, 3)).astype(np.float32)
ragged = [rng.standard_normal((n, 3)).astype(np.float32) for n in (2, 9, 4, 6)]


class Pool:
    """The mean over time."""

    def __init__(self, axis=1):
        self.axis = axis

    def forward(self, x, lengths=None):
        return x.mean(self.axis), x.shape

    def backward(self, tape, dy):
        return SimpleNamespace(x=np.broadcast_to(np.expand_dims(dy, self.axis) / tape[self.axis], tape).copy())


class Squeeze:
    """Takes away a last axis of 1, but not time."""

    def forward(self, x):
        return x[..., 0], None

    def backward(self, tape, dy):
        return SimpleNamespace(x=dy[..., None])


class Repeat:
    """One vector at five steps."""

    def __init__(self, axis=1):
        self.axis = axis

    def forward(self, x):
        return np.repeat(np.expand_dims(x, self.axis), 5, self.axis), None

    def backward(self, tape, dy):
        return SimpleNamespace(x=dy.sum(self.axis))


class Heads:
    """Three vectors for each sequence, whatever its length."""

    def forward(self, x, lengths=None):
        return x[:, :1].repeat(3, 1), None


Heads.backward = Pool.backward


def lstm(*parts, **options):
    return fg.Sequential(fg.LSTM(3, 4, seed=0, **options), *parts)


def pooled(axis=1, **options):
    return lstm(Pool(axis), fg.Linear(4, 6, seed=1), **options)


PER_STEP = {"arrays": lstm(fg.Linear(4, 2, seed=1)), "final": lstm(fg.FinalState(), fg.Linear(4, 2, seed=1))}


@pytest.mark.parametrize("kind", PER_STEP)
def test_one_sequence_is_no_batch_of_samples(kind):
    model, y = PER_STEP[kind], np.zeros(40, int)
    shown = "expected shape (samples, time, features), also for one sequence, got (40, 3)"
    for call in (
        lambda: model.fit(x[:, 0], y, loss="cross_entropy", optimizer=fg.Adam()),
        lambda: model.fit(lambda epoch: [(x[:, 0], y)], loss="cross_entropy", optimizer=fg.Adam()),
        lambda: model.evaluate(x[:, 0], y, loss="cross_entropy"),
        lambda: model.predict(x[:, 0]),
    ):
        with complaint(ValueError, "x", shown):
            call()
    with complaint(ValueError, "x[0]", "expected shape (time, features), got (3,)"):
        model.predict(list(x[0]))


def test_nor_is_one_of_integers_or_with_time_first():
    model = fg.Sequential(fg.Embedding(9, 3), fg.LSTM(3, 4, batch_first=False))
    with complaint(ValueError, "x", "(time, samples), also for one sequence, got (40,)"):
        model.predict(np.zeros(40, int))


def test_source_and_target_of_an_encoder_decoder_have_axes_of_their_own():
    encoder = fg.Sequential(fg.LSTM(3, 4, seed=0))
    decoder = fg.Sequential(fg.Embedding(7, 3, seed=1), fg.LSTM(3, 4, seed=2), fg.Linear(4, 7, seed=3))
    model, target = fg.EncoderDecoder(encoder, decoder), np.zeros((40, 5), int)
    assert model.predict((x, target)).shape == (40, 5, 7)
    assert model.predict(iter([((x, target),)])).shape == (40, 5, 7)
    with complaint(ValueError, "x[1]", "(samples, time), also for one sequence, got (40,)"):
        model.predict((x, target[:, 0]))


def test_a_layer_of_ones_own_that_ends_time():
    model = pooled()
    alone = np.concatenate([model(own[None], lengths=[len(own)]) for own in ragged])
    np.testing.assert_allclose(model.predict(ragged, batch_size=1), alone, rtol=1e-6)
    assert model.predict(ragged).shape == (4, 6)  # of which none is shortened to the 2 steps of the first
    assert model.predict(x).shape == (40, 6)
    turned = pooled(0, batch_first=False)
    np.testing.assert_allclose(turned.predict(x.swapaxes(0, 1)), model.predict(x), rtol=1e-5, atol=1e-6)
    assert turned.predict(ragged).shape == (4, 6)


@pytest.mark.parametrize("batch_first", [True, False])
def test_steps_that_are_not_those_of_x(batch_first):
    """An autoencoder through one vector: time ends, and begins anew."""
    options = {"batch_first": batch_first}
    parts = Repeat(int(batch_first)), fg.LSTM(4, 4, seed=2, **options), fg.Linear(4, 2, seed=1)
    model, y = lstm(fg.FinalState(), *parts, **options), np.zeros((40, 5, 2))
    given, target = (x, y) if batch_first else (x.swapaxes(0, 1), y.swapaxes(0, 1))
    np.testing.assert_allclose(model.predict(given), model(given), rtol=1e-5, atol=1e-6)
    found = model.evaluate(given, target, loss="mse", lengths=np.full(40, 6))["loss"]
    expected = np.mean(model(given, lengths=np.full(40, 6)) ** 2.0)
    assert found == pytest.approx(expected, rel=1e-5)
    assert model.predict(ragged).shape == ((4, 5, 2) if batch_first else (5, 4, 2))
    model.fit(given, target, loss="mse", optimizer=fg.Adam())


def test_padding_never_counts_silently():
    """An output per step that has lost its axis of features looks like features of one step."""
    model, y = lstm(fg.Linear(4, 1, seed=1), Squeeze()), [np.ones(len(own)) for own in ragged]
    for call in (
        lambda: model.evaluate(ragged, y, loss="mse"),
        lambda: model.evaluate(x, np.ones((40, 7)), loss="mse", lengths=np.full(40, 3)),
        lambda: model.fit(ragged, y, loss="mse", optimizer=fg.Adam()),
        lambda: model.predict(ragged),
    ):
        with complaint(ValueError, "y", "three axes or more", "layer 2 (Squeeze)", "keep a last axis of 1"):
            call()
    assert model.predict(x).shape == (40, 7)
    assert model.evaluate(x, model(x), loss="mse")["loss"] < 1e-12


def test_other_axes_than_steps_are_not_cut_to_the_lengths():
    with complaint(ValueError, "y", "(4, 9, ...), the steps of x, got (4, 3, 4)"):
        lstm(Heads()).predict(ragged)
