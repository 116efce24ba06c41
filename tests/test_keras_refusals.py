"""Layers, options and graphs of Keras that fastgate does not have, and layers that Keras does not: refused by name."""

import numpy as np
import pytest

import fastgate as fg

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras
SHAPE = 6, 4


def chain(*make):
    return lambda K: K.Sequential([K.Input(SHAPE), *(own(K.layers) for own in make)])


def masked(*make):
    return chain(lambda L: L.Masking(), *make)


def residual(K):
    x = K.Input(SHAPE)
    return K.Model(x, K.layers.Dense(2)(K.layers.LSTM(5)(x) + K.layers.GRU(5)(x)))


def shared(K):
    x, layer = K.Input(SHAPE), K.layers.Dense(4)
    return K.Model(x, layer(layer(x)))


def two_outputs(K):
    x = K.Input(SHAPE)
    return K.Model(x, [K.layers.LSTM(5)(x), K.layers.GRU(5)(x)])


def with_state(K):
    x, h = K.Input(SHAPE), K.Input((5,))
    return K.Model([x, h], K.layers.GRU(5)(x, initial_state=h))


def second_output(K):
    x = K.Input(SHAPE)
    return K.Model(x, K.layers.GRU(5, return_state=True)(x)[1])


def other_mask(K):
    x = K.Input(SHAPE)
    return K.Model(x, K.layers.LSTM(5)(x, mask=K.ops.any(K.ops.not_equal(x, 3.0), axis=-1)))


def custom(K):
    return type("LSTM", (K.layers.LSTM,), {})(5)


def without_config(K):
    class Own(K.Model):
        def __init__(self, size):
            super().__init__()
            self.inner = K.layers.Dense(int(size))

        def call(self, x):
            return self.inner(x)

    model = Own(np.int64(3))
    model(np.zeros((1, *SHAPE)))
    return model


def mirrored(L):
    return L.Bidirectional(L.LSTM(5), backward_layer=L.LSTM(5, activation="relu", go_backwards=True))


def inverted(L):
    return L.Bidirectional(L.LSTM(5, go_backwards=True), backward_layer=L.LSTM(5))


REFUSED = {
    "layer": (chain(lambda L: L.Conv1D(3, 2)), "Conv1D"),
    "lambda": (chain(lambda L: L.Lambda(lambda x: x)), "Lambda"),
    "subclass": (custom, "never imported or run"),
    "activation": (chain(lambda L: L.LSTM(5, activation="gelu")), "activation='gelu'"),
    "gates": (chain(lambda L: L.GRU(5, recurrent_activation="hard_tanh")), "recurrent_activation='hard_tanh'"),
    "function": (chain(lambda L: L.Dense(5, activation="selu")), "activation='selu'"),
    "slope": (chain(lambda L: L.LeakyReLU()), "negative_slope=0.3"),
    "largest": (chain(lambda L: L.ReLU(max_value=6.0)), "max_value=6.0"),
    "softmax": (chain(lambda L: L.Softmax(axis=1)), "axis=1"),
    "softmax_masked": (masked(lambda L: L.Softmax()), "no mask"),
    "norm_axis": (chain(lambda L: L.LayerNormalization(axis=1)), "axis="),
    "norm_rms": (chain(lambda L: L.LayerNormalization(rms_scaling=True)), "rms_scaling=True"),
    "norm_scale": (chain(lambda L: L.LayerNormalization(center=False)), "center=False"),
    "noise": (chain(lambda L: L.Dropout(0.5, noise_shape=(None, 6, 1))), "noise_shape"),
    "flatten": (chain(lambda L: L.Flatten()), "between axes"),
    "reshape": (chain(lambda L: L.Reshape((3, 8))), "between axes"),
    "time": (chain(lambda L: L.TimeDistributed(L.Embedding(3, 4))), "inside, got Embedding"),
    "merge": (chain(lambda L: L.Bidirectional(L.LSTM(5), merge_mode=None)), "merge_mode=None"),
    "mirror": (chain(mirrored), "both directions with the same activations"),
    "inverted": (chain(inverted), "mirror image"),
    "state": (second_output, "the output of a layer"),
    "backwards": (masked(lambda L: L.LSTM(5, go_backwards=True, return_sequences=True)), "go_backwards=True"),
    "zeros": (masked(lambda L: L.LSTM(5, zero_output_for_mask=True)), "zero_output_for_mask=True"),
    "masks": (masked(lambda L: L.Masking(3.0)), "no mask before it"),
    "dtype": (chain(lambda L: L.Dense(5, dtype="int8_from_float32")), "dtype"),
    "residual": (residual, "one input"),
    "shared": (shared, "1, 0]"),
    "outputs": (two_outputs, "one of output_layers"),
    "initial_state": (with_state, "one of input_layers"),
    "other_mask": (other_mask, "the mask of the layers before it"),
    "without_config": (without_config, "a class of your own"),
    "nothing": (lambda K: K.layers.Activation("linear"), "does something"),
    "unbuilt": (lambda K: K.layers.LSTM(5), "built"),
}


@pytest.mark.parametrize(("make", "piece"), REFUSED.values(), ids=REFUSED)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_refused_models(keras, make, piece):
    model = make(keras)
    if piece == "never imported or run":
        model(np.zeros((1, *SHAPE)))
    with pytest.raises(ValueError, match=r"^(model|source): ") as caught:
        fg.from_keras(model)
    assert piece in str(caught.value)


LAYERS = {
    "peepholes": (lambda: fg.LSTM(3, 4, peepholes=True), ValueError, "peepholes=True"),
    "clip": (lambda: fg.GRU(3, 4, clip=3.0), ValueError, "clip=3.0"),
    "projection": (lambda: fg.LSTM(3, 4, proj_size=2), ValueError, "proj_size=2"),
    "coupled": (lambda: fg.LSTM(3, 4, coupled=True), ValueError, "coupled=True"),
    "carry": (lambda: fg.GRU(3, 4, reset_after=False, reset_carry=True), ValueError, "reset_carry=True"),
    "time_major": (lambda: fg.LSTM(3, 4, batch_first=False), ValueError, "batch_first=False"),
    "activation": (lambda: fg.RNN(3, 4, nonlinearity=("scaled_tanh", 2.0, 1.0)), ValueError, "scaled_tanh"),
    "hard": (lambda: fg.GRU(3, 4, activations=("hard_sigmoid", "tanh")), ValueError, "hard_sigmoid"),
    "two": (lambda: fg.LSTM(3, 4, activations=("sigmoid", "tanh", "relu")), ValueError, "one in Keras"),
    "padding": (lambda: fg.Embedding(3, 4, padding_idx=1), ValueError, "padding_idx=1"),
    "states": (lambda: fg.Sequential(fg.GRU(3, 4), fg.FinalState(True)), ValueError, "all_layers=True"),
    "reverse": (lambda: fg.Sequential(fg.Reverse(), fg.Linear(3, 4)), ValueError, "Reverse elsewhere"),
    "reverse_stack": (lambda: fg.Sequential(fg.Reverse(), fg.GRU(3, 4, 2)), ValueError, "one layer"),
    "merged": (lambda: fg.MergeDirections("sum"), ValueError, "MergeDirections"),
    "repeated": (
        lambda: fg.Sequential(fg.Masking(), fg.GRU(3, 4, bidirectional=True), fg.RepeatPast()), ValueError, "mask",
    ),
    "reversed_mask": (lambda: fg.Sequential(fg.Masking(), fg.Reverse(), fg.GRU(3, 4)), ValueError, "mask"),
    "quantized": (lambda: fg.LSTM(3, 4).quantized("int8"), TypeError, "Quantized"),
    "own": (lambda: type("Own", (fg.Linear,), {})(3, 4), TypeError, "Own"),
    "own_lstm": (lambda: type("Own", (fg.LSTM,), {})(3, 4), TypeError, "Own"),
    "nothing": (lambda: None, TypeError, "NoneType"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "kind", "piece"), LAYERS.values(), ids=LAYERS)
def test_refused_layers(tmp_path, make, kind, piece):
    with pytest.raises(kind, match=r"^(layer|LSTM)") as caught:
        fg.to_keras(make(), tmp_path / "file.keras")
    assert piece in str(caught.value)
    assert not list(tmp_path.iterdir())
