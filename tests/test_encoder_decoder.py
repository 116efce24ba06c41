"""EncoderDecoder: gradients through the state, what does not fit, and sequences it says itself."""

import copy
import pickle

import numpy as np
import pytest
from complaints import complaint
from differences import assert_close, differences, in_params

import fastgate as fg

rng = np.random.default_rng(0)
B, S, T, V = 3, 5, 4, 6
F64 = {"dtype": "float64"}
LENGTHS = [5, 1, 0], [2, 4, 3]
layouts = pytest.mark.parametrize("batch_first", [True, False], ids=["batch first", "time first"])


def translator(make=fg.LSTM, **options):
    options = {"dropout": 0.3, **options}
    common = {"dtype": options.get("dtype", "float32")}
    encoder = fg.Sequential(fg.Embedding(8, 3, seed=0, **common), make(3, 4, 2, seed=1, **options))
    decoder = fg.Sequential(
        fg.Embedding(V, 2, seed=2, **common), make(2, 4, 2, seed=3, **options), fg.Dropout(0.2, seed=3),
        fg.Linear(4, V, seed=4, **common),
    )  # fmt: skip
    return fg.EncoderDecoder(encoder, decoder)


def laid_out(x, batch_first):
    return x if batch_first else x.T


@pytest.mark.parametrize(
    ("make", "batch_first", "lengths"),
    [(fg.LSTM, True, LENGTHS), (fg.GRU, False, LENGTHS), (fg.LSTM, False, None), (fg.GRU, True, (None, LENGTHS[1]))],
    ids=["ragged", "ragged, time first", "full, time first", "ragged targets"],
)
def test_gradients(make, batch_first, lengths):
    model = translator(make, batch_first=batch_first, **F64)
    model.params.flat = 0.7 * rng.standard_normal(model.params.flat.size)
    pair = laid_out(rng.integers(0, 8, (B, S)), batch_first), laid_out(rng.integers(0, V, (B, T)), batch_first)
    y, tape = model.forward(pair, lengths=lengths, rng_key=2)
    dy = rng.standard_normal(y.shape)
    found = model.backward(tape, dy)
    assert found.x == (None, None)
    assert list(found.params) == list(model.params)
    expected = in_params(model.params, lambda: float((model.forward(pair, lengths=lengths, rng_key=2)[0] * dy).sum()))
    assert_close(found.params.flat, expected)
    assert np.array_equal(model(pair, lengths), model.forward(pair, lengths=lengths, training=False)[0])


def test_gradients_of_numbers_and_several_recurrent_layers():
    """Of one state each: a stack of layers in one model, a bidirectional encoder and two layers for its two rows."""
    encoder = fg.Sequential(fg.Linear(3, 2, **F64), fg.GRU(2, 3, bidirectional=True, **F64), fg.LSTM(6, 2, **F64))
    decoder = fg.Sequential(fg.RNN(2, 3, 2, **F64), fg.LSTM(3, 2, **F64), fg.Linear(2, 1, **F64))
    model = fg.EncoderDecoder(encoder, decoder)
    source, target = rng.standard_normal((B, S, 3)), rng.standard_normal((B, T, 2))
    y, tape = model.forward((source, target))
    dy = rng.standard_normal(y.shape)
    found = model.backward(tape, dy)

    def loss():
        return float((model((source, target)) * dy).sum())

    assert_close(found.x[0], differences(loss, source))
    assert_close(found.x[1], differences(loss, target))
    assert_close(found.params.flat, in_params(model.params, loss))


def test_dropout_masks_of_encoder_and_decoder_differ():
    parts = [fg.Sequential(fg.Dropout(0.5, seed=0), fg.RNN(8, 8, bias=False, seed=0)) for _ in range(2)]
    model = fg.EncoderDecoder(*parts)
    _, tape = model.forward((np.ones((1, 9, 8)), np.ones((1, 9, 8))), rng_key=1)
    encoder, decoder = (part.tapes[1].records[0].x for part in tape.tapes)
    assert not np.array_equal(encoder, decoder)


# -------------------------------------------------------------------------------------------------------- generation


def by_hand(model, source, lengths, start, stop, steps):
    """One row at a time, by the whole sequence said so far."""
    for row in range(len(source)):
        said = [start]
        while len(said) <= steps:
            own = [source[row : row + 1, : S if lengths is None else lengths[row]], np.array([said])]
            last = int(model((own[0], own[1]))[0, -1].argmax())
            if last == stop:
                break
            said.append(last)
        yield said[1:]


@layouts
@pytest.mark.parametrize("lengths", [None, LENGTHS[0]], ids=["full", "ragged"])
def test_generate_is_the_likeliest_next_symbol(lengths, batch_first):
    model, twin = (translator(batch_first=first, **F64) for first in (batch_first, True))
    for seed in range(4):
        model.params.flat = 2 * np.random.default_rng(seed).standard_normal(model.params.flat.size)
        twin.params.flat = model.params.flat
        source = rng.integers(0, 8, (B, S))
        symbols, counts = model.generate(laid_out(source, batch_first), 1, 2, 7, lengths=lengths)
        rows = laid_out(symbols, batch_first)
        assert rows.shape[1] == min(7, counts.max() + 1)
        for row, count, expected in zip(rows, counts, by_hand(twin, source, lengths, 1, 2, 7), strict=True):
            assert row[:count].tolist() == expected
            assert (row[count:] == 2).all()


def test_generate_draws_from_the_softmax():
    model = translator(dropout=0.0)
    model.params.flat = np.zeros(model.params.flat.size)
    model.params["decoder.3.bias"] = np.log([0.1, 0.2, 0.3, 0.4, 1e-9, 1e-9])
    source = np.zeros((20_000, 1), int)
    options = {"start": 0, "stop": None, "max_steps": 1}
    symbols, counts = model.generate(source, **options, temperature=1.0, seed=0)
    shares = np.bincount(symbols[:, 0], minlength=V) / len(source)
    # Four standard deviations of a share of 20,000 draws.
    assert np.abs(shares - [0.1, 0.2, 0.3, 0.4, 0, 0]).max() < 4 * np.sqrt(0.25 / len(source))
    assert (counts == 1).all()
    assert np.array_equal(model.generate(source, **options, temperature=1.0, seed=0)[0], symbols)
    assert not np.array_equal(model.generate(source, **options, temperature=1.0, seed=1)[0], symbols)
    assert (model.generate(source, **options, temperature=1e-4, seed=0)[0] == 3).all()
    assert (model.generate(source, **options)[0] == 3).all()


def test_generate_nothing():
    model = translator()
    symbols, counts = model.generate(np.zeros((0, S), int), 0, 1, 4)
    assert symbols.shape == (0, 0)
    assert counts.shape == (0,)
    model.params["decoder.3.bias"] = [0, 1000, 0, 0, 0, 0]
    symbols, counts = model.generate(np.zeros((2, S), int), 0, 1, 4)
    assert symbols.tolist() == [[1], [1]]
    assert counts.tolist() == [0, 0]


# -------------------------------------------------------------------------------------------------------- complaints


def test_what_does_not_fit():
    def pair(encoder, decoder, **options):
        return fg.EncoderDecoder(fg.Sequential(*encoder), fg.Sequential(*decoder), **options)

    lstm = fg.LSTM(2, 3)
    with complaint(TypeError, "decoder", "a Sequential", "LSTM"):
        fg.EncoderDecoder(fg.Sequential(lstm), fg.LSTM(2, 3))
    with complaint(ValueError, "encoder", "as its last layer", "Linear"):
        pair([lstm, fg.Linear(3, 3)], [fg.LSTM(2, 3)])
    with complaint(ValueError, "decoder layer 0 (LSTM)", "(1, batch, 3)", "(1, batch, 4)"):
        pair([lstm], [fg.LSTM(2, 4)])
    with complaint(ValueError, "decoder layer 1 (GRU)", "h and c", "layer 0"):
        pair([lstm], [fg.Linear(1, 2), fg.GRU(2, 3)])
    with complaint(ValueError, "decoder", "1 recurrent layers", "got 2"):
        pair([lstm], [fg.LSTM(2, 3), fg.LSTM(3, 3)])
    with complaint(ValueError, "layer decoder.0 (LSTM)", "batch_first=True"):
        pair([lstm], [fg.LSTM(2, 3, batch_first=False)])
    with complaint(ValueError, "layer decoder.0 (LSTM)", "dtype"):
        pair([lstm], [fg.LSTM(2, 3, dtype="float64")])
    with complaint(ValueError, "layer decoder.0 (LSTM)", "of its own"):
        pair([lstm], [lstm])


def test_calls_complain():
    model = translator(dropout=0.0)
    source, target = np.zeros((B, S), int), np.zeros((B, T), int)
    with complaint(TypeError, "x", "a pair", "ndarray"):
        model(source)
    with complaint(TypeError, "lengths", "a pair", "list"):
        model((source, target), [1, 2, 3])
    with complaint(ValueError, "temperature", "positive"):
        model.generate(source, 0, 1, 3, temperature=0.0)
    with complaint(ValueError, "source", "batch"):
        model.generate(source[0], 0, 1, 3)
    with complaint(ValueError, "start", "at least 0"):
        model.generate(source, -1, 1, 3)
    numbers = fg.EncoderDecoder(fg.Sequential(fg.GRU(2, 3)), fg.Sequential(fg.GRU(2, 3)))
    with complaint(ValueError, "decoder", "an Embedding"):
        numbers.generate(np.ones((1, 2, 2)), 0, 1, 3)
    y, tape = model.forward((source, target), rng_key=0)
    model.params["encoder.0.weight"] = np.zeros((8, 3))
    with complaint(ValueError, "tape", "written since"):
        model.backward(tape, y)


def test_printed_form_configuration_and_copies():
    model = translator()
    pair = rng.integers(0, 8, (B, S)), rng.integers(0, V, (B, T))
    assert repr(eval(repr(model), vars(fg))) == repr(model)
    assert "encoder.1  LSTM(3, 4, num_layers=2, dropout=0.3)" in model.summary()
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), fg.from_config(model.config())):
        assert repr(twin) == repr(model)
        assert np.array_equal(twin.params.flat, model.params.flat)
        assert np.array_equal(twin.forward(pair, rng_key=3)[0], model.forward(pair, rng_key=3)[0])
        twin.params.flat = np.zeros_like(twin.params.flat)
        assert not twin.encoder.params.flat.any()
    assert model.params.flat.any()
