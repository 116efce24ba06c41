"""`python -m fastgate convert`: what is written computes what was read, or nothing is written and one line says why."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import fastgate as fg
from fastgate.__main__ import main
from fastgate.convert import originals, samples

pytest.importorskip("safetensors", reason="safetensors is not installed")
needs_onnx = pytest.mark.skipif(not find_spec("onnxruntime"), reason="ONNX Runtime is not installed")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """All files are named as a user would, and the folder holds nothing else."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def converted(capsys, folder):
    """Runs the command, which must succeed; what it printed."""

    def run(*arguments):
        code = main(["convert", *map(str, arguments)])
        printed = capsys.readouterr()
        assert (code, printed.err.replace(COMPILING, "")) == (0, "")
        return printed.out

    return run


COMPILING = "fastgate: compiling kernels for this CPU, some seconds (once, then cached) ...\n"


@pytest.fixture
def refused(capsys, folder):
    """Runs the command, which must fail with one line and change nothing; that line."""

    def run(*arguments, code=1):
        before = {path: path.read_bytes() for path in folder.iterdir()}
        assert main(["convert", *map(str, arguments)]) == code
        line = capsys.readouterr().err.replace(COMPILING, "")
        assert line.startswith("fastgate: error: ")
        assert line.count("\n") == 1
        assert {path: path.read_bytes() for path in folder.iterdir()} == before
        return line

    return run


def amplifier(**options):
    return fg.Sequential(fg.LSTM(1, 8, seed=0, **options), fg.Dropout(0.1), fg.Linear(8, 1, seed=1))


def classifier(dtype="float32"):
    rnn = fg.GRU(4, 8, bidirectional=True, seed=1, dtype=dtype)
    return fg.Sequential(
        fg.Embedding(9, 4, seed=0, dtype=dtype), rnn, fg.FinalState(), fg.Linear(16, 2, seed=2, dtype=dtype)
    )


# ------------------------------------------------------------------------------------------------------- what succeeds


@needs_onnx
def test_from_library_to_library(torch, converted, folder):
    """PyTorch, ONNX, fastgate and back: the same bits in all weights, whoever reads them."""
    torch.save(torch.nn.LSTM(3, 8, 2).state_dict(), "a.pt")
    printed = converted("a.pt", "a.onnx", "--time-first")
    assert "LSTM(3, 8, num_layers=2, batch_first=False)" in printed
    assert "992 parameters, float32" in printed
    for piece in ("IN by PyTorch", "OUT read by fastgate: the same bits", "OUT by ONNX Runtime", "written   a.onnx"):
        assert piece in printed
    assert "IN by ONNX Runtime" in converted("a.onnx", "b.safetensors")
    assert "OUT by PyTorch" in converted("b.safetensors", "c.safetensors", "--to", "pytorch")
    printed = converted("c.safetensors", "d.pth", "--into", "b.safetensors")
    assert "IN by PyTorch" in printed
    expected = torch.load("a.pt")
    found = {int(name[0]): {} for name in torch.load("d.pth")}
    for name, tensor in torch.load("d.pth").items():
        found[int(name[0])][name[2:]] = tensor
    for number, layer in found.items():
        for name, tensor in layer.items():
            assert torch.equal(tensor, expected[name.replace("l0", f"l{number}")])
    assert sorted(path.name for path in folder.iterdir()) == [
        "a.onnx", "a.pt", "b.safetensors", "c.safetensors", "d.pth"
    ]  # fmt: skip


@needs_onnx
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_model_of_indices(torch, converted, dtype):
    fg.save("a.safetensors", classifier(dtype))
    printed = converted("a.safetensors", "a.onnx")
    assert ("OUT by ONNX Runtime" in printed) == (dtype == "float32")
    assert ("double" in printed) == (dtype == "float64")  # of which ONNX Runtime has no GRU
    converted("a.onnx", "a.pt")
    again = fg.from_torch("a.pt", into=classifier(dtype))
    np.testing.assert_array_equal(again.params.flat, classifier(dtype).params.flat)


def test_rtneural(converted, torch):
    """Its layout is lost, as the JSON has none; an LSTM's two biases are one from then on."""
    fg.save("a.safetensors", amplifier(batch_first=False, dtype="float32"))
    printed = converted("a.safetensors", "a.json")
    assert "OUT is compared by fastgate's own reading alone: RTNeural is a library of C++" in printed
    assert "IN is not compared" in converted("a.json", "b.pt")
    assert "OUT by PyTorch" in converted("a.json", "b.pt", "--force")
    fg.save("wide.safetensors", fg.LSTM(1, 8, seed=0, dtype="float64"))
    converted("wide.safetensors", "wide.json")
    converted("wide.json", "wide2.safetensors", "--dtype", "float64")
    x = np.random.default_rng(0).standard_normal((2, 5, 1))
    np.testing.assert_array_equal(fg.load("wide2.safetensors")(x), fg.load("wide.safetensors")(x)[0])


def test_what_a_state_dict_does_not_say(torch, converted, refused):
    rnn, head = torch.nn.RNN(2, 3, nonlinearity="relu"), torch.nn.Linear(3, 1)
    names = {"net": {"rnn": rnn.state_dict(), "head": head.state_dict()}}
    torch.save(names, "a.pt")
    assert "give one of several by --part, or a model or layer that fits by --into" in refused("a.pt", "b.pt")
    unsaid = "--batch-first and --time-first: expected one of the two, as 'a.pt' does not say it, got none"
    assert unsaid in refused("a.pt", "b.pt", "--part", "net.rnn")
    assert "--nonlinearity: expected 'tanh' or 'relu', as 'a.pt', of an RNN, does not say it, got none" in refused(
        "a.pt", "b.pt", "--part", "net.rnn", "--batch-first"
    )
    printed = converted("a.pt", "b.safetensors", "--part", "net.rnn", "--batch-first", "--nonlinearity", "relu")
    assert "IN by PyTorch" in printed
    fg.save(
        "like.safetensors", fg.Sequential(fg.RNN(2, 3, nonlinearity="relu"), fg.Activation("relu"), fg.Linear(3, 1))
    )
    given = "--part", "net", "--into", "like.safetensors", "--names", "rnn=0", "head=2"
    assert "IN by PyTorch" in converted("a.pt", "c.safetensors", *given)
    np.testing.assert_array_equal(fg.load("c.safetensors").params["2.weight"], head.weight.detach().numpy())


@needs_onnx
@pytest.mark.parametrize("batch_first", [True, False])
def test_sizes_that_a_graph_declares(converted, batch_first):
    onnx = pytest.importorskip("onnx")
    proto = fg.to_onnx(amplifier(batch_first=batch_first))
    for own in proto.graph.input[0], proto.graph.output[0]:
        own.type.tensor_type.shape.dim[0].dim_value, own.type.tensor_type.shape.dim[1].dim_value = 2, 5
    onnx.save(proto, "a.onnx")
    assert "IN by ONNX Runtime" in converted("a.onnx", "a.safetensors")


def test_a_file_may_be_replaced_by_its_like(converted):
    fg.save("a.safetensors", amplifier())
    before = Path("a.safetensors").read_bytes()
    converted("a.safetensors", "a.safetensors", "--force")
    assert Path("a.safetensors").read_bytes() == before


@needs_onnx
def test_a_library_that_is_missing_is_named(converted, monkeypatch):
    fg.save("a.safetensors", amplifier())
    monkeypatch.setattr(originals, "find_spec", lambda name: None)
    printed = converted("a.safetensors", "a.onnx")
    assert "fastgate's own reading alone: ONNX Runtime is not installed: pip install onnxruntime" in printed
    fg.to_torch(fg.Linear(2, 3), "a.pt")
    monkeypatch.setattr(fg, "to_torch", lambda layer: {})  # as it is without PyTorch
    assert "IN is not compared: PyTorch is not installed" in converted("a.pt", "b.safetensors")


@pytest.mark.skipif(not hasattr(fg, "to_keras"), reason="this version has no to_keras")
@pytest.mark.parametrize(("ending", "dtype"), [(".keras", "float64"), (".weights.h5", "float32")])
def test_keras(converted, ending, dtype):
    pytest.importorskip("h5py")
    fg.save("a.safetensors", fg.Sequential(fg.LSTM(2, 8, seed=0, dtype=dtype), fg.Linear(8, 1, seed=1, dtype=dtype)))
    printed = converted("a.safetensors", f"a{ending}")
    assert ("OUT by Keras" in printed) == bool(find_spec("keras"))
    given = ["--into", "a.safetensors"] if ending == ".weights.h5" else []
    converted(f"a{ending}", "b.safetensors", *given)


def test_rounding_is_told_from_error(converted, torch):
    """With large weights float32 itself is off by more than the bound."""
    layer = fg.GRU(16, 32, 4, seed=0)
    layer.params.flat = 5 * layer.params.flat
    fg.save("a.safetensors", layer)
    assert "whoever computes" in converted("a.safetensors", "a.pt")


# ---------------------------------------------------------------------------------------------------------- what fails


def test_differences_leave_nothing(refused, monkeypatch):
    fg.save("a.safetensors", amplifier())
    monkeypatch.setattr(samples, "difference", lambda y, other: 1.1e-3)
    monkeypatch.setattr(samples, "rounding", lambda layer, x, dtype: 1.0)
    assert "OUT: not written: OUT read by fastgate gives outputs that differ by 1.1e-03" in refused(
        "a.safetensors", "b.safetensors"
    )
    refused("a.safetensors", "a.safetensors", "--force")


@needs_onnx
def test_the_original_may_not_differ(refused, monkeypatch):
    """As it would if a weight went elsewhere."""
    fg.save("a.safetensors", amplifier())
    right = fg.to_onnx
    monkeypatch.setattr(fg, "to_onnx", lambda layer, path: right(amplifier(init="keras"), path))
    assert "OUT read by fastgate gives outputs that differ by" in refused("a.safetensors", "a.onnx")


FILES = {
    "missing": ("a.onnx", None, "no file"),
    "text.pt": ("text.pt", b"It was a dark and stormy night", "no safetensors file"),
    "pickle.pt": ("pickle.pt", b"\x80\x02}q\x00.", "bare pickle"),
    "a.safetensors": ("a.safetensors", b"", "is empty"),
    "a.json": ("a.json", b"[" * 1000, "nested"),
    "b.json": ("b.json", b'{"in_shape": [1], "layers": [{"type": "conv1d"}]}', "conv1d"),
    "empty.onnx": ("empty.onnx", b"", "empty.onnx"),
}


@pytest.mark.parametrize(("name", "content", "piece"), FILES.values(), ids=FILES)
def test_bad_files(refused, name, content, piece):
    if find_spec("onnx") is None and name.endswith(".onnx"):
        pytest.skip("onnx is not installed")
    if content is not None:
        Path(name).write_bytes(content)
    assert piece in refused(name, "out.safetensors")


@pytest.mark.parametrize("behind", [[], [fg.Linear(4, 2, seed=0)]], ids=len)
def test_what_merges_takes_twice_the_features(converted, behind):
    fg.save("a.safetensors", fg.Sequential(fg.MergeDirections("sum"), fg.Dropout(), *behind))
    assert "the same bits" in converted("a.safetensors", "b.safetensors")


def test_layers_that_another_format_has_not(refused):
    fg.save("a.safetensors", classifier())
    assert "layer 0 (Embedding)" in refused("a.safetensors", "a.json")
    fg.save("b.safetensors", fg.GRU(2, 3, reset_after=False))
    assert "reset_after=True" in refused("b.safetensors", "b.pt")
    fg.save("c.safetensors", fg.EncoderDecoder(*(fg.Sequential(fg.LSTM(2, 3)) for _ in range(2))))
    assert "EncoderDecoder" in refused("c.safetensors", "d.safetensors")


WRONG = {
    "no_out": (["a.safetensors"], "expected OUT"),
    "exists": (["a.safetensors", "a.json"], "--force"),
    "input_ending": (["a.bin", "b.json"], "a name that ends in .safetensors"),
    "output_ending": (["a.safetensors", "b"], "a name that ends in .safetensors"),
    "to": (["a.safetensors", "b.onnx", "--to", "keras"], ".keras or .h5"),
    "folder": (["a.safetensors", "none/b.json"], "no such folder"),
    "option": (["a.safetensors", "b.json", "--batch-first"], "--batch-first and --time-first: expected none"),
    "inspect": (["--inspect", "a.safetensors", "b.json"], "nothing to be written"),
}


@pytest.mark.parametrize(("arguments", "piece"), WRONG.values(), ids=WRONG)
def test_wrong_arguments(refused, arguments, piece):
    fg.save("a.safetensors", amplifier())
    Path("a.json").write_bytes(b"")
    assert piece in refused(*arguments, code=2)


@pytest.mark.parametrize(
    "arguments", [["a.pt", "b.pt", "--batch-first", "--time-first"], ["a", "b", "--names", "x"], []]
)
def test_arguments_that_no_parser_takes(arguments):
    with pytest.raises(SystemExit) as ended:
        main(["convert", *arguments])
    assert ended.value.code == 2
