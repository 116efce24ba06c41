"""What ends a training before its time: numbers that are not finite, Ctrl-C. The model is fit for use afterwards."""

import os
import signal
import threading

import numpy as np
import pytest
from training_tools import Stop, arrays, classifier, ragged, tagger

import fastgate as fg
from fastgate.training.nonfinite import is_finite


class Poison:
    """A layer of one's own that hands on what it gets, but for one step's output or gradient."""

    def __init__(self, step, *, forward=1.0, backward=1.0):
        self.step, self.calls, self.factors, self.watch = step, 0, (forward, backward), lambda: None

    def forward(self, x, rng_key=None):
        self.watch()
        self.bad = rng_key is not None and self.calls >= self.step
        self.calls += 1
        return x * (self.factors[0] if self.bad else 1), None

    def backward(self, tape, dy):
        return fg.LayerGradients(dy * (self.factors[1] if self.bad else 1), fg.NamedArrays(np.zeros(0), {}))


def parameters_after(steps, make):
    """Of the same training, with only so many steps."""
    model = make()
    if steps:
        model.fit(*arrays(8), loss="mse", optimizer=fg.Adam(), batch_size=2, callbacks=[Stop(steps)])
    return model.params.flat


def poisoned(**factors):
    return fg.Sequential(
        fg.LSTM(3, 5, seed=0), fg.FinalState(), Poison(2, **factors), fg.Linear(5, 4, seed=1), fg.Linear(4, 1, seed=2)
    )


@pytest.mark.parametrize(
    ("factors", "pieces"),
    [
        ({"forward": np.float32(np.nan)}, ["the loss is nan", "the output of layer 2 (Poison)"]),
        ({"forward": np.float32(np.inf)}, ["the loss is", "the output of layer 2 (Poison)"]),
        ({"backward": np.float32(np.nan)}, ["its gradient is not finite", "comes from layer 2 (Poison)"]),
    ],
    ids=["nan", "inf", "gradient"],
)
def test_the_step_and_layer_are_named_and_the_parameters_stay(factors, pieces):
    model = poisoned(**factors)
    members, seen = model._members, []
    model.layers[2].watch = lambda: seen.append(model._members)
    with pytest.raises(fg.NonFiniteError) as caught:
        model.fit(*arrays(8), loss="mse", optimizer=fg.Adam(), batch_size=2)
    message, history = str(caught.value), caught.value.history
    assert message.startswith("step 2 (epoch 0): ")
    assert all(piece in message for piece in pieces)
    np.testing.assert_array_equal(model.params.flat, parameters_after(2, poisoned))
    assert history.steps == 2
    assert all(found is members for found in [*seen, model._members])  # other threads may use it meanwhile
    assert len(seen) == 4  # three steps, and the search


def test_input_that_is_not_finite():
    x, y = arrays()
    x[3, 2, 1] = np.nan
    with pytest.raises(fg.NonFiniteError, match=r"^step 1 \(epoch 0\): the loss is nan.* first: x"):
        classifier().fit(x, y, loss="mse", optimizer=fg.Adam(), batch_size=3, shuffle=False)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_targets_that_are_not_finite(bad):
    x, y = arrays()
    y[3] = bad
    with pytest.raises(fg.NonFiniteError, match=r"^step 1 .* first: y\."):
        classifier().fit(x, y, loss="mse", optimizer=fg.Adam(), batch_size=3, shuffle=False)
    with pytest.raises(fg.NonFiniteError, match=r"the loss is inf.* first: the loss itself"):  # whatever y holds
        classifier().fit(x, y, loss=lambda y, target: (np.inf, y), optimizer=fg.Adam())


def test_padding_is_no_such_input():
    x, y = arrays()
    x[:, 4:] = np.nan
    history = classifier().fit(x, y, loss="mse", optimizer=fg.Adam(), lengths=np.full(10, 4))
    assert np.isfinite(history["loss"]).all()


def test_an_update_that_is_not_finite():
    model = classifier()
    before = model.params.flat
    with pytest.raises(fg.NonFiniteError, match=r"^step 0 .*update is not finite.* the parameters of layer 0"):
        model.fit(*arrays(), loss="mse", optimizer=fg.SGD(1e38, weight_decay=1e30))
    np.testing.assert_array_equal(model.params.flat, before)


def test_lbfgs_too():
    x, y = arrays()
    model = classifier()
    before = model.params.flat
    with pytest.raises(fg.NonFiniteError, match=r"^step 0 .*the loss is inf"):
        model.fit(x, y, loss=lambda y, target: (np.inf, y), optimizer="lbfgs")
    np.testing.assert_array_equal(model.params.flat, before)
    with pytest.raises(fg.NonFiniteError, match=r"^step 0 .* first: y\.") as caught:
        model.fit(x, y * np.nan, loss="mse", optimizer="lbfgs")
    assert caught.value.history.epochs == 0


def test_both_halves_of_an_encoder_decoder_are_looked_at():
    def half(seed):
        return [fg.Embedding(7, 3, seed=seed), fg.LSTM(3, 5, seed=seed)]

    decoder = fg.Sequential(*half(1), Poison(0, backward=np.float32(np.nan)), fg.Linear(5, 7, seed=2))
    model = fg.EncoderDecoder(fg.Sequential(*half(0)), decoder)
    x, y = ragged()
    with pytest.raises(fg.NonFiniteError, match=r"comes from decoder layer 2 \(Poison\)"):
        model.fit((x, x), y, loss="cross_entropy", optimizer=fg.Adam())


def test_ctrl_c_leaves_lbfgs_at_its_last_iteration():
    class Interrupt(fg.Callback):
        def on_epoch_end(self, run):
            self.parameters = run.model.params.flat
            if run.epoch == 3:
                raise KeyboardInterrupt

    interrupt, model = Interrupt(), classifier()
    history = model.fit(*arrays(), loss="mse", optimizer="lbfgs", epochs=9, callbacks=[interrupt])
    assert history.interrupted
    assert history.epochs == 3
    np.testing.assert_array_equal(model.params.flat, interrupt.parameters)


class SendCtrlC(fg.Callback):
    """As the terminal sends it."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, run):
        if run.history.steps == self.step:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.skipif(os.name == "nt", reason="the system has no such signal")
def test_ctrl_c_returns_what_was_done(tmp_path):
    model, handler = tagger(), signal.getsignal(signal.SIGINT)
    options = {"loss": "cross_entropy", "optimizer": fg.Adam(), "batch_size": 2, "epochs": 3}
    history = model.fit(*ragged(), **options, callbacks=[SendCtrlC(7)], checkpoint=tmp_path)
    assert history.interrupted
    assert (history.epochs, history.steps) == (1, 7)
    assert "interrupted" in repr(history)
    assert sorted(path.name for path in tmp_path.glob("*.npz")) == ["step-000000005.npz", "step-000000007.npz"]
    assert signal.getsignal(signal.SIGINT) is handler
    assert tagger().fit(*ragged(), **options, checkpoint=tmp_path, resume=True).epochs == 3


def test_ctrl_c_within_an_update_undoes_it(tmp_path):
    """Not at the next step but at once, as a second one comes."""

    class Interrupted(fg.SGD):
        def step(self, params, gradients):
            super().step(params[:1], gradients[:1])
            raise KeyboardInterrupt

    model = classifier()
    before = model.params.flat
    history = model.fit(*arrays(), loss="mse", optimizer=Interrupted(0.1), checkpoint=tmp_path)
    assert history.interrupted
    np.testing.assert_array_equal(model.params.flat, before)
    assert not list(tmp_path.glob("*.npz"))


def test_training_in_another_thread():
    """Which signals never interrupt."""
    results = []
    thread = threading.Thread(
        target=lambda: results.append(classifier().fit(*arrays(), loss="mse", optimizer=fg.Adam()))
    )
    thread.start()
    thread.join()
    assert results[0].epochs == 1


def test_after_ctrl_c_and_after_an_error_the_last_parameters_stay_not_the_best():
    model = classifier()
    model.fit(*arrays(), loss="mse", optimizer=fg.SGD(1e-9), early_stopping=3, callbacks=[Stop(3)], epochs=9)
    assert model.params.version > 2
    x, y = arrays()
    other = classifier()
    with pytest.raises(fg.NonFiniteError):
        other.fit(lambda epoch: [(x, y * (1 if epoch < 2 else np.nan))], loss="mse", optimizer=fg.Adam(0.1), epochs=3,
                  early_stopping=fg.EarlyStopping(3, mode="max"))  # fmt: skip
    assert other.params.version == classifier().params.version + 4


@pytest.mark.parametrize("size", [0, 1, 70_000])
def test_one_entry_that_is_not_finite_is_seen_and_what_would_overflow_is_not(size):
    largest = np.finfo(np.float32).max
    vector = np.full(size, largest, np.float32)
    assert is_finite(vector)
    for bad in (np.nan, np.inf, -np.inf)[: 3 * min(size, 1)]:
        for at in (0, size - 1):
            vector[:] = largest
            vector[at] = bad
            assert not is_finite(vector)


class Hidden:
    """Says that steps which are not finite do not count, and hands them on."""

    def forward(self, x):
        return x, None

    def backward(self, tape, dy):
        return fg.LayerGradients(dy, {})

    def compute_mask(self, x, mask):
        return np.isfinite(x).all(axis=-1)


def test_what_a_layer_masks_is_not_at_fault():
    x, y = arrays()
    x[:, 1] = np.nan
    model = fg.Sequential(Hidden(), fg.LSTM(3, 5, seed=0), fg.FinalState(), fg.Linear(5, 1, seed=1))
    model.fit(x, y, loss="mse", optimizer=fg.Adam())
    with pytest.raises(fg.NonFiniteError, match=r" first: y\."):
        model.fit(x, y * np.nan, loss="mse", optimizer=fg.Adam())
    model.params["3.bias"] = [np.nan]
    with pytest.raises(fg.NonFiniteError, match=r" first: the output of layer 3 \(Linear\)\."):
        model.fit(x, y, loss="mse", optimizer=fg.Adam())


def test_an_encoder_decoder_is_searched_from_its_source_on():
    encoder = fg.Sequential(fg.Linear(3, 3, seed=0), fg.GRU(3, 4, seed=1))
    decoder = fg.Sequential(fg.Embedding(7, 3, seed=2), fg.GRU(3, 4, seed=3), fg.Linear(4, 7, seed=4))
    model, options = fg.EncoderDecoder(encoder, decoder), {"loss": "cross_entropy", "optimizer": fg.Adam()}
    x, target = arrays()[0], np.ones((10, 4), int)
    with pytest.raises(fg.NonFiniteError, match=r" first: x\."):
        model.fit((x * np.float32(np.nan), target), target, **options)
    for name, place in (("encoder.0", "encoder layer 0"), ("decoder.1", "decoder layer 1")):
        own, before = f"{name}.{'bias' if name == 'encoder.0' else 'bias_ih_l0'}", model.params.flat
        model.params[own] = model.params[own] * np.nan
        with pytest.raises(fg.NonFiniteError, match=f" first: the output of {place}"):
            model.fit((x, target), target, **options)
        model.params.flat = before
