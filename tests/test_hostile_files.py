"""Files that are damaged, foreign or made to do harm: a clear error each, and little memory."""

import json
import os
import pickle
import struct
import warnings
import zipfile

import numpy as np
import pytest
from complaints import complaint

import fastgate as fg

pytest.importorskip("safetensors", reason="safetensors is not installed")

DEEP = 100_000

pytestmark = pytest.mark.usefixtures("little_memory")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "layer.safetensors"


def test_the_limit_of_memory_holds(little_memory):
    with pytest.raises(MemoryError):
        np.zeros(2 * little_memory, np.uint8)


def refusal(path, *pieces):
    """`load` says what is wrong with this file."""
    return complaint(ValueError, "path", str(path), *pieces)


# ------------------------------------------------------------------------------------------------------ foreign files


def write_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", "x" * 1000)


FOREIGN = {
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "short": (lambda path: path.write_bytes(b"abc"), "no safetensors file"),
    "text": (lambda path: path.write_text("It was a dark and stormy night"), "no safetensors file"),
    "JSON": (lambda path: path.write_text(json.dumps({"class": "LSTM"})), "JSON"),
    "pickle": (lambda path: path.write_bytes(pickle.dumps({"weight": np.zeros(3)})), "pickle"),
    "npy": (lambda path: np.save(path.open("wb"), np.zeros(3)), "array of NumPy"),
    "npz": (lambda path: np.savez(path.open("wb"), weight=np.zeros(3)), ".npz, .pt and .keras"),
    "keras": (write_zip, ".npz, .pt and .keras"),
    "HDF5": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100)), "HDF5"),
    "zeros": (lambda path: path.write_bytes(bytes(100)), "damaged"),
}


@pytest.mark.parametrize(("write", "piece"), FOREIGN.values(), ids=FOREIGN.keys())
@pytest.mark.filterwarnings("ignore:unclosed file")
def test_foreign_files(path, write, piece):
    write(path)
    with refusal(path, piece):
        fg.load(path)


def test_a_file_of_torch_is_not_unpickled(torch, path):
    torch.save({"weight": torch.zeros(3)}, path)
    with refusal(path, ".npz, .pt and .keras"):
        fg.load(path)


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, kind, piece in (
        ("", IsADirectoryError, "is a folder"),
        ("pipe", OSError, "ordinary"),
        ("none", FileNotFoundError, "no file"),
    ):
        with complaint(kind, "path", repr(str(tmp_path / name)), piece):
            fg.load(tmp_path / name)


# ------------------------------------------------------------------------------------------------------ tampered files


def parts(path):
    """Header and data."""
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def write_file(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def description(**options):
    config = {"class": "LSTM", "input_size": 3, "hidden_size": 4, "seed": 0} | options
    return {"format": 1, "version": "0", "config": config}


def write_described(path, text):
    """A file of LSTM(3, 4) with this text, or this value, for its description."""
    fg.save(path, fg.LSTM(3, 4, seed=0))
    header, data = parts(path)
    header["__metadata__"]["fastgate"] = text if isinstance(text, str) else json.dumps(text)
    write_file(path, header, data)


def test_the_tools_of_these_tests_write_a_good_file(path):
    write_described(path, description())
    assert repr(fg.load(path)) == "LSTM(3, 4)"


HUGE = 10**12
DESCRIPTIONS = {
    "hidden size": (description(hidden_size=HUGE), ["more parameters than"]),
    "input size": (description(input_size=HUGE), ["more parameters than"]),
    "layers": (description(num_layers=HUGE), ["more parameters than"]),
    "many layers": (description(num_layers=30_000, hidden_size=1), ["more parameters than"]),
    "beyond 64 bits": (description(hidden_size=10**4000), ["more parameters than"]),
    "beyond parsing": (json.dumps(description()).replace('": 4', '": ' + "4" * 5000), ["digits"]),
    "seed": (description(seed=-1), ["seed", "-1"]),
    "dropout": (description(dropout=10**400, num_layers=2), ["too large"]),
    "linear": ({"format": 1, "config": {"class": "Linear", "in_features": HUGE, "out_features": HUGE}}, ["more param"]),
    "embedding": (
        {"format": 1, "config": {"class": "Embedding", "num_embeddings": HUGE, "embedding_dim": 1}},
        ["more"],
    ),
    "negative": (description(hidden_size=-4), ["hidden_size", "-4"]),
    "fraction": (description(hidden_size=4.5), ["hidden_size", "4.5"]),
    "other size": (description(hidden_size=5), ["'weight_ih_l0' is float32 of shape (16, 3)", "(20, 3)"]),
    "other dtype": (description(dtype="float64"), ["'weight_ih_l0' is float32", "expected float64"]),
    "odd dtype": (description(dtype="O"), ["dtype", "'O'"]),
    "fewer tensors": (description(bias=False), ["'bias_hh_l0'", "knows nothing"]),
    "more tensors": (description(num_layers=2), ["lacks", "'weight_ih_l1' of shape (16, 4)"]),
    "option": (description(colour="red"), ["LSTM", "'colour'"]),
    "class": (description(**{"class": "os.system"}), ["'os.system'"]),
    "no layer": (description(**{"class": "Params"}), ["'Params'"]),
    "layer inside": (description(hidden_size=description()["config"]), ["hidden_size", "LSTM(3, 4)"]),
    "no configuration": ({"format": 1}, ["no format and configuration"]),
    "list": ({"format": 1, "config": [1]}, ["dictionary", "list"]),
    "null": ("null", ["no format and configuration"]),
    "nothing": ("", ["Expecting value"]),
    "format": (description() | {"format": 2, "version": "9.1"}, ["format 2", "fastgate 9.1"]),
    "true": (description() | {"format": True}, ["no format"]),
    "NaN": (json.dumps(description(dropout=float("nan"))), ["NaN"]),
    "infinity": (json.dumps(description(dropout=float("-inf"))), ["-Infinity"]),
    "twice": (
        json.dumps(description()).replace('"input_size"', '"hidden_size": 4, "input_size"'),
        ["'hidden_size' twice"],
    ),
    "deep list": ("[" * DEEP, ["nested"]),
    "deep dictionary": ('{"a":' * DEEP, ["nested"]),
    "deep layers": ('{"format": 1, "config": ' + '{"class": "Sequential", "layers": [' * DEEP, ["nested"]),
    "long": (description(**{"class": "x" * 10**6}), ["..."]),
}


@pytest.mark.parametrize(("text", "pieces"), DESCRIPTIONS.values(), ids=DESCRIPTIONS.keys())
def test_descriptions_that_do_not_fit_the_tensors(path, text, pieces):
    write_described(path, text)
    with refusal(path, *pieces):
        fg.load(path)


def test_a_layer_of_ones_own_may_not_ask_for_more_either(path):
    class Wide:
        def __init__(self, features):
            self.params = fg.Params({"scale": (features,)}, np.dtype("float32"))

    write_described(path, {"format": 1, "config": {"class": "Wide", "features": HUGE}})
    with refusal(path, "more parameters than"):
        fg.load(path, custom={"Wide": Wide})


def test_the_allowance_ends_with_the_file(path):
    write_described(path, description(hidden_size=HUGE))
    with refusal(path):
        fg.load(path)
    assert fg.Linear(300, 300).params.flat.size > 2**16


SCALAR = b'"weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
HEADERS = {
    "no metadata": (b"{" + SCALAR + b"}", "not one of fastgate.save"),
    "other metadata": (b'{"__metadata__":{"format":"pt"},' + SCALAR + b"}", "not one of fastgate.save"),
    "tensor twice": (b"{" + SCALAR + b"," + SCALAR + b"}", "'weight' twice"),
    "metadata twice": (b'{"__metadata__":{"fastgate":"1","fastgate":"2"},' + SCALAR + b"}", "'fastgate' twice"),
    "huge shape": (b"{" + SCALAR.replace(b"[1]", b"[%d,%d]" % (HUGE, HUGE)) + b"}", "damaged"),
    "huge offset": (b"{" + SCALAR.replace(b"[0,4]", b"[0,%d]" % HUGE) + b"}", "damaged"),
    "offset backwards": (b"{" + SCALAR.replace(b"[0,4]", b"[4,0]") + b"}", "damaged"),
    "shared bytes": (b"{" + SCALAR + b"," + SCALAR.replace(b"weight", b"bias") + b"}", "damaged"),
    "no data": (b"{}", "damaged"),
    "deep": (b"[" * DEEP, "damaged"),
    "not JSON": (b"{weight}", "damaged"),
    "not UTF-8": (b'{"\xff":1}', "damaged"),
}


@pytest.mark.parametrize(("header", "piece"), HEADERS.values(), ids=HEADERS.keys())
def test_headers(path, header, piece):
    write_file(path, header, bytes(4))
    with refusal(path, piece):
        fg.load(path)


def test_a_header_longer_than_any(path):
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 2**30))
        file.truncate(2**31)  # takes no room on the disk
    with refusal(path, "header of 1073741824 bytes"):
        fg.load(path)


# ------------------------------------------------------------------------------------------------------------ at random


def attempts(content):
    """One byte changed, or the end cut off."""
    rng = np.random.default_rng(0)
    header = 8 + struct.unpack("<Q", content[:8])[0]
    for number in range(300):
        place = int(rng.integers(header if number % 3 else len(content)))
        if number % 4 == 0:
            yield content[:place]
        else:
            yield content[:place] + bytes([content[place] ^ int(rng.integers(1, 256))]) + content[place + 1 :]


def loaded(path):
    """What is in the file, or else the sentence that says why nothing is."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of dropout, where num_layers is changed to 1
            return fg.load(path)
    except ValueError as error:
        return str(error)


def test_any_damage_is_told_or_does_not_matter(path):
    fg.save(path, fg.GRU(2, 3, 2, dropout=0.5, seed=0))
    outcomes = []
    for content in attempts(path.read_bytes()):
        path.write_bytes(content)
        found = loaded(path)
        outcomes.append(type(found))
        if isinstance(found, str):
            assert found.startswith(f"path: {str(path)!r} ")
            continue
        header, data = parts(path)
        assert found.config() == json.loads(header["__metadata__"]["fastgate"])["config"]
        assert sorted(found.params.flat.tobytes()) == sorted(data)
    assert outcomes.count(str) > 150
    assert outcomes.count(fg.GRU) > 20
