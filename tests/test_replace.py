"""A layer with other options and the same parameters."""

import numpy as np
import pytest

import fastgate as fg


def test_options_change_and_parameters_stay():
    layer = fg.LSTM(3, 5, recurrent_dropout=0.2, init="keras", seed=3)
    made = layer.replace(recurrent_dropout=0.0, batch_first=False)
    assert made.config() == layer.config() | {"recurrent_dropout": 0.0, "batch_first": False}
    np.testing.assert_array_equal(made.params.flat, layer.params.flat)
    made.params["weight_hh_l0"] = np.zeros((20, 5))
    assert layer.params["weight_hh_l0"].any()
    other = fg.Linear(2, 3).replace(dtype="float64")
    assert other.params.flat.dtype == np.float64
    assert repr(fg.Masking(2.0).replace(value=1.0)) == "Masking(1)"


@pytest.mark.parametrize(
    ("options", "kind", "piece"),
    [
        ({"hidden_size": 6}, ValueError, "hidden_size=6: .* weight_ih_l0 of shape \\(18, 3\\), of shape \\(15, 3\\)"),
        ({"bias": False}, ValueError, "got no bias_ih_l0, of shape \\(15,\\) in this GRU"),
        (
            {"bidirectional": True},
            ValueError,
            "weight_ih_l0_reverse of shape \\(15, 3\\), which this GRU does not have",
        ),
        ({"hidden": 6}, TypeError, "options of GRU, input_size, .* got 'hidden'"),
        ({"dropout": 2.0}, ValueError, "dropout: expected a probability"),
    ],
)
def test_what_cannot_be_replaced(options, kind, piece):
    with pytest.raises(kind, match=piece):
        fg.GRU(3, 5).replace(**options)


def test_models_take_layers_and_copy_the_others():
    model = fg.Sequential(fg.Embedding(4, 3, mask_zero=True), fg.GRU(3, 5))
    first = model.layers[0].replace(mask_zero=False)
    made = model.replace(layers=(first, *model.layers[1:]))
    assert made.layers == (first, model.layers[1])
    pair = fg.EncoderDecoder(model, fg.Sequential(fg.GRU(3, 5)))
    other = pair.replace(decoder=made)
    assert other.decoder is made
    assert other.encoder is not model
    np.testing.assert_array_equal(other.encoder.params.flat, model.params.flat)


def test_quantized_layers_say_what_to_replace():
    with pytest.raises(TypeError, match=r"replace: .* quantize what replace makes of its original"):
        fg.LSTM(3, 5).quantized("int8").replace(seed=1)


def test_errors_lead_here():
    with pytest.raises(AttributeError, match=r"layer\.replace\(bias=\.\.\.\) makes another one"):
        fg.Linear(2, 3).bias = False
    with pytest.raises(AttributeError, match=r"is fixed when the layer is made$"):
        fg.Sequential(fg.Linear(2, 3)).dtype = "float64"
    for layer in (fg.LSTM(3, 5, recurrent_dropout=0.2), fg.Embedding(4, 3, mask_zero=True)):
        option = "recurrent_dropout=0.0" if isinstance(layer, fg.LSTM) else "mask_zero=False"
        with pytest.raises(ValueError, match=rf"layer\.replace\({option}\) is a copy without it"):
            fg.to_torch(layer, as_state_dict=True)


def test_a_mask_that_onnx_has_not_becomes_lengths():
    pytest.importorskip("onnx", reason="onnx is not installed")
    model = fg.Sequential(fg.Embedding(4, 3, mask_zero=True), fg.GRU(3, 5), fg.FinalState())
    with pytest.raises(ValueError, match=r"layer 0 \(Embedding\): .*replace\(mask_zero=False\).* with lengths=True"):
        fg.to_onnx(model)
    made = fg.Sequential(model.layers[0].replace(mask_zero=False), *model.layers[1:])
    x = np.array([[1, 2, 3], [3, 0, 0]])
    graph = fg.from_onnx(fg.to_onnx(made, lengths=True))
    y = graph.run({"x": x, "lengths": np.array([3, 1], np.int32)})["y"]
    np.testing.assert_allclose(y, model(x), atol=1e-6)
