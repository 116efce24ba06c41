"""``python -m fastgate.examples``: what there is to run."""

import ast
from pathlib import Path

from fastgate._terminal import say

if __name__ == "__main__":
    say("python -m fastgate.examples.NAME --help\n")
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        say(f"  {path.stem:20}{text.splitlines()[0]}")
