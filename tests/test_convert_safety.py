"""What `python -m fastgate convert` verifies, replaces and says: masks, ill-conditioned layers, files that appear."""

import errno
import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import fastgate as fg
from fastgate import _atomic
from fastgate.__main__ import main
from fastgate._atomic import atomic_file
from fastgate.convert import program, samples

pytest.importorskip("safetensors", reason="safetensors is not installed")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """All files are named as a user would, and the folder holds nothing else."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def convert(capsys):
    """Runs the command: its exit code, what it printed, and its last line of errors."""

    def run(*arguments):
        code = main(["convert", *arguments])
        printed = capsys.readouterr()
        return code, printed.out, (printed.err.splitlines() or [""])[-1]

    return run


# ------------------------------------------------------------------------------------------------- what is verified


def test_samples_have_steps_that_are_masked():
    gru = fg.GRU(3, 2)
    for layer, of in (
        (fg.Sequential(fg.Embedding(50_000, 3, mask_zero=True), gru), lambda x: x == 0),
        (fg.Sequential(fg.Dropout(0.1), fg.Masking(-1.5), gru), lambda x: (x == -1.5).all(axis=-1)),
    ):
        masked = of(samples.sample(layer))
        assert 0 < masked.sum() < masked.size / 2
        assert not masked.all(axis=1).any()
    assert (samples.sample(fg.Sequential(fg.Linear(3, 3), fg.Masking(), gru)) != 0).all()


@pytest.mark.skipif(not find_spec("h5py"), reason="h5py is not installed")
def test_what_follows_from_a_mask_is_compared(convert, monkeypatch):
    """Another value of Masking is another model, which input without such steps would not tell."""
    fg.save("a.safetensors", fg.Sequential(fg.Masking(-1.5), fg.LSTM(2, 3, seed=0)))
    other = fg.Sequential(fg.Masking(7.0), fg.LSTM(2, 3, seed=0))
    right = fg.to_keras
    monkeypatch.setattr(fg, "to_keras", lambda layer, path: right(other, path))
    code, _, line = convert("a.safetensors", "a.keras")
    assert code == 1
    assert "OUT read by fastgate gives outputs that differ by" in line


def test_float64_follows_the_conditioning(convert, torch):
    """With such weights two programs that are both right differ by more than 1e-12."""
    layer = fg.LSTM(8, 64, seed=0, dtype="float64")
    layer.params.flat = 30 * layer.params.flat
    fg.save("a.safetensors", layer)
    code, printed, _ = convert("a.safetensors", "a.pt")
    assert code == 0
    assert "OUT by PyTorch" in printed
    assert "float64 is off by about" in printed
    x = samples.sample(layer)
    single = samples.rounding(layer, x, "float32")
    assert samples.rounding(layer, x, "float64") == pytest.approx(single * 2.0**-29)
    huge = fg.Linear(2, 2, seed=0, dtype="float64")
    huge.params.flat = 1e300 * huge.params.flat
    assert samples.rounding(huge, samples.sample(huge), "float64") == 0  # of which float32 knows nothing


def test_a_float64_layer_that_is_well_conditioned_has_a_narrow_bound(convert, monkeypatch):
    fg.save("a.safetensors", fg.Linear(8, 8, seed=0, dtype="float64"))
    found = iter([3e-12, 1e-7])  # of the two outputs, and of the layer in float32
    monkeypatch.setattr(samples, "difference", lambda y, other: next(found))
    code, _, line = convert("a.safetensors", "b.safetensors")
    assert code == 1
    assert "differ by 3.0e-12, more than 1e-12" in line


# ------------------------------------------------------------------------------------------------- what is replaced


@pytest.mark.parametrize("has_links", [True, False])
def test_an_output_that_appears_meanwhile_stays(convert, monkeypatch, has_links):
    if not has_links:
        monkeypatch.setattr(_atomic.os, "link", lambda *names: (_ for _ in ()).throw(OSError(errno.EPERM, "no links")))
    fg.save("a.safetensors", fg.Linear(2, 2))
    compare = program._Check.target

    def slowly(self, *arguments):
        compare(self, *arguments)
        Path("b.safetensors").write_bytes(b"precious")

    assert convert("a.safetensors", "c.safetensors")[0] == 0
    monkeypatch.setattr(program._Check, "target", slowly)
    code, _, line = convert("a.safetensors", "b.safetensors")
    assert (code, line) == (
        2,
        "fastgate: error: OUT b.safetensors: expected no such file yet, or --force to replace it",
    )
    assert Path("b.safetensors").read_bytes() == b"precious"
    assert sorted(path.name for path in Path().iterdir()) == ["a.safetensors", "b.safetensors", "c.safetensors"]
    assert convert("a.safetensors", "b.safetensors", "--force")[0] == 0
    assert np.array_equal(fg.load("b.safetensors").params.flat, fg.load("a.safetensors").params.flat)


def test_a_file_that_is_not_to_be_replaced():
    with atomic_file("a", replaces=False) as file:
        file.write(b"first")
    with pytest.raises(FileExistsError), atomic_file("a", replaces=False) as file:
        file.write(b"second")
    assert [path.read_bytes() for path in Path().iterdir()] == [b"first"]


# ----------------------------------------------------------------------------------------------------- what is said


def test_which_file_is_at_fault(convert, torch):
    torch.save(torch.nn.LSTM(2, 3).state_dict(), "a.pt")
    fg.save("dropout.safetensors", fg.Dropout(0.1))
    for arguments, expected in (
        (
            ("a.pt", "b.pt", "--batch-first", "--into", "none.safetensors"),
            "--into: there is no file 'none.safetensors'",
        ),
        (("none.pt", "b.pt"), "IN: there is no file 'none.pt'"),
        (("dropout.safetensors", "b.pt"), "OUT: 'b.pt': expected tensors alone, got none"),
    ):
        code, _, line = convert(*arguments)
        assert (code, line) == (1, f"fastgate: error: {expected}")


def test_advice_is_of_this_command(convert):
    """A JSON of GuitarML has one layer of a kind: no part of it could be taken."""
    said = {"model": "SimpleRNN", "unit_type": "LSTM", "input_size": 1, "hidden_size": 1, "output_size": 1}
    tensors = {"rec.odd": [[1.0]], "lin.weight": [[1.0]], "lin.bias": [1.0]}
    Path("a.json").write_text(json.dumps({"model_data": said | {"num_layers": 1, "skip": 0}, "state_dict": tensors}))
    code, _, line = convert("a.json", "b.pt")
    assert code == 1
    assert "expected the parameters of an LSTM" in line
    assert "part" not in line
    assert "into" not in line


def test_a_reader_that_goes_away_is_no_error_of_out():
    """As `fastgate convert ... | head` does."""

    with pytest.raises(BrokenPipeError), program._as("OUT", "a", "b"):
        raise BrokenPipeError
