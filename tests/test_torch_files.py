"""Files of torch.save: exact, and whatever else they ask for is refused before anything is run or allocated."""

import os
import pickle
import struct
import warnings
import zipfile

import numpy as np
import pytest
from complaints import complaint

import fastgate as fg
from fastgate.exchange import torch_files
from fastgate.exchange.torch_files import _global, _integer, _text

STATE = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.ones(2, np.float32)}
DICT = _global("collections.OrderedDict") + b")R"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.pt"


def archive(path, pickled, method=zipfile.ZIP_STORED, **members):
    """As torch.save writes, with these bytes for the pickle and six float32 numbers for the storage 0."""
    contents = {"data.pkl": pickled, "data/0": STATE["weight"].tobytes()} | members
    with zipfile.ZipFile(path, "w", method) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # two members of one name
        for name, content in contents.items():
            file.writestr(f"archive/{name}", content)


def storage(entries=6, kind="torch.FloatStorage", key="0"):
    return b"(" + _text("storage") + _global(kind) + _text(key) + _text("cpu") + _integer(entries) + b"tQ"


def numbers(*values):
    return b"(" + b"".join(map(_integer, values)) + b"t"


def tensor(shape=(2, 3), strides=(3, 1), offset=0, stored=None, more=b""):
    arguments = (stored or storage()) + _integer(offset) + numbers(*shape) + numbers(*strides) + b"\x89" + DICT + more
    return _global("torch._utils._rebuild_tensor_v2") + b"(" + arguments + b"tR"


def dictionary(**values):
    return b"}(" + b"".join(_text(name) + value for name, value in values.items()) + b"u."


LINEAR = {"weight": tensor(), "bias": tensor((2,), (1,))}


def refused(path, *pieces):
    return complaint(ValueError, "path", str(path), *pieces)


# -------------------------------------------------------------------------------------------------------------- exact


@pytest.mark.parametrize("protocol", [2, 4])
def test_what_pytorch_saves(torch, path, protocol):
    whole = torch.arange(48, dtype=torch.float64).reshape(6, 8)
    given = {
        "transposed": whole.T, "strided": whole[1::2, ::3], "offset": whole[4:], "parameter": torch.nn.Parameter(whole),
        "half": torch.linspace(-3, 3, 7).half(), "bfloat16": torch.linspace(-3, 3, 7).bfloat16(), "scalar": whole[1, 1],
        "empty": torch.zeros(0, 3), "one": torch.ones(1, 1).T,
    }  # fmt: skip
    optimizer = {
        "state": {0: {"step": whole[0, 0]}},
        "param_groups": [{"lr": 1e-3, "betas": (0.9, 2**40), "fused": None}],
    }
    torch.save({"given": given, "optimizer": optimizer, "loss": 0.5}, path, pickle_protocol=protocol)
    with torch_files.opened(path) as found:
        assert found["loss"] == 0.5
        for name, expected in given.items():
            expected = expected.detach().float() if expected.dtype.itemsize == 2 else expected.detach()
            read = found["given"][name].read()
            assert read.dtype == expected.numpy().dtype
            np.testing.assert_array_equal(read, expected)


def test_what_pytorch_loads(torch, path):
    fg.to_torch(fg.LSTM(3, 4, 2, dtype="float64", seed=0), path)
    layer, module = fg.from_torch(path, batch_first=True), torch.nn.LSTM(3, 4, 2).double()
    for options in ({}, {"mmap": True}):
        module.load_state_dict(torch.load(path, weights_only=True, **options))
        assert all(np.array_equal(layer.params[name], array.detach()) for name, array in module.named_parameters())
    first = path.read_bytes()
    fg.to_torch(layer, path)
    assert path.read_bytes() == first


def test_safetensors_of_any_kind(torch, tmp_path):
    library = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        module = torch.nn.GRU(3, 4, bidirectional=True).to(dtype)
        library.save_file(module.state_dict(), tmp_path / "gru.safetensors")
        layer = fg.from_torch(tmp_path / "gru.safetensors", batch_first=False)
        assert all(
            np.array_equal(layer.params[name], array.double().detach()) for name, array in module.named_parameters()
        )
    fg.to_torch(layer, tmp_path / "gru.safetensors")
    assert library.load_file(tmp_path / "gru.safetensors").keys() == layer.params.keys()
    fg.save(tmp_path / "own.safetensors", layer)
    with refused(tmp_path / "own.safetensors", "fastgate.load"):
        fg.from_torch(tmp_path / "own.safetensors", batch_first=False)


def test_either_byte_order(path):
    archive(path, dictionary(**LINEAR), **{"data/0": STATE["weight"].astype(">f4").tobytes(), "byteorder": "big"})
    np.testing.assert_array_equal(fg.from_torch(path).params["weight"], STATE["weight"])


# ------------------------------------------------------------------------------------------------------------ refused


class Harm:
    """Runs a command when it is unpickled."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_is_run(path, protocol):
    mark = path.with_suffix(".ran")
    harm = pickle.dumps({"weight": Harm(f"touch {mark}")}, protocol)
    archive(path, harm)
    with refused(path, "asks for"):
        fg.from_torch(path)
    path.write_bytes(harm)
    with pytest.raises(ValueError, match=r"^path: "):
        fg.from_torch(path)
    assert not mark.exists()


def test_whole_modules_are_refused(torch, path):
    for save, piece in ((torch.save, "torch.nn.modules.linear.Linear"), (save_script, "TorchScript")):
        save(torch.nn.Linear(3, 2), path)
        with refused(path, piece, "state_dict()"):
            fg.from_torch(path)
    torch.save(STATE | {"weight": torch.ones(2)}, path, _use_new_zipfile_serialization=False)
    with refused(path, "before PyTorch 1.6"):
        fg.from_torch(path)


def save_script(module, path):
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.trace(module, torch.ones(1, 3)), path)


TUPLES = b")" + b"q\x00h\x00\x86" * 60  # of tuples of tuples: hashing takes 2^60 steps
PICKLES = {
    "empty": (b"", "makes no sense"),
    "stopped": (b".", "makes no sense"),
    "cut_off": (dictionary(**LINEAR)[:-1], "makes no sense"),
    "text_cut_off": (b"X\xff\xff\xff\xff", "makes no sense"),
    "no_such_memo": (b"h\x07.", "makes no sense"),
    "mark_alone": (b"t.", "makes no sense"),
    "not_utf8": (b"X\x01\0\0\0\xff.", "makes no sense"),
    "half_a_pair": (b"}(" + _text("a") + b"u.", "makes no sense"),
    "call_of_text": (_text("os.system") + b")R.", "makes no sense"),
    "build": (b"}" + _text("a") + b"b.", "makes no sense"),
    "eval": (b"cbuiltins\neval\n(X\x01\0\0\x001tR.", "asks for builtins.eval"),
    "getattr": (_text("builtins") + _text("getattr") + b"\x93.", "asks for builtins.getattr"),
    "class": (b"(ios\nsystem\n.", "asks for"),
    "extension": (b"\x82\x01.", "asks for"),
    "reduced": (_global("collections.OrderedDict") + b"(" + _text("a") + b"tR.", "calls collections.OrderedDict"),
    "called": (_global("torch.FloatStorage") + b")R.", "calls torch.FloatStorage"),
    "persistent": (b"(" + _text("module") + b"tQ.", "other than a storage"),
    "key_of_tuples": (b"}" + TUPLES + b"Ns.", "a key of type tuple"),
    "no_storage": (dictionary(weight=tensor(stored=storage(key="1"))), "has None bytes, expected 24"),
    "little_storage": (dictionary(weight=tensor(stored=storage(10**9))), "expected 4000000000"),
    "other_dtype": (dictionary(weight=tensor(stored=storage(kind="torch.DoubleStorage"))), "expected 48"),
    "beyond": (dictionary(weight=tensor((2, 4), (3, 1))), "(2, 4)"),
    "offset": (dictionary(weight=tensor(offset=1)), "in a storage of 6"),
    "negative": (dictionary(weight=tensor((-2, 3))), "impossible shape"),
    "negative_stride": (dictionary(weight=tensor(strides=(3, -1), offset=2)), "impossible shape"),
    "axes": (dictionary(weight=tensor((1,) * 9, (1,) * 9)), "impossible shape"),
    "strides": (dictionary(weight=tensor((2, 3), (3,))), "impossible shape"),
    "expanded": (dictionary(weight=tensor((10**6, 10**6), (0, 0))), "in a storage of 6"),
    "shared": (dictionary(**{f"w{i}": tensor() for i in range(9)}), "more than 8 times"),
    "negated": (dictionary(weight=tensor(more=b"}" + _text("neg") + b"\x88s")), "negated"),
    "no_dictionary": (b"].", "a mapping from names to tensors, got a list"),
    "objects": (b"]" + b"}a" * 2**18 + b".", "instructions"),
    "deep": (b"}" + _text("a") + b"}" * 100_000 + b"s" * 99_999 + b"s.", ""),
    "memo": (b"Nr\xff\xff\xff\xff.", "a mapping from names to tensors, got a"),
}


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(("pickled", "piece"), PICKLES.values(), ids=PICKLES)
def test_pickles(path, pickled, piece):
    archive(path, pickled)
    with refused(path, piece):
        fg.from_torch(path)


ARCHIVES = {
    "compressed": (lambda path: archive(path, dictionary(**LINEAR), zipfile.ZIP_DEFLATED), "compressed"),
    "no_pickle": (lambda path: np.savez(path.open("wb"), weight=np.ones(3)), "no data.pkl"),
    "long_pickle": (lambda path: archive(path, bytes(2**22 + 1)), "are allowed"),
    "order": (lambda path: archive(path, b"N.", byteorder="middle"), "byte order"),
    "tar": (lambda path: path.write_bytes(bytes(257) + b"ustar" + bytes(1000)), "tar archive"),
    "comment": (lambda path: (archive(path, b"N."), path.write_bytes(path.read_bytes() + b"x")), "does not end"),
    "start_alone": (lambda path: path.write_bytes(b"PK\3\4"), "cut off"),
}


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(("write", "piece"), ARCHIVES.values(), ids=ARCHIVES)
@pytest.mark.filterwarnings("ignore:unclosed file")
def test_archives(path, write, piece):
    write(path)
    with refused(path, piece):
        fg.from_torch(path)


def test_members_may_not_overlap(path):
    """Two names for the same bytes: what a ZIP bomb is made of."""
    archive(path, dictionary(**LINEAR), **{"data/1": bytes(24)})
    content = bytearray(path.read_bytes())
    at = [i for i in range(len(content)) if content[i : i + 4] == b"PK\1\2"]
    content[at[2] + 42 : at[2] + 46] = content[at[1] + 42 : at[1] + 46]
    path.write_bytes(content)
    with refused(path, "overlap"):
        fg.from_torch(path)


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.pt")
    for name, kind, piece in (("pipe.pt", OSError, "ordinary"), ("none.pt", FileNotFoundError, "no file")):
        with complaint(kind, "path", piece):
            fg.from_torch(tmp_path / name)


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("inside", [False, True], ids=["file", "pickle"])
def test_damage_anywhere(path, inside):
    """One byte changed, bytes left out or put in: the same layer, or an error of ours."""
    archive(path, dictionary(**LINEAR))
    whole = dictionary(**LINEAR) if inside else path.read_bytes()
    rng, right, errors = np.random.default_rng(0), fg.from_torch(path).params["weight"], 0
    for _ in range(400):
        content, at, count = bytearray(whole), rng.integers(len(whole)), rng.integers(1, 9)
        put = struct.pack("<Q", rng.integers(2**63))[: rng.choice([0, 1, count])]
        content[at : at + rng.choice([0, 1, count])] = put
        archive(path, bytes(content)) if inside else path.write_bytes(content)
        try:
            found = fg.from_torch(path, batch_first=True, nonlinearity="tanh").params["weight"]
            assert inside or np.array_equal(found, right)  # a pickle may well say something else
        except (ValueError, TypeError) as error:
            assert str(error).startswith("path: ")  # noqa: PT017
            errors += 1
    assert errors > 200


def test_a_file_is_read_where_it_is_needed_alone(path):
    """Of a checkpoint the optimiser's part may be damaged."""
    archive(path, dictionary(model=dictionary(**LINEAR)[:-1], rest=dictionary(x=tensor(stored=storage(key="1")))[:-1]),
            **{"data/1": bytes(24)})  # fmt: skip
    content = path.read_bytes()
    start = content.index(b"archive/data/1") + len("archive/data/1")
    path.write_bytes(content[:start] + b"\1" + content[start + 1 :])
    assert fg.from_torch(path, part="model").params["bias"].shape == (2,)
    with refused(path, "checksum"):
        fg.from_torch(path, part="rest", into=OnlyX())


class OnlyX:
    """Something with one parameter."""

    def __init__(self):
        self.params = fg.Params({"x": (2, 3)})
