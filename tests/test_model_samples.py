"""Gradients of each sequence of a batch, of whole models: those of a batch of that sequence alone."""

import numpy as np
import pytest

import fastgate as fg

DOUBLE = {"dtype": "float64"}


def words(**options):
    """With all kinds of layers that have parameters."""
    return fg.Sequential(
        fg.Embedding(9, 4, seed=0, padding_idx=1, mask_zero=True, **DOUBLE),
        fg.LSTM(4, 5, 2, dropout=0.3, bidirectional=True, seed=1, **options, **DOUBLE),
        fg.LayerNorm(10, **DOUBLE),
        fg.Dropout(0.2, seed=3, **({"batch_first": False} if options else {})),
        fg.GRU(10, 6, seed=2, **options, **DOUBLE),
        fg.FinalState(),
        fg.Linear(6, 3, seed=3, **DOUBLE),
    )


def steps(**options):
    return fg.Sequential(
        fg.Linear(4, 3, seed=0, **DOUBLE), fg.RNN(3, 5, seed=1, **options, **DOUBLE), fg.Linear(5, 2, seed=2, **DOUBLE)
    )


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("make", [words, steps])
def test_they_are_those_of_a_loop(make, batch_first):
    model, rng, axis = (
        make(**({} if batch_first else {"batch_first": False})),
        np.random.default_rng(0),
        1 - batch_first,
    )
    x = rng.integers(0, 9, (4, 5)) if make is words else rng.standard_normal((4, 5, 4))
    x = x if batch_first else x.swapaxes(0, 1)
    told = {} if make is words else {"lengths": np.array([5, 2, 0, 4])}
    y, tape = model.forward(x, training=False, **told)
    dy, dstate = rng.standard_normal(y.shape), [rng.standard_normal(np.shape(s)) for s in tape.state[-1:]]
    dstate = [None] * (len(tape.state) - 1) + dstate
    whole, each = model.backward(tape, dy, dstate), model.backward(tape, dy, dstate, per_sample=True)
    np.testing.assert_allclose(each.params.flat.sum(axis=0), whole.params.flat, rtol=1e-12, atol=1e-14)
    assert each.x is None if whole.x is None else np.array_equal(each.x, whole.x)
    dy_axis = 0 if make is words else axis
    for b in range(4):
        own_told = {name: value[b : b + 1] for name, value in told.items()}
        _, own_tape = model.forward(np.take(x, [b], axis), training=False, **own_told)
        own_end = [None if part is None else part[:, b : b + 1] for part in dstate]
        own = model.backward(own_tape, np.take(dy, [b], dy_axis), own_end)
        np.testing.assert_allclose(each.params.flat[b], own.params.flat, rtol=1e-12, atol=1e-14)
        for name, array in own.params.items():
            np.testing.assert_allclose(each.params[name][b], array, rtol=1e-12, atol=1e-14)


def test_dropout_is_that_of_the_batch_and_odd_batches_will_do():
    model, x = words(), np.random.default_rng(0).integers(0, 9, (3, 5))
    y, tape = model.forward(x, rng_key=4)
    for b in range(3):
        dy = np.zeros_like(y)
        dy[b] = 1
        expected = model.backward(tape, dy).params.flat
        found = model.backward(tape, np.ones_like(y), per_sample=True).params.flat[b]
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
    y, tape = model.forward(x[0], training=False)  # unbatched
    one = model.backward(tape, y, per_sample=True).params
    np.testing.assert_array_equal(one.flat, model.backward(tape, y).params.flat[None])
    assert one["6.bias"].shape == (1, 3)
    head = fg.Sequential(fg.Linear(3, 2, seed=0))  # rows are samples where nothing has steps
    y, tape = head.forward(np.arange(6.0).reshape(2, 3))
    np.testing.assert_allclose(head.backward(tape, y, per_sample=True).params["0.bias"], y)
    y, tape = head.forward(np.zeros((0, 3)))
    assert head.backward(tape, y, per_sample=True).params.flat.shape == (0, 8)


def test_what_cannot_is_named():
    class Scale:
        def __init__(self):
            self.params = fg.Params({"by": (1,)})

        def forward(self, x):
            return x * self.params["by"], x

        def backward(self, tape, dy):
            return fg.LayerGradients(dy * self.params["by"], {"by": np.sum(dy * tape, keepdims=True).reshape(1)})

    x = np.ones((2, 3, 4), np.float32)
    for model, expected in [
        (fg.Sequential(fg.GRU(4, 4), Scale()), r"per_sample: .* layer 1 \(Scale\)"),
        (fg.Sequential(fg.Activation("tanh")), "per_sample: .* without parameters"),
    ]:
        y, tape = model.forward(x)
        with pytest.raises(ValueError, match=expected):
            model.backward(tape, y, per_sample=True)
