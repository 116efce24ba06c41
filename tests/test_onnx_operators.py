"""Forward parity with ONNX Runtime (float32): activations with alpha and beta, clip, peepholes, input_forget."""

import numpy as np
import pytest
from cases import draw, join, split

import fastgate as fg

onnx = pytest.importorskip("onnx", reason="onnx is not installed: parity with ONNX Runtime is not tested")
runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: parity with it is not tested")

B, T, I, H = 3, 5, 4, 6
# ONNX's order of the gates, as places in ours; and their names of activations.
ORDER = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}
NAMES = {
    "sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu", "affine": "Affine", "leaky_relu": "LeakyRelu",
    "thresholded_relu": "ThresholdedRelu", "scaled_tanh": "ScaledTanh", "hard_sigmoid": "HardSigmoid", "elu": "Elu",
    "softsign": "Softsign", "softplus": "Softplus",
}  # fmt: skip
PARAMETERS = {
    "affine": (0.7, 0.1), "leaky_relu": (0.2,), "thresholded_relu": (0.3,), "scaled_tanh": (0.8, 1.2),
    "hard_sigmoid": (0.25, 0.4), "elu": (0.9,),
}  # fmt: skip


def drawn(rng, count):
    chosen = [str(name) for name in rng.choice(list(NAMES), count)]
    return [(name, *PARAMETERS[name]) if name in PARAMETERS else name for name in chosen]


def run_onnx(layer, kind, x, start, **attributes):
    """Its results of the layer's weights, as `layer` gives them."""
    named = [(each,) if isinstance(each, str) else each for each in activations_of(layer)] * (1 + layer.bidirectional)
    attributes |= {
        "activations": [NAMES[name] for name, *_ in named],
        "activation_alpha": [p[0] for _, *p in named if p],
        "activation_beta": [p[1] for _, *p in named if len(p) > 1],
        "direction": "bidirectional" if layer.bidirectional else "forward",
        "hidden_size": H,
        "clip": layer.clip,
    }
    attributes = {name: value for name, value in attributes.items() if value not in ([], None)}
    suffixes = ["l0", "l0_reverse"][: 1 + layer.bidirectional]
    feeds = {"X": x.swapaxes(0, 1), **dict(zip(("initial_h", "initial_c"), start, strict=False))}
    for name, params in {"W": ("weight_ih",), "R": ("weight_hh",), "B": ("bias_ih", "bias_hh")}.items():
        if f"bias_{suffixes[0]}" in layer.params and name == "B":  # a single one: theirs has zeros beside it
            params = ("bias", None)
        feeds[name] = np.stack(
            [np.concatenate([reordered(layer, kind, param, suffix) for param in params]) for suffix in suffixes]
        )
    if getattr(layer, "peepholes", False):
        zeros = np.zeros(H, np.float32)
        peepholes = [[layer.params.get(f"peephole_{gate}_{end}", zeros) for gate in "iof"] for end in suffixes]
        feeds["P"] = np.array(peepholes, np.float32).reshape(len(suffixes), -1)
    inputs = [name if name in feeds else "" for name in ("X", "W", "R", "B", "", "initial_h", "initial_c", "P")]
    inputs = inputs[: 8 if kind == "LSTM" else 6]
    outputs = ["Y", "Y_h", "Y_c"][: 3 if kind == "LSTM" else 2]
    make = onnx.helper
    values = [make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, array.shape) for name, array in feeds.items()]
    results = [make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs]
    graph = make.make_graph([make.make_node(kind, inputs, outputs, **attributes)], "one", values, results)
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 14)], ir_version=8)
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    y, *end = session.run(None, feeds)
    return y.transpose(2, 0, 1, 3).reshape(B, T, -1), end


def activations_of(layer):
    return getattr(layer, "activations", None) or (layer.nonlinearity,)


def reordered(layer, kind, param, suffix):
    """A parameter by ONNX's gates; where gates are coupled theirs has rows of f, which it does not use."""
    own = np.zeros_like(layer.params["bias_l0"]) if param is None else layer.params[f"{param}_{suffix}"]
    blocks = np.split(own, len(own) // H)
    if getattr(layer, "coupled", False):
        blocks.insert(1, np.full_like(blocks[0], 7.0))
    return np.concatenate([blocks[gate] for gate in ORDER[kind]])


def check(layer, kind, seed, **attributes):
    rng = np.random.default_rng(seed)
    layer.params.flat = rng.uniform(-0.7, 0.7, layer.params.flat.size)
    x, start = draw(rng, layer, B, T)
    y, end = layer(x, join(start))
    expected, expected_end = run_onnx(layer, kind, x, start, **attributes)
    for ours, theirs in zip([y, *split(end)], [expected, *expected_end], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-6 * max(1.0, abs(theirs).max()))


@pytest.mark.parametrize("seed", range(4))
def test_lstm(seed):
    options = {"coupled": bool(seed & 1), "peepholes": bool(seed & 2), "clip": 0.6 if seed in (0, 3) else None}
    drawn_ones = drawn(np.random.default_rng(seed), 3)
    layer = fg.LSTM(I, H, activations=drawn_ones, bidirectional=seed > 1, seed=seed, **options)
    check(layer, "LSTM", seed, input_forget=int(layer.coupled))


@pytest.mark.parametrize("seed", range(4))
def test_gru(seed):
    after = seed < 2
    drawn_ones = drawn(np.random.default_rng(seed), 2)
    layer = fg.GRU(I, H, activations=drawn_ones, clip=0.6 if seed % 2 else None, reset_after=after, seed=seed)
    check(layer, "GRU", seed, linear_before_reset=int(after))


@pytest.mark.parametrize("name", NAMES)
def test_rnn(name):
    nonlinearity = (name, *PARAMETERS[name]) if name in PARAMETERS else name
    check(fg.RNN(I, H, nonlinearity=nonlinearity, clip=0.6, seed=0), "RNN", 1)
