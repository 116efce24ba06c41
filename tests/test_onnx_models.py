"""Graphs of other exporters, and graphs that are chains of layers."""

import io

import numpy as np
import pytest
from complaints import complaint

import fastgate as fg

onnx = pytest.importorskip("onnx", reason="onnx is not installed: its graphs are not tested")

import onnx_tools as tools  # noqa: E402
from onnx.helper import make_node  # noqa: E402

B, T, I, H = 3, 5, 4, 6


def exported(torch, rnn, head, taken, batch_first=True):
    """A module of PyTorch, and the bytes of its first exporter, which needs no other package."""

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = rnn, head

        def forward(self, x):
            y, state = self.rnn(x)
            h = state[0] if isinstance(state, tuple) else state
            return self.head({"y": y, "last": y[:, -1], "h": h[-1], "both": torch.cat([h[-2], h[-1]], 1)}[taken])

    model, file = Model().eval(), io.BytesIO()
    axes = {"x": {0: "a", 1: "b"}}
    torch.onnx.export(model, (torch.randn(B, T, I),), file, dynamo=False, input_names=["x"], dynamic_axes=axes)
    return model, file.getvalue()


CASES = {
    "lstm": ("LSTM", {"num_layers": 2, "bidirectional": True}, "y"),
    "gru": ("GRU", {"num_layers": 2}, "h"),
    "rnn": ("RNN", {"nonlinearity": "relu", "bidirectional": True}, "both"),
    "last": ("LSTM", {"bias": False, "num_layers": 2}, "last"),
    "time first": ("GRU", {"num_layers": 2, "batch_first": False}, "y"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_what_pytorch_exports(torch, name):
    kind, options, taken = CASES[name]
    nn = torch.nn
    torch.manual_seed(0)
    rnn = getattr(nn, kind)(I, H, **{"batch_first": True} | options)
    features = H * (2 if rnn.bidirectional else 1)
    head = nn.Sequential(nn.LayerNorm(features), nn.Linear(features, 3), nn.GELU(), nn.Linear(3, 2), nn.LogSoftmax(-1))
    module, data = exported(torch, rnn, head, taken)
    graph = fg.from_onnx(data)
    for shape in ((B, T, I), (2, 7, I)):
        x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        expected = module(torch.from_numpy(x)).detach().numpy()
        (found,) = graph.run({"x": x}).values()
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6)
        np.testing.assert_allclose(graph.model(x), expected, rtol=1e-5, atol=2e-6)
    assert graph.model.batch_first is rnn.batch_first
    loss_y, tape = graph.model.forward(x)
    assert np.any(graph.model.backward(tape, np.cos(loss_y)).params["0.weight_hh_l0"])


def test_a_model_goes_there_and_back():
    model = fg.Sequential(
        fg.Embedding(11, I, seed=0), fg.Linear(I, I, seed=1), fg.Activation("silu"), fg.LSTM(I, H, seed=2, clip=0.6),
        fg.GRU(H, H, bidirectional=True, seed=3), fg.FinalState(), fg.LayerNorm(2 * H), fg.Linear(2 * H, 3, seed=4),
        fg.Activation("gelu"),
    )  # fmt: skip
    again = fg.from_onnx(fg.to_onnx(model)).model
    assert repr(again) == repr(model)
    for name, array in model.params.items():
        np.testing.assert_array_equal(again.params[name], array)
    x = np.array([[1, 2, 10], [0, 3, 4]])
    np.testing.assert_array_equal(again(x), model(x))


def test_a_graph_that_is_no_chain():
    W = np.ones((I, I), np.float32)
    nodes = [make_node("MatMul", ["x", "W"], ["y"], name="first"), make_node("Add", ["x", "y"], ["z"], name="sum")]
    graph = fg.from_onnx(tools.model_of(nodes, {"x": np.ones((2, I), np.float32), "W": W}, ["z"], ("W",)))
    np.testing.assert_array_equal(graph.run({"x": W[:2]})["z"], 5 * W[:2])
    with complaint(ValueError, "model", "node 'sum' (Add)", "a chain of layers"):
        _ = graph.model


def test_a_softmax_of_an_old_version_is_over_all_axes_that_follow():
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    nodes = [make_node("Softmax", ["x"], ["y"], axis=1)]
    old = fg.from_onnx(tools.model_of(nodes, {"x": x}, ["y"], opset=11)).run({"x": x})["y"]
    new = fg.from_onnx(tools.model_of(nodes, {"x": x}, ["y"], opset=13)).run({"x": x})["y"]
    np.testing.assert_allclose(old.sum(axis=(1, 2)), 1, rtol=1e-6)
    np.testing.assert_allclose(new.sum(axis=1), 1, rtol=1e-6)


# -------------------------------------------------------------------------------------------------------- hostile files


def test_operators_that_are_not_computed():
    x = np.ones((2, 3), np.float32)
    with complaint(ValueError, "node 'here' (Det)", "an operator that is computed here", "got Det"):
        fg.from_onnx(tools.model_of([make_node("Det", ["x"], ["y"], name="here")], {"x": x}, ["y"]))
    foreign = make_node("Attention", ["x"], ["y"], name="here", domain="com.microsoft")
    proto = tools.model_of([foreign], {"x": x}, ["y"])
    proto.opset_import.add(domain="com.microsoft", version=1)
    with complaint(ValueError, "node 'here' (Attention)", "com.microsoft.Attention"):
        fg.from_onnx(proto)
    with complaint(ValueError, "ModelProto: opset", "7 or newer", "got 6"):
        fg.from_onnx(tools.model_of([make_node("Relu", ["x"], ["y"])], {"x": x}, ["y"], opset=6))


def test_graphs_that_are_wrong():
    x = np.ones((2, 3), np.float32)
    cyclic = [make_node("Add", ["x", "z"], ["y"]), make_node("Relu", ["y"], ["z"])]
    with complaint(ValueError, "ModelProto", "a valid ONNX model", "z"):
        fg.from_onnx(tools.model_of(cyclic, {"x": x}, ["y"]))
    size = np.array([2**40], np.int64)
    huge = tools.model_of([make_node("ConstantOfShape", ["n"], ["y"], name="big")], {"x": x, "n": size}, ["y"], ("n",))
    with complaint(ValueError, "node 'big' (ConstantOfShape): shape", "at most"):
        fg.from_onnx(huge)
    proto = tools.drawn("LSTM", 0, np.float32).model()
    proto.graph.initializer[0].dims[1] = 2**40
    with complaint(ValueError, "ModelProto"):
        fg.from_onnx(proto)
    proto = tools.drawn("LSTM", 0, np.float32).model()
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="passwd")
    with complaint(ValueError, "ModelProto"):
        fg.from_onnx(proto)


def test_damaged_files_are_errors():
    """Truncated anywhere, or with a byte changed: an error, or a graph that is still one."""
    data = tools.drawn("GRU", 1, np.float32, direction="forward", H=2).model().SerializeToString()
    rng = np.random.default_rng(0)
    broken = [data[:size] for size in range(0, len(data), max(1, len(data) // 150))]
    for _ in range(250):
        own = bytearray(data)
        own[rng.integers(len(own))] = rng.integers(256)
        broken.append(bytes(own))
    complaints = []
    for own in broken:
        try:
            fg.from_onnx(own)
        except (ValueError, TypeError) as error:
            complaints.append(str(error))
    assert len(complaints) > 200
    assert max(map(len, complaints)) < 2000


def test_what_is_no_model(tmp_path):
    with complaint(TypeError, "source", "a path, bytes", "got int"):
        fg.from_onnx(3)
    with complaint(ValueError, "bytes", "an ONNX model"):
        fg.from_onnx(b"not a model")
    with complaint(FileNotFoundError, "path", "no.onnx"):
        fg.from_onnx(tmp_path / "no.onnx")


def test_without_the_package(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnx", None)
    for use in (lambda: fg.from_onnx(b""), lambda: fg.to_onnx(fg.GRU(2, 3))):
        with pytest.raises(ImportError, match="onnx is needed to read and write ONNX files: pip install onnx"):
            use()
