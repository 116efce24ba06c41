"""What newcomers give instead of what is read: each error says what it was, and what to do."""

import pickle

import numpy as np
import pytest
from complaints import complaint

import fastgate as fg
from fastgate.exchange.keras_description import Reader

STATE = dict(fg.LSTM(2, 3, seed=0).params)


def test_a_file_that_is_neither(tmp_path):
    (tmp_path / "a.pt").write_text("It was a dark and stormy night")
    with complaint(ValueError, "path", "is no safetensors file, nor a ZIP archive as torch.save writes"):
        fg.from_torch(tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps([1.0]))
    with complaint(ValueError, "path", "bare pickle"):
        fg.from_torch(tmp_path / "b.pt")


def test_what_was_saved_instead_of_a_state_dict(torch, tmp_path):
    path = tmp_path / "a.pt"
    for saved, kind in ((torch.zeros(2, 3), "a single tensor of shape (2, 3)"), ([torch.zeros(2)], "a list")):
        torch.save(saved, path)
        with complaint(ValueError, f"path: {str(path)!r}", f"a mapping from names to tensors, got {kind}"):
            fg.from_torch(path)


@pytest.mark.parametrize("options", [{"batch_first": True}, {"into": fg.Sequential(fg.LSTM(2, 3))}], ids=str)
def test_names_of_data_parallel(options):
    inside = "0." if "into" in options else ""
    wrapped = {f"module.{inside}{name}": array for name, array in STATE.items()}
    with complaint(ValueError, "state_dict", "DataParallel", "part='module'"):
        fg.from_torch(wrapped, **options)
    made = fg.from_torch(wrapped, part="module", **options)
    np.testing.assert_array_equal(made.params.flat, fg.LSTM(2, 3, seed=0).params.flat)
    with pytest.raises(ValueError, match="give one of several by part=") as caught:
        fg.from_torch({f"lstm.{name}": array for name, array in STATE.items()})
    assert "DataParallel" not in str(caught.value)


def test_layers_that_another_library_has_not():
    for library, write in {"PyTorch": fg.to_torch, "RTNeural": fg.to_rtneural, "Keras": fg.to_keras}.items():
        with pytest.raises(TypeError, match=f"that has an equal in {library}, "):
            write(type("Own", (), {"params": {}})())


def test_a_layer_of_keras_that_is_unknown():
    tree = {"class_name": "Conv1D", "config": {"name": "first"}, "module": "keras.layers"}
    with pytest.raises(ValueError, match=r"got another one; see help\('fastgate\.exchange\.keras'\)$"):
        list(Reader().chain(tree, None))


def test_graphs_of_onnx(tmp_path):
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    path = tmp_path / "a.onnx"
    for content, piece in ((b"", "is empty"), (b"PK\x03\x04 and so on", "is a ZIP archive, and no ONNX model")):
        path.write_bytes(content)
        with complaint(ValueError, "path", piece):
            fg.from_onnx(path)
    proto = fg.to_onnx(fg.Linear(2, 3))
    graph, x = fg.from_onnx(proto), np.ones((1, 2), np.float16)
    for arguments, got in (((x,), "run(ndarray)"), ((None, {"x": x}), "2 arguments")):
        with complaint(TypeError, "inputs", f"run({{'x': array}}), which returns a dict, got {got}"):
            graph.run(*arguments)
    proto.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    with pytest.raises(ValueError, match=r"^input 'x': .* got one of float16; export the model in float32$"):
        fg.from_onnx(proto)
