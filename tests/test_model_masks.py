"""What masks may not do in models: change later, reach what they are not for, or be lost on the way."""

from types import SimpleNamespace

import numpy as np
import pytest
from complaints import complaint

import fastgate as fg
from fastgate.training.layout import layout_of
from fastgate.training.resume import identity_of

rng = np.random.default_rng(0)
B, T, V = 2, 5, 6
x = rng.standard_normal((B, T, 3)).astype(np.float32)


# --------------------------------------------------------------------------------------------------- whose memory it is


def test_a_mask_may_be_written_to_after_forward():
    for layer in (fg.RepeatPast(), fg.Sequential(fg.LSTM(3, 2, seed=0), fg.RepeatPast())):
        mask = np.arange(T) < np.array([[2], [4]])
        y, tape = layer.forward(x, mask=mask)
        expected = layer.backward(tape, y).x
        mask[:] = ~mask
        assert np.array_equal(layer.backward(tape, y).x, expected)
        if isinstance(layer, fg.Sequential):
            assert np.array_equal(tape.mask, ~mask)


# ----------------------------------------------------------------------------------------------------------- its steps


def test_one_step_of_what_needs_all_of_them():
    embedding, gru = fg.Embedding(V, 3, seed=0), fg.GRU(3, 2, seed=1)
    with complaint(ValueError, "step", "layer 0 (Reverse)"):
        fg.Sequential(fg.Reverse(), gru).step(x[:, 0])
    model, ids = fg.Sequential(embedding, gru, fg.RepeatPast()), rng.integers(0, V, B)
    for own in (ids, ids[0]):
        y, (end,) = model.step(own)
        plain, (expected,) = fg.Sequential(embedding, gru).step(own)
        assert np.array_equal(y, plain)
        assert np.array_equal(end, expected)
    with complaint(ValueError, "step", "layer 2 (RepeatPast)"):
        fg.Sequential(fg.Embedding(V, 3, mask_zero=True), gru, fg.RepeatPast()).step(ids)


def test_a_decoder_that_repeats_the_past_generates():
    def model(*parts):
        encoder = fg.Sequential(fg.Embedding(V, 3, seed=0), fg.GRU(3, 4, seed=1))
        return fg.EncoderDecoder(
            encoder,
            fg.Sequential(fg.Embedding(V, 3, seed=2), fg.GRU(3, 4, seed=3), *parts, fg.Linear(4, V, seed=4)),
        )

    source = rng.integers(0, V, (B, T))
    found, expected = (own.generate(source, 1, None, 7)[0] for own in (model(fg.RepeatPast()), model()))
    assert np.array_equal(found, expected)
    with pytest.raises(TypeError, match="mask"):  # which of the two halves would it be of?
        model()._infer((source, source), None, None, mask=np.ones((B, T), bool))


def test_steps_that_are_turned_are_not_those_of_x():
    gru, ragged = fg.GRU(3, 2, seed=0), [x[0, :2], x[1]]
    found = fg.Sequential(fg.Reverse(), gru).predict(ragged)
    padded = np.stack([np.pad(own, ((0, T - len(own)), (0, 0))) for own in ragged])
    assert np.array_equal(found, fg.Sequential(fg.Reverse(), gru)(padded, [2, T]))
    twice = fg.Sequential(fg.Reverse(), gru, fg.Reverse())
    assert [len(own) for own in twice.predict(ragged)] == [2, T]
    assert layout_of(twice).keeps_steps


# ----------------------------------------------------------------------------------------------------- a user's layers


class Own:
    """Hands its input on."""

    def forward(self, x, mask=None):
        self.seen = mask
        return x, None

    def backward(self, tape, dy):
        return SimpleNamespace(x=dy)


class Forgets(Own):
    def compute_mask(self, x, mask):
        return None


def test_no_mask_means_that_all_steps_count():
    """As documented: what a layer gives may well have other steps than those of the lengths."""
    last = Own()
    model = fg.Sequential(Forgets(), fg.GRU(3, 2, seed=0), last)
    y, tape = model.forward(x, lengths=[2, 4])
    assert tape.mask is None
    assert last.seen is None
    assert (y[0, 2:] != 0).all()


# ------------------------------------------------------------------------------------------------------------ training


def test_seeds_matter_where_dropout_is_drawn():
    def identity(seed, **options):
        model = fg.Sequential(fg.GRU(3, 2, seed=seed, **options))
        return identity_of(model, fg.SGD(0.1))

    assert identity(0) == identity(1)
    assert identity(0, recurrent_dropout=0.1) != identity(1, recurrent_dropout=0.1)
    assert identity(0, num_layers=2, dropout=0.1) != identity(1, num_layers=2, dropout=0.1)


def test_functions_of_ones_own_must_take_the_mask():
    ids, y = rng.integers(0, V, (B, T)), rng.standard_normal((B, T, 2))
    layers = fg.Embedding(V, 3, mask_zero=True, seed=0), fg.GRU(3, 2, seed=1)
    model, expected = fg.Sequential(*layers), ("takes mask=", "layer 0 (Embedding)", "got old")

    def old(y, target, lengths=None):
        return fg.mse(y, target, lengths=lengths)

    def new(y, target, **options):
        return fg.mse(y, target, **options)

    def old_metric(y, target, lengths=None):
        return 0.0

    with complaint(TypeError, "loss", *expected):
        model.fit(ids, y, loss=old, optimizer=fg.Adam())
    for call in (
        lambda: model.evaluate(ids, y, loss=new, metrics=old_metric),
        lambda: model.fit(ids, y, loss=new, metrics=[old_metric], optimizer=fg.Adam(), validation=(ids, y)),
    ):
        with complaint(TypeError, "metrics", *expected):
            call()
    assert model.evaluate(ids, y, loss=new) == model.evaluate(ids, y, loss="mse")
    fg.Sequential(*layers, fg.FinalState()).evaluate(ids, y[:, 0], loss=old)  # where no mask arrives
