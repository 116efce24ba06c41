"""Files have names by which whoever reads them knows what they are."""

import pytest

import fastgate as fg

WRITERS = {
    "save": (lambda path: fg.save(path, fg.Linear(2, 3)), ".safetensors"),
    "to_torch": (lambda path: fg.to_torch(fg.Linear(2, 3), path), ".pt"),
    "to_onnx": (lambda path: fg.to_onnx(fg.Linear(2, 3), path), ".onnx"),
    "to_rtneural": (lambda path: fg.to_rtneural(fg.Linear(2, 3), path), ".json"),
    "to_keras": (lambda path: fg.to_keras(fg.Linear(2, 3), path), ".keras"),
}
PACKAGES = {"save": "safetensors", "to_onnx": "onnx", "to_keras": "h5py"}


@pytest.mark.parametrize("name", WRITERS)
def test_an_ending_of_another_format(name, tmp_path):
    if name in PACKAGES:
        pytest.importorskip(PACKAGES[name], reason=f"{PACKAGES[name]} is not installed")
    write, own = WRITERS[name]
    for other, (_, ending) in WRITERS.items():
        if own != ending and not (name == "to_torch" and other == "save"):
            with pytest.raises(ValueError, match=rf"^path: expected a name that ends in .*as .*fastgate\.{other}"):
                write(tmp_path / f"a{ending}")
    with pytest.raises(ValueError, match=r"got '.*a\.h5'$"):
        write(str(tmp_path / "a.h5"))
    assert not any(tmp_path.iterdir())
    if name not in ("to_torch", "to_keras"):
        write(tmp_path / "a.model")
    write(str(tmp_path / f"a{own}"))
