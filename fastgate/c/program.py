"""``python -m fastgate export-c``."""

from pathlib import Path

from fastgate._terminal import UserError, say
from fastgate.c.export import to_c
from fastgate.convert.formats import FORMATS, of_input


def run(model: Path, folder: Path, name: str) -> int:
    """Write the files and say so; the exit code."""
    try:
        form = FORMATS[of_input(model)]
        # Which a state_dict does not say, and a step of one sequence does not need.
        options = {"batch_first": True} if "batch_first" in form.options else {}
        files = to_c(form.read(model, options), folder, name=name)
    except (TypeError, ValueError, OSError, ImportError) as error:
        raise UserError(str(error)) from None
    for path in files:
        say(f"{path}  {path.stat().st_size:,} bytes")
    say(f"\ncc -std=c99 -O3 -march=native -c {folder / name}.c    then link it, with -lm; see {files[0]}")
    return 0
