"""How the names of files end: of each function that writes one, in one place."""

from __future__ import annotations

import os

from fastgate import _errors

ENDINGS = {
    "save": (".safetensors",),
    "to_torch": (".safetensors", ".pt", ".pth"),
    "to_onnx": (".onnx",),
    "to_keras": (".keras", ".weights.h5"),
    "to_rtneural": (".json",),
}
FOREIGN = ".h5", ".hdf5", ".npz", ".npy", ".pkl", ".pickle"  # of formats that nothing here writes under such a name
MUST = "to_torch", "to_keras"  # for which the ending says what is written


def check_ending(path: str | os.PathLike[str], writer: str) -> None:
    """Raise where readers would expect something else in the file than this function writes; bytes may be a path."""
    name, own = os.fsdecode(path), ENDINGS[writer]
    others = {ending for endings in ENDINGS.values() for ending in endings} | set(FOREIGN)
    if not name.endswith(own) and (writer in MUST or name.endswith(tuple(others))):
        of_others = [f"fastgate.{other}" for other, endings in ENDINGS.items() if name.endswith(endings)]
        got = f"{name!r}, as {' and '.join(of_others)} would write" if of_others else repr(name)
        raise _errors.misplaced("path", f"a name that ends in {' or '.join(own)}", got)
