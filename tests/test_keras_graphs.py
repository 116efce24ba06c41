"""Functional models of Keras that are chains, and models within models."""

import pytest
from keras_tools import IDS, close, drawn, output, same_weights, with_weights

import fastgate as fg

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras
T, I = 6, 4


def functional(keras, make):
    x = inputs = keras.Input((IDS.shape[1],) if make == "embedding" else (T, I))
    L = keras.layers
    x = L.Embedding(10, I, mask_zero=True)(x) if make == "embedding" else L.Masking(2.0)(x)
    for layer in (L.LSTM(5, return_sequences=True), L.Dense(3), L.Bidirectional(L.GRU(2)), L.Dense(2)):
        x = layer(x)
    return with_weights(keras.Model(inputs, x))


@pytest.mark.parametrize("make", ["embedding", "masking"])
def test_functional_chains(keras, tmp_path, make):
    model = functional(keras, make)
    x = IDS if make == "embedding" else drawn((3, T, I), "float32")
    if make == "masking":
        x[0, 2] = x[1, 4:] = x[2, :3] = 2
    own = fg.from_keras(model)
    close(own(x), output(model, x), "float32")
    model.save(tmp_path / "model.keras")
    assert fg.from_keras(tmp_path / "model.keras").config() == own.config()


@pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask:UserWarning")  # and masks nevertheless
def test_a_mask_of_none_is_that_of_the_layers_before(keras):
    """As Keras has it: in its calls, and in those that it writes of a model within a model."""
    L, x, y = keras.layers, keras.Input((IDS.shape[1],)), keras.Input((IDS.shape[1], I))
    inner = keras.Model(y, L.LSTM(3, return_sequences=True)(y))
    embedded = L.Embedding(10, I, mask_zero=True)(x)
    for end in (L.GRU(2)(embedded, mask=None), L.GRU(2)(inner(embedded))):
        model = with_weights(keras.Model(x, end))
        close(fg.from_keras(model)(IDS), output(model, IDS), "float32")


def test_ends_with_a_name(keras):
    L, x = keras.layers, keras.Input((T, I), name="x")
    model = with_weights(keras.Model({"x": x}, {"y": L.LSTM(3)(x)}))
    given = drawn((3, T, I), "float32")
    close(fg.from_keras(model)(given), model({"x": given})["y"].detach().numpy(), "float32")


def test_nested_models(keras, tmp_path):
    L = keras.layers
    inner = keras.Sequential([L.LSTM(3, return_sequences=True), L.Dense(4)])
    model = with_weights(keras.Sequential([keras.Input((T, I)), inner, L.LSTM(2), keras.Sequential([L.Dense(3)])]))
    model.save(tmp_path / "model.keras")
    x = drawn((3, T, I), "float32")
    for own in (fg.from_keras(model), fg.from_keras(tmp_path / "model.keras")):
        assert len(own.layers) == 5
        close(own(x), output(model, x), "float32")
        assert same_weights(fg.to_keras(own), model)


def test_several_go_into_one_model(keras):
    """So no two have one name."""
    first, last = fg.LSTM(I, 3), fg.LSTM(3, 2)
    assert keras.Sequential([keras.Input((T, I)), fg.to_keras(first), fg.to_keras(last)]).count_params() == 96 + 48
    x = keras.Input((T, I))
    keras.Model(x, fg.to_keras(fg.Sequential(last))(fg.to_keras(fg.Sequential(first))(x)))
