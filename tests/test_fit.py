"""`fit`, `predict` and `evaluate`: each against the same loop written by hand, or against another way to the same."""

import tracemalloc

import numpy as np
import pytest
from kernel_tools import run_python
from training_tools import Watch, arrays, classifier, generated, ragged, stream, tagger

import fastgate as fg
from fastgate.training.batches import epoch_order


def test_the_loop_written_by_hand():
    x, y = arrays()
    model, other, adam, watch = classifier(), classifier(), fg.Adam(1e-2), Watch()
    options = {"loss": "mse", "optimizer": fg.Adam(1e-2), "epochs": 2, "batch_size": 4, "seed": 5, "clip_norm": 0.5}
    history, losses = model.fit(x, y, **options, callbacks=[watch]), []
    for step in range(6):
        order = epoch_order(5, step // 3, 10)[step % 3 * 4 :][:4]
        out, tape = other.forward(x[order], rng_key=step)
        loss, dy = fg.mse(out, y[order])
        gradients = other.params.split(other.backward(tape, dy).params)
        fg.clip_gradient_norm(gradients, 0.5)
        adam.step(other.params.layers, gradients)
        losses.append(loss)
    np.testing.assert_array_equal(model.params.flat, other.params.flat)
    assert watch.losses == losses
    weights = np.array([4, 4, 2]) / 10
    np.testing.assert_allclose(history["loss"], [weights @ losses[:3], weights @ losses[3:]], rtol=1e-12)
    assert (history.epochs, history.steps) == (2, 6)


def test_every_epoch_takes_every_sample_in_another_order():
    orders = [epoch_order(0, epoch, 50) for epoch in range(3)] + [epoch_order(1, 0, 50)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({order.tobytes() for order in orders}) == 4


def same_training(first, second, model=tagger, **options):
    """Two ways to say the same."""
    options = {"loss": "cross_entropy", "epochs": 2, "batch_size": 4, "shuffle": False} | options
    models, histories = [], []
    for data, own in (first, second):
        models.append(model())
        histories.append(models[-1].fit(*data, optimizer=fg.Adam(1e-2), **(options | own)))
    np.testing.assert_allclose(models[0].params.flat, models[1].params.flat, rtol=2e-4, atol=1e-6)
    for name in histories[0]:
        np.testing.assert_allclose(histories[0][name], histories[1][name], rtol=1e-4, err_msg=name)
    return models


def padded(sequences):
    lengths = np.array([len(own) for own in sequences])
    array = np.zeros((len(sequences), lengths.max()), int)
    for row, own in zip(array, sequences, strict=True):
        row[: len(own)] = own
    return array, lengths


def test_lists_are_padded_and_their_lengths_known():
    x, y = ragged()
    (x_array, lengths), (y_array, _) = padded(x), padded(y)
    data = {"metrics": ["accuracy", "bits_per_character"], "validation": (x, y)}
    same_training(((x, y), {}), ((x_array, y_array), {"lengths": lengths}), **data)
    same_training(((x, y), {}), (([own.tolist() for own in x], [own.tolist() for own in y]), {}), **data)
    same_training(((x, y), {}), ((lambda epoch: [(x[i : i + 4], y[i : i + 4]) for i in (0, 4, 8)],), {}), **data)


def test_time_first_is_the_same_with_other_axes():
    x, y = ragged()
    (x_array, lengths), (y_array, _) = padded(x), padded(y)
    first = ((x_array, y_array), {"lengths": lengths})
    turned = [tagger(), tagger(batch_first=False)]
    second = ((x_array.T, y_array.T), {"lengths": lengths})
    a, b = same_training(first, second, model=lambda: turned.pop(0), metrics=["accuracy"])
    np.testing.assert_allclose(a.predict(x_array), b.predict(x_array.T).swapaxes(0, 1), rtol=1e-3, atol=1e-5)
    for one, two in zip(a.predict(x, batch_size=3), b.predict(x), strict=True):
        assert one.shape == two.shape
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-5)


def test_weights_are_as_good_as_repetition():
    x, y = arrays()
    weights = np.tile([1.0, 3.0], 5)
    options = {"model": lambda: fg.Sequential(fg.LSTM(3, 5, seed=0), fg.FinalState(), fg.Linear(5, 1, seed=1))}
    repeated = np.repeat(np.arange(10), weights.astype(int))
    second = ((x[repeated], y[repeated]), {"validation": (x[repeated], y[repeated])})
    first = ((x, y), {"weights": weights, "validation": (x, y, None, weights)})
    same_training(first, second, **options, loss="mse", batch_size=100, metrics=["r2", "mean_absolute_error"])


def test_one_label_for_all_steps():
    model = fg.Sequential(fg.Embedding(7, 3, seed=0), fg.LSTM(3, 5, seed=1), fg.Linear(5, 1, seed=2))
    x, _ = ragged()
    labels = np.array([own[0] % 2 for own in x])
    options = {"loss": "binary_cross_entropy", "metrics": ["accuracy"], "validation": (x, labels)}
    history = model.fit(x, labels, **options, optimizer=fg.Adam(5e-2), epochs=20)
    assert history["val_loss"][-1] < history["val_loss"][0]


@pytest.mark.parametrize("metric", [["accuracy", "perplexity"], [fg.accuracy, lambda y, target, lengths: y.size]])
def test_evaluation_does_not_depend_on_batches(metric):
    """A function of one's own sees all outputs at once."""
    x, y = ragged(17)
    model = tagger()
    found = [model.evaluate(x, y, loss="cross_entropy", metrics=metric, batch_size=size) for size in (1, 5, 17)]
    alone = fg.cross_entropy(model(*padded(x)), padded(y)[0], lengths=padded(x)[1])[0]
    for each in found:
        assert each["loss"] == pytest.approx(alone, rel=1e-6)
        assert each["accuracy"] == pytest.approx(found[0]["accuracy"], rel=1e-12)
    assert found[0].get("<lambda>", 17 * 6 * 7) == 17 * 6 * 7


def test_prediction_is_calling_the_model_without_dropout():
    x, _ = arrays()
    model = classifier()
    np.testing.assert_array_equal(model.predict(x, batch_size=3), model(x))
    np.testing.assert_array_equal(model.predict(iter([x[:4], (x[4:],)])), model(x))


def test_a_fraction_is_the_last_samples():
    x, y = arrays()
    same_training(
        ((x, y), {"validation": 0.3}), ((x[:7], y[:7]), {"validation": (x[7:], y[7:])}), classifier, loss="mse"
    )
    x, y = stream(50)
    options = {"stateful": 4, "batch_size": 2}
    same_training(((x, y), {"validation": 0.2}), ((x[:40], y[:40]), {"validation": (x[40:], y[40:])}), **options)


def test_a_stream_carries_states_and_cuts_gradients():
    x, y = stream(43)
    model, other, adam, watch = tagger(), tagger(), fg.Adam(1e-2), Watch()
    options = {"loss": "cross_entropy", "optimizer": fg.Adam(1e-2), "batch_size": 3, "stateful": 5}
    history = model.fit(x, y, **options, callbacks=[watch])
    x, y = (own[:42].reshape(3, 14) for own in (x, y))
    state, losses = None, []
    for steps in (slice(0, 5), slice(5, 10), slice(10, 14)):
        out, tape = other.forward(x[:, steps], state=state)
        loss, dy = fg.cross_entropy(out, y[:, steps])
        adam.step(other.params.layers, other.params.split(other.backward(tape, dy).params))
        state = tape.state
        losses.append(loss)
    np.testing.assert_array_equal(model.params.flat, other.params.flat)
    assert watch.losses == losses
    assert history.steps == 3
    whole = fg.cross_entropy(model(x), y)[0]  # each stream at once
    found = model.evaluate(x.reshape(-1), y.reshape(-1), loss="cross_entropy", batch_size=3, stateful=5)
    assert found["loss"] == pytest.approx(whole, rel=1e-5)
    two = model.evaluate(x, y, loss="cross_entropy", stateful=4)
    assert two["loss"] == pytest.approx(whole, rel=1e-5)


def test_features_and_time_first_streams():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 3)).astype(np.float32)
    models = [
        fg.Sequential(fg.LSTM(3, 5, seed=0, batch_first=first), fg.Linear(5, 1, seed=1)) for first in (True, False)
    ]
    options = {"model": lambda: models.pop(0), "loss": "mse", "stateful": 7, "batch_size": 2}
    y = x.sum(1, keepdims=True)
    same_training(((x, y), {}), ((x, y), {}), **options)


def test_a_memory_map_is_not_read_whole(tmp_path):
    shape = (4000, 50, 3)  # 4.8 MB as float64
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float64, shape)
    x[...] = np.random.default_rng(0).standard_normal(shape)
    x.flush()
    x, model = np.load(tmp_path / "x.npy", mmap_mode="r"), classifier()
    y = np.zeros(len(x))
    options = {"loss": "mse", "optimizer": fg.Adam(), "batch_size": 20, "validation": 0.1}
    model.fit(x[:40], y[:40], **options)
    tracemalloc.start()
    model.fit(x, y, **options)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < x.nbytes / 4


def test_an_encoder_decoder_on_lists():
    rng = np.random.default_rng(0)
    source = [rng.integers(1, 9, n) for n in rng.integers(1, 6, 20)]
    target = [np.concatenate([[0], own[::-1], [0]]) for own in source]
    data = (source, [own[:-1] for own in target]), [own[1:] for own in target]
    encoder = fg.Sequential(fg.Embedding(9, 6, seed=0), fg.LSTM(6, 16, seed=1))
    decoder = fg.Sequential(fg.Embedding(9, 6, seed=2), fg.LSTM(6, 16, seed=3), fg.Linear(16, 9, seed=4))
    model = fg.EncoderDecoder(encoder, decoder)
    options = {"loss": "cross_entropy", "metrics": ["accuracy"], "validation": data, "batch_size": 6}
    history = model.fit(*data, **options, optimizer=fg.Adam(1e-2), epochs=30)
    assert history["val_loss"][-1] < 0.7 * history["val_loss"][0]
    assert [len(y) for y in model.predict(data[0])] == [len(own) for own in data[1]]


def test_lbfgs_is_scipys_on_the_whole():
    """Batches add up to the loss and gradient of all; the last parameters are those of an iteration, not of a trial."""
    x, y = arrays()

    def make():
        lstm, linear = fg.LSTM(3, 5, seed=0, dtype="float64"), fg.Linear(5, 1, seed=1, dtype="float64")
        return fg.Sequential(lstm, fg.FinalState(), linear)

    models, options = [], {"loss": "mse", "optimizer": "lbfgs", "epochs": 6, "metrics": ["r2"], "validation": (x, y)}
    for size in (3, 10):
        models.append(make())
        history = models[-1].fit(x, y, **options, batch_size=size)
    np.testing.assert_allclose(models[0].params.flat, models[1].params.flat, rtol=1e-5, atol=1e-8)
    assert history["loss"] == sorted(history["loss"], reverse=True)
    assert history["loss"][-1] == pytest.approx(models[1].evaluate(x, y, loss="mse")["loss"], rel=1e-9)
    np.testing.assert_allclose(history["val_loss"], history["loss"], rtol=1e-9)
    with pytest.raises(ValueError, match=r"^clip_norm: "):
        make().fit(x, y, **options, clip_norm=1.0)


def test_an_iterator_lasts_for_its_batches():
    batches = (batch for epoch in range(2) for batch in generated(epoch))
    model = classifier()
    history = model.fit(batches, loss="mse", optimizer=fg.Adam(), epochs=3, steps_per_epoch=2)
    assert history.steps == 6
    with pytest.raises(ValueError, match=r"^x: expected batches, got none in epoch 1"):
        model.fit(iter(list(generated(0))), loss="mse", optimizer=fg.Adam(), epochs=3)


def test_the_same_bits_for_any_number_of_threads():
    """Those of BLAS, too."""
    program = (
        "import numpy as np, fastgate as fg, hashlib\n"
        "x = np.random.default_rng(0).standard_normal((80, 30, 32)).astype(np.float32)\n"
        "model = fg.Sequential(fg.LSTM(32, 64, seed=0), fg.FinalState(), fg.Linear(64, 1, seed=1))\n"
        "model.fit(x, x[:, 0, 0], loss='mse', optimizer=fg.Adam(), batch_size=40, epochs=2, clip_norm=0.01)\n"
        "print(hashlib.sha256(model.params.flat.tobytes()).hexdigest())\n"
    )
    runs = [run_python(program, FASTGATE_NUM_THREADS=n, OPENBLAS_NUM_THREADS=n) for n in ("1", "2")]
    assert runs[0].stdout == runs[1].stdout
