"""ONNX's LSTM, GRU and RNN with any attributes: against their text in NumPy, and against ONNX Runtime."""

import numpy as np
import pytest
from complaints import complaint

import fastgate as fg

onnx = pytest.importorskip("onnx", reason="onnx is not installed: its operators are not tested")

import onnx_tools as tools  # noqa: E402

# Few combinations of activations and flags: each has kernels of its own to compile.
ACTIVATIONS = {
    "LSTM": [None, ["HardSigmoid", "Elu", "Affine"]],
    "GRU": [None, ["HardSigmoid", "Softsign"]],
    "RNN": [None, ["LeakyRelu"]],
}
SEEDS = {"LSTM": range(8), "GRU": range(8), "RNN": range(6)}
CASES = [(operator, seed) for operator, seeds in SEEDS.items() for seed in seeds]


def drawn(operator, seed, dtype, layout=0):
    case = tools.drawn(
        operator, seed, dtype, layout=layout, direction=("forward", "bidirectional", "reverse")[seed % 3]
    )
    attributes = {name: value for name, value in case.attributes.items() if not name.startswith("activation")}
    attributes |= {"input_forget": seed // 2 % 2} if operator == "LSTM" else {}
    names = ACTIVATIONS[operator][seed % 2]
    if names:
        D = 2 if attributes["direction"] == "bidirectional" else 1
        attributes["activations"] = names * D
        for kind, least in (("activation_alpha", 1), ("activation_beta", 2)):
            count = sum(tools.PARAMETERS.get(name, 0) >= least for name in names * D)
            attributes |= {kind: [0.25 if kind.endswith("alpha") else 0.5] * count} if count else {}
    return case._replace(attributes=attributes)


def assert_equal(found, expected, tolerance):
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("operator", "seed"), CASES)
def test_float64_by_the_text(operator, seed):
    case = drawn(operator, seed, np.float64, layout=seed // 3 % 2)
    found = fg.from_onnx(case.model()).run(case.given())
    assert_equal(list(found.values()), tools.oracle(case), 1e-12)


@pytest.mark.parametrize(("operator", "seed"), CASES)
def test_float32_by_onnx_runtime(operator, seed):
    runtime = pytest.importorskip("onnxruntime")
    case = drawn(operator, seed, np.float32)
    proto = case.model()
    run = runtime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    assert_equal(list(fg.from_onnx(proto).run(case.given()).values()), run.run(None, case.given()), 2e-6)


def test_directions_of_different_activations_are_two_layers():
    case = tools.drawn("RNN", 0, np.float64, direction="bidirectional")
    case = case._replace(attributes={"direction": "bidirectional", "activations": ["Tanh", "Relu"]})
    model = fg.from_onnx(case.model())
    forward, reverse = model.layers["cell"]
    assert (forward.nonlinearity, reverse.nonlinearity) == ("tanh", "relu")
    assert_equal(list(model.run(case.given()).values()), tools.oracle(case), 1e-12)


def test_weights_may_be_inputs():
    case = drawn("LSTM", 1, np.float64)
    model = fg.from_onnx(case.model(constants=()))
    assert model.layers == {}
    assert_equal(list(model.run(case.feeds).values()), tools.oracle(case), 1e-12)


@pytest.mark.parametrize("operator", tools.GATES)
def test_weights_are_permuted_exactly_and_have_gradients(operator):
    case = tools.drawn(operator, 3, np.float32, direction="forward")
    feeds = {name: array for name, array in case.feeds.items() if name in ("X", "W", "R")}
    (layer,) = fg.from_onnx(case._replace(feeds=feeds, attributes={}).model()).layers.values()
    order = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}[operator]  # ours, as places among i o f c, z r h
    for name, weights in (("weight_ih_l0", feeds["W"][0]), ("weight_hh_l0", feeds["R"][0])):
        blocks = np.split(weights, len(order))
        np.testing.assert_array_equal(layer.params[name], np.concatenate([blocks[place] for place in order]))
    y, _, tape = layer.forward(feeds["X"])
    assert np.any(layer.backward(tape, np.ones_like(y)).params["weight_hh_l0"])


@pytest.mark.parametrize(
    ("changes", "argument", "words"),
    [
        ({"activations": ["Tanh"]}, "node 'cell' (LSTM): activations", ("3 of Sigmoid", "got Tanh")),
        ({"activations": ["Tanh", "Tanh", "Swish"]}, "node 'cell' (LSTM): activations", ("Swish",)),
        ({"activations": ["Affine"] * 3}, "node 'cell' (LSTM): activation_alpha", ("no default",)),
        (
            {"activations": ["Elu", "Tanh", "Tanh"], "activation_alpha": [0.5, 0.0, 0.0]},
            "node 'cell' (LSTM): activation_alpha",
            ("at most 1 values", "got 3"),
        ),
        ({"clip": -1.0}, "node 'cell' (LSTM): clip", ("a positive number", "-1.0")),
        ({"direction": "sideways"}, "node 'cell' (LSTM): direction", ("'forward' or 'reverse'", "sideways")),
        ({"hidden_size": 7}, "node 'cell' (LSTM): hidden_size", ("4, as R", "got 7")),
        ({"layout": 2}, "node 'cell' (LSTM): layout", ("0 or 1", "got 2")),
        ({"input_forget": 3}, "node 'cell' (LSTM): input_forget", ("0 or 1", "got 3")),
    ],
    ids=str,
)
def test_attributes_that_are_not_computed(changes, argument, words):
    case = tools.drawn("LSTM", 0, np.float32, direction="forward")
    with complaint(ValueError, argument, *words):
        fg.from_onnx(case._replace(attributes=changes).model())


def test_an_attribute_that_nobody_knows():
    case = tools.drawn("GRU", 0, np.float32, direction="forward")
    with complaint(ValueError, "ModelProto", "output_sequence", "GRU", "cell"):
        fg.from_onnx(case._replace(attributes={"output_sequence": 1}).model())


def test_shapes_are_checked():
    case = tools.drawn("GRU", 0, np.float32, direction="forward")
    feeds = case.feeds | {"B": np.zeros((1, 5), np.float32)}
    with complaint(ValueError, "node 'cell' (GRU): B", "(1, 24)", "(1, 5)"):
        fg.from_onnx(case._replace(feeds=feeds).model())
    model = fg.from_onnx(case.model())
    for inputs, words in (
        ({}, ("inputs", "X")),
        (case.given() | {"X": np.zeros((6, 3, 5))}, ("inputs['X']", "(6, 3, 3)", "(6, 3, 5)")),
    ):
        with complaint(ValueError, *words):
            model.run(inputs)
