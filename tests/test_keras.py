"""Layers and models from Keras and to it: the same weights to the last bit, the same outputs and gradients."""

import random

import numpy as np
import pytest
from keras_tools import IDS, close, drawn, output, same_weights, with_weights

import fastgate as fg
from fastgate.exchange import keras_chain, keras_recurrent
from fastgate.kernels import nonlinearities

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras
T, I = 6, 4


@pytest.fixture(autouse=True)
def float64(torch, keras, monkeypatch):
    """Keras rounds products of float64 to float32, unless it is told that 64 bits are 64."""
    dtypes = pytest.importorskip("keras.src.backend.common.dtypes", reason="Keras has no such table any more")
    monkeypatch.setitem(dtypes.BIT64_TO_BIT32_DTYPE, "float64", "float64")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more only wait for one another
    yield
    torch.set_num_threads(threads)


def masked(layers, *others):
    return [layers.Embedding(10, I, mask_zero=True), *others]


def both(layers, mode, **options):
    return [layers.Bidirectional(layers.LSTM(5, **options), merge_mode=mode)]


def cells(layers, **options):
    return [layers.RNN([layers.LSTMCell(3, dropout=0.1), layers.GRUCell(5)], **options)]


MODELS = {
    "lstm": lambda L: [L.LSTM(5)],
    "lstm_no_bias": lambda L: [L.LSTM(5, use_bias=False, return_sequences=True, dropout=0.2)],
    "lstm_backwards": lambda L: [L.LSTM(5, go_backwards=True, return_sequences=True)],
    "gru": lambda L: [L.GRU(5, return_sequences=True)],
    "gru_backwards": lambda L: [L.GRU(5, go_backwards=True, dropout=0.3)],
    "gru_reset_before": lambda L: [L.GRU(5, reset_after=False), L.Dense(2)],
    "gru_no_bias": lambda L: [L.GRU(5, use_bias=False)],
    "rnn": lambda L: [L.SimpleRNN(5, unroll=True)],
    "rnn_relu": lambda L: [L.SimpleRNN(5, activation="relu", return_sequences=True), L.SimpleRNN(3)],
    "concat": lambda L: both(L, "concat", return_sequences=True),
    "sum": lambda L: both(L, "sum", return_sequences=True),
    "mul": lambda L: both(L, "mul"),
    "ave": lambda L: both(L, "ave", dropout=0.1),
    "cell": lambda L: [L.RNN(L.GRUCell(5), return_sequences=True)],
    "cell_both": lambda L: [L.Bidirectional(L.RNN(L.LSTMCell(5)), merge_mode="mul")],
    "cells": cells,
    "cells_backwards": lambda L: cells(L, go_backwards=True, return_sequences=True),
    "activation": lambda L: [L.LSTM(5, activation="softsign", recurrent_activation="hard_sigmoid")],
    "parts": lambda L: [
        L.LSTM(5, return_sequences=True), L.LayerNormalization(), L.TimeDistributed(L.Dense(3, activation="gelu")),
        L.Dropout(0.1), L.SpatialDropout1D(0.2), L.Activation("silu"), L.LeakyReLU(negative_slope=0.01), L.ReLU(),
        L.ELU(), L.Softmax(), L.GRU(4), L.Flatten(), L.Dense(2, activation="log_softmax"),
    ],
    "masked": lambda L: masked(L, L.LSTM(5, return_sequences=True), L.Dense(3), L.GRU(4), L.Dense(2, "softmax")),
    "masked_zeros": lambda L: masked(L, L.GRU(5, return_sequences=True, zero_output_for_mask=True), L.Dense(3)),
    "masked_backwards": lambda L: masked(L, L.SimpleRNN(5, go_backwards=True)),
    "masked_both": lambda L: masked(L, *both(L, "sum", return_sequences=True), L.Dense(3), *both(L, "ave")),
    "masked_cells": lambda L: masked(L, *cells(L, return_sequences=True), L.TimeDistributed(L.Dense(3))),
}  # fmt: skip
CASES = {f"{name}_64": (make, "float64") for name, make in MODELS.items()}
CASES |= {f"{name}_32": (MODELS[name], "float32") for name in ("lstm", "gru", "rnn", "parts", "masked", "masked_both")}
models = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)


def model_of(keras, make, dtype="float32"):
    keras.config.set_floatx(dtype)  # of its input, which is rounded to it
    keras.config.set_dtype_policy(dtype)
    try:
        layers = make(keras.layers)
        is_index = isinstance(layers[0], keras.layers.Embedding)
        shape = (IDS.shape[1],) if is_index else (T, I)
        return with_weights(keras.Sequential([keras.Input(shape), *layers])), IDS if is_index else drawn(
            (3, T, I), dtype
        )
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize(("make", "dtype"), CASES.values(), ids=CASES)
def test_models(keras, tmp_path, make, dtype):
    model, x = model_of(keras, make, dtype)
    own = fg.from_keras(model)
    expected = output(model, x)
    close(own(x), expected, dtype)

    back = fg.to_keras(own)
    assert same_weights(back, model)
    close(output(back, x), expected, dtype)
    fg.to_keras(own, tmp_path / "own.keras")
    read = keras.models.load_model(tmp_path / "own.keras")
    assert same_weights(read, model)
    close(output(read, x), expected, dtype)
    again = fg.from_keras(tmp_path / "own.keras")
    assert again.config() == own.config()
    assert again.params.flat.tobytes() == own.params.flat.tobytes()


@models
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_files_of_keras(keras, tmp_path, make):
    model, _ = model_of(keras, make)
    own = fg.from_keras(model)
    for name in ("model.keras", "model.h5"):
        model.save(tmp_path / name)
        read = fg.from_keras(tmp_path / name)
        assert read.config() == own.config()
        assert read.params.flat.tobytes() == own.params.flat.tobytes()

    fg.to_keras(own, tmp_path / "own.weights.h5")
    other = with_weights(fg.to_keras(own), seed=9)
    assert not same_weights(other, model)
    other.load_weights(tmp_path / "own.weights.h5")
    assert same_weights(other, model)
    other.save_weights(tmp_path / "other.weights.h5")
    read.params.flat = np.zeros(read.params.flat.size)
    assert fg.from_keras(tmp_path / "other.weights.h5", into=read) is read
    assert read.params.flat.tobytes() == own.params.flat.tobytes()


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
def test_layers_by_themselves(keras, kind):
    """They return all outputs and the final state; Keras as its options say."""
    layer = getattr(keras.layers, kind)(5, return_sequences=True, return_state=True, stateful=True)
    x = drawn((3, T, I), "float32")
    layer(x)
    with_weights(layer)
    layer.reset_state()
    y, *state = (part.detach().numpy() for part in layer(x))
    own = fg.from_keras(layer)
    assert type(own).__name__ == kind.replace("Simple", "")
    ours, end = own(x)
    close(ours, y, "float32")
    for part, expected in zip(end if kind == "LSTM" else [end], state, strict=True):
        close(part[0], expected, "float32")
    back = fg.to_keras(own)
    assert type(back) is type(layer)
    assert same_weights(with_weights(back), with_weights(layer))
    y, *_ = (part.detach().numpy() for part in layer(x))  # which goes on from its state
    close(fg.from_keras(layer)(x, end)[0], y, "float32")


def test_other_layers_by_themselves(keras):
    L, x = keras.layers, drawn((3, I), "float32")
    for layer in (L.Dense(5), L.LayerNormalization(epsilon=1e-4), L.Bidirectional(L.GRU(3))):
        x = x[:, None] if isinstance(layer, L.Bidirectional) else x
        layer(x)
        own = fg.from_keras(with_weights(layer))
        assert not isinstance(own, fg.Sequential)
        assert same_weights(fg.to_keras(own), layer)
    assert isinstance(
        fg.from_keras(with_weights(keras.Sequential([keras.Input((I,)), L.Dense(5, "relu")]))), fg.Sequential
    )


def test_two_biases_are_merged_once(keras):
    layer = fg.LSTM(I, 5, 2, bidirectional=True, dtype="float64", seed=0)
    layer.params.flat = drawn(layer.params.flat.size)
    x, model = drawn((3, T, I)), fg.to_keras(layer)
    close(output(model, x), layer(x)[0], "float64")
    single = fg.from_keras(model)
    assert same_weights(fg.to_keras(single), model)
    fg.from_keras(model, into=layer)
    assert not layer.params["bias_hh_l0"].any()
    np.testing.assert_array_equal(layer.params["bias_ih_l1_reverse"], single.layers[1].params["bias_l0_reverse"])
    close(layer(x)[0], output(model, x), "float64")


@pytest.mark.parametrize("bias", [True, "single"])
def test_a_gru_keeps_both_biases(keras, bias):
    layer = fg.GRU(I, 5, bias=bias, dtype="float64", seed=0)
    layer.params.flat = drawn(layer.params.flat.size)
    before, model = layer.params.flat.copy(), fg.to_keras(layer)
    close(output(model, drawn((3, T, I))), layer(drawn((3, T, I)))[0], "float64")
    fg.from_keras(model, into=layer)
    assert layer.params.flat.tobytes() == before.tobytes()


def test_weights_go_where_they_fit(keras):
    """By class and order, all of them or none."""
    L = keras.layers
    model = with_weights(keras.Sequential([keras.Input((T, I)), L.Dropout(0.1), L.LSTM(3), L.Dense(2)]))
    own = fg.Sequential(fg.LSTM(I, 3), fg.FinalState(), fg.Linear(3, 2))
    close(fg.from_keras(model, into=own)(drawn((3, T, I))), output(model, drawn((3, T, I))), "float32")
    for source, into, piece in (
        (model, fg.LSTM(I, 3), "'dense': expected 'lstm'"),
        (model, fg.Sequential(fg.GRU(I, 3), fg.Linear(3, 2)), "'lstm': expected 'gru'"),
        (model, fg.Sequential(fg.LSTM(I, 3), fg.Linear(3, 2), fg.Linear(2, 2)), "dense_1"),
        (model, fg.Sequential(fg.LSTM(I, 4), fg.Linear(4, 2)), "(4, 16), got (4, 12)"),
        (model.layers[1], fg.Linear(I, 3), "expected 2 arrays"),
        (model.layers[2], fg.LSTM(I, 3), "with a cell"),
        (model.layers[1], own, "one layer"),
    ):
        before = into.params.flat.copy()
        with pytest.raises(ValueError, match=r"^(into|weights|dense_1)") as caught:
            fg.from_keras(source, into=into)
        assert piece in str(caught.value)
        np.testing.assert_array_equal(into.params.flat, before)


def test_gradients(torch, keras):
    """By PyTorch through Keras: of the weights, masks included."""
    model, _ = model_of(keras, MODELS["masked"], "float64")
    own, dy = fg.from_keras(model), drawn((len(IDS), 2))
    (model(IDS) * torch.from_numpy(dy)).sum().backward()
    _, tape = own.forward(IDS, training=False)
    found = fg.from_keras(model)
    found.params.flat = own.backward(tape, dy).params.flat
    gradients = fg.to_keras(found).get_weights()
    for weight, gradient in zip(model.trainable_weights, gradients, strict=True):
        np.testing.assert_allclose(gradient, weight.value.grad.numpy(), rtol=1e-10, atol=1e-12, err_msg=weight.path)


def test_dropout_goes_both_ways(keras):
    L = keras.layers
    layers = [L.LSTM(3, dropout=0.25, recurrent_dropout=0.5, return_sequences=True), L.Dropout(0.125), L.GRU(4)]
    own = fg.from_keras(keras.Sequential([keras.Input((T, I)), *layers]))
    assert [own.layers[0].p, own.layers[0].same_every_step, own.layers[1].recurrent_dropout] == [0.25, True, 0.5]
    first, second, _ = fg.to_keras(own).layers
    assert [first.dropout, first.recurrent_dropout, second.rate] == [0.25, 0.5, 0.125]


def test_nothing_but_the_result_changes(keras):
    layer, before = fg.GRU(3, 4, seed=0), random.getstate()
    made = fg.to_keras(layer)
    assert random.getstate() == before
    with_weights(made)
    assert layer.params.flat.tobytes() == fg.GRU(3, 4, seed=0).params.flat.tobytes()


def test_activations_are_those_of_keras(torch, keras):
    x = np.linspace(-4, 4, 41)
    for name, own in keras_recurrent.ACTIVATIONS.items():
        kind, *parameters = own if isinstance(own, tuple) else (own,)
        given = parameters or nonlinearities.DEFAULTS[kind]
        function = nonlinearities.activation(kind, tuple(given)).function
        expected = keras.activations.get(name)(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose([function(own) for own in x.tolist()], expected, rtol=1e-7, atol=1e-8, err_msg=name)
    for name, own in keras_chain.FUNCTIONS.items():
        expected = keras.activations.get(name)(torch.from_numpy(x[None])).numpy()
        np.testing.assert_allclose(fg.Activation(own)(x[None]) if own else x[None], expected, atol=1e-9, err_msg=name)
