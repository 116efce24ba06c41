"""Layers and models as ONNX graphs: ONNX Runtime computes the same, and what is read again has the same parameters."""

import numpy as np
import pytest
from complaints import complaint

import fastgate as fg

onnx = pytest.importorskip("onnx", reason="onnx is not installed: nothing can be written")
runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: parity with it is not tested")

B, T, I, H = 3, 5, 4, 6


def session(proto):
    return runtime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])


def input_of(layer, dtype="float32", *, batch_first=True, seed=0):
    rng = np.random.default_rng(seed)
    first = layer.layers[0] if isinstance(layer, fg.Sequential) else layer
    shape = (B, T) if batch_first else (T, B)
    if isinstance(first, fg.Embedding):
        return rng.integers(0, first.num_embeddings, shape)
    return rng.standard_normal((*shape, I)).astype(dtype)


LAYERS = {
    "lstm": lambda **o: fg.LSTM(I, H, seed=0, **o),
    "stack": lambda **o: fg.LSTM(I, H, 2, bidirectional=True, bias="single", seed=0, **o),
    "lstm options": lambda **o: fg.LSTM(
        I, H, activations=("hard_sigmoid", ("elu", 0.5), "linear"), peepholes=True, coupled=True, clip=0.75, seed=0, **o
    ),
    "peepholes": lambda **o: fg.LSTM(I, H, peepholes=True, bidirectional=True, bias=False, seed=0, **o),
    "gru": lambda **o: fg.GRU(I, H, 2, bias="single", seed=0, **o),
    "gru before": lambda **o: fg.GRU(I, H, bidirectional=True, reset_after=False, seed=0, **o),
    "rnn": lambda **o: fg.RNN(I, H, nonlinearity=("leaky_relu", 0.25), clip=0.5, seed=0, **o),
}


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_in_onnx_runtime(name, batch_first):
    layer = LAYERS[name](batch_first=batch_first)
    rng = np.random.default_rng(1)
    layer.params.flat = rng.uniform(-0.6, 0.6, layer.params.flat.size)
    x, lengths = input_of(layer, batch_first=batch_first), np.array([5, 2, 4], np.int32)
    rows = layer.num_layers * (1 + layer.bidirectional)
    start = [rng.standard_normal((rows, B, H)).astype(np.float32) for _ in range(1 + isinstance(layer, fg.LSTM))]
    feeds = {"x": x, "lengths": lengths, **dict(zip(("h_0", "c_0"), start, strict=False))}
    proto = fg.to_onnx(layer, lengths=True, state=True)
    y, end = layer(x, tuple(start) if len(start) == 2 else start[0], lengths=lengths)
    expected = [y, *(end if isinstance(end, tuple) else (end,))]
    again = fg.from_onnx(proto)
    for found in (session(proto).run(None, feeds), again.run(feeds).values()):
        for ours, theirs in zip(expected, found, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-6)
    if layer.num_layers == 1 and layer.bias is True:  # the same parameters to the last bit
        (twin,) = again.layers.values()
        if name != "gru before":
            assert twin.config() | {"batch_first": batch_first, "seed": 0} == layer.config() | {"seed": 0}
        for parameter, array in twin.params.items():
            np.testing.assert_array_equal(array, layer.params[parameter])


MODELS = {
    "labels": lambda **o: fg.Sequential(
        fg.Embedding(11, I, seed=0, **o), fg.LSTM(I, H, 2, bidirectional=True, seed=1, **o), fg.FinalState(),
        fg.LayerNorm(2 * H, **o), fg.Dropout(0.5), fg.Linear(2 * H, 3, seed=2, **o), fg.Activation("log_softmax"),
    ),
    "steps": lambda **o: fg.Sequential(
        fg.Linear(I, I, seed=0, **o), fg.Activation("gelu"), fg.GRU(I, H, seed=1, **o), fg.LayerNorm(H, **o),
        fg.RNN(H, H, seed=2, **o), fg.Linear(H, 2, bias=False, seed=3, **o), fg.Activation("silu"),
    ),
    "all layers": lambda **o: fg.Sequential(
        fg.GRU(I, H, 2, bidirectional=True, seed=0, **o), fg.FinalState(all_layers=True), fg.Activation("leaky_relu")
    ),
}  # fmt: skip


@pytest.mark.parametrize("with_lengths", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_a_model_in_onnx_runtime(name, with_lengths, tmp_path):
    model = MODELS[name]()
    x, lengths = input_of(model), [5, 2, 4] if with_lengths else None
    if with_lengths and x.dtype.kind == "f":
        x[1, 2:] = np.nan
    fg.to_onnx(model, tmp_path / "model.onnx", lengths=with_lengths)
    proto = onnx.load(tmp_path / "model.onnx")
    feeds = {"x": x} | ({"lengths": np.array(lengths, np.int32)} if with_lengths else {})
    expected = model(x, lengths=lengths)
    declared = proto.graph.output[0].type.tensor_type.shape.dim
    for found in (session(proto).run(None, feeds)[0], fg.from_onnx(tmp_path / "model.onnx").run(feeds)["y"]):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6)
        assert found.ndim == len(declared)
    if not with_lengths:  # other sizes of batch and time
        feeds = {"x": np.concatenate([x, x])[:5, :3]}
        np.testing.assert_allclose(session(proto).run(None, feeds)[0], model(feeds["x"]), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_in_float64(name):
    """Where ONNX Runtime has no recurrent operators: by ONNX's own evaluator, and by ours."""
    from onnx.reference import ReferenceEvaluator

    model = MODELS[name](dtype="float64")
    proto, x = fg.to_onnx(model), input_of(model, "float64")
    np.testing.assert_allclose(fg.from_onnx(proto).run({"x": x})["y"], model(x), rtol=1e-12, atol=1e-13)
    reference, tolerance = ReferenceEvaluator(proto).run(None, {"x": x})[0], 1e-8 if name == "steps" else 1e-12
    np.testing.assert_allclose(reference, model(x), rtol=0, atol=tolerance)  # it computes Erf in float32


def test_a_model_with_states():
    model = fg.Sequential(fg.LSTM(I, H, seed=0), fg.Linear(H, I, seed=1), fg.GRU(I, H, seed=2))
    x = input_of(model)
    rng = np.random.default_rng(2)
    start = {name: rng.standard_normal((1, B, H)).astype(np.float32) for name in ("0.h_0", "0.c_0", "2.h_0")}
    y, ((h, c), h_2) = model.run(x, ((start["0.h_0"], start["0.c_0"]), start["2.h_0"]))
    run = session(fg.to_onnx(model, state=True))
    assert [output.name for output in run.get_outputs()] == ["y", "0.h_n", "0.c_n", "2.h_n"]
    for ours, theirs in zip((y, h, c, h_2), run.run(None, {"x": x, **start}), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("layer", "options", "kind", "words"),
    [
        (lambda: fg.LSTM(I, H, proj_size=2), {}, ValueError, ("layer", "proj_size=0", "got 2")),
        (lambda: fg.GRU(I, H, reset_after=False, reset_carry=True), {}, ValueError, ("layer", "reset_carry=False")),
        (lambda: fg.LSTM(I, H, clip=0.6, dtype="float64"), {}, ValueError, ("layer", "float32", "clip", "0.6")),
        (lambda: fg.LSTM(I, H).quantized("int8"), {}, TypeError, ("layer", "Quantized")),
        (lambda: fg.FinalState(), {}, TypeError, ("layer", "FinalState")),
        (lambda: fg.Linear(I, H), {"lengths": True}, ValueError, ("lengths", "nothing in it is recurrent")),
        (lambda: fg.LSTM(I, H), {"state": 1}, ValueError, ("state", "True or False", "got 1")),
    ],
)
def test_what_onnx_does_not_have(layer, options, kind, words):
    with complaint(kind, *words):
        fg.to_onnx(layer(), **options)
