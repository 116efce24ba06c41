"""Write asv's configuration with its results in another folder: python asv_benchmarks/elsewhere.py FOLDER

Prints the file's name. For runs that are no part of the history: asv leaves notes even of what it does not keep.
"""

import json
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
PATHS = ("repo", "benchmark_dir", "env_dir")


def write(folder):
    config = json.loads((FOLDER / "asv.conf.json").read_text("utf-8"))
    config |= {name: str((FOLDER / config[name]).resolve()) for name in PATHS}
    config |= {"results_dir": str(folder / "results"), "html_dir": str(folder / "html")}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "asv.conf.json"
    path.write_text(json.dumps(config, indent=4), "utf-8")
    return path


if __name__ == "__main__":
    sys.stdout.write(f"{write(Path(sys.argv[1]).resolve())}\n")
