"""What has been measured: the one place that knows how asv writes its results."""

import itertools
import json
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).resolve().parent

# What the README and its charts show. Benchmark: (title, how often its body does the work)
WORKS = {
    "recurrent.Forward.time_forward": ("inference, B T I H", 1),
    "recurrent.TrainingStep.time_training_step": ("forward + backward, B T I H", 1),
    "recurrent.StreamingStep.time_100_steps": ("one step from Python, B I H", 100),
}
CELLS = ("LSTM", "GRU")
PEERS = {"torch": "PyTorch", "onnxruntime": "ONNX Runtime", "jax": "JAX"}


class Measured(NamedTuple):
    """One release on one machine."""

    version: str
    machine: dict
    results: dict  # as in the file

    def seconds(self, benchmark):
        """{parameters: seconds of the body}, without what was skipped or failed."""
        record = self.results["results"].get(benchmark)
        if record is None:
            return {}
        entry = dict(zip(self.results["result_columns"], record, strict=False))
        names = [[name.strip("'") for name in values] for values in entry["params"]]
        cases = itertools.product(*names)
        return {
            case: value for case, value in zip(cases, entry["result"] or [], strict=False) if value == value and value
        }

    def rows(self, benchmark):
        """{(cell, shape): {library: seconds of doing the work once}} where fastgate was measured beside a peer."""
        times = WORKS[benchmark][1]
        rows = {}
        for case, seconds in self.seconds(benchmark).items():
            (library,), (cell,) = (set(case) & set(known) for known in (("fastgate", *PEERS), CELLS))
            (shape,) = set(case) - {library, cell}
            rows.setdefault((cell, shape), {})[library] = seconds / times
        return {row: libraries for row, libraries in rows.items() if "fastgate" in libraries and len(libraries) > 1}


def best_peer(libraries):
    """{library: seconds} -> the fastest other library, and its time over fastgate's."""
    ours = libraries["fastgate"]
    name = min((name for name in libraries if name != "fastgate"), key=libraries.get)
    return name, libraries[name] / ours


def releases(folder=FOLDER):
    """[(version, commit)] of releases.txt, oldest first."""
    lines = (folder / "releases.txt").read_text("utf-8").splitlines()[1:]
    return [tuple(line.split()) for line in lines if line.strip()]


def measured(folder=FOLDER):
    """The releases that have results on the machine where the latest was measured last; oldest first."""
    found = {version: _files(folder, commit) for version, commit in releases(folder)}
    newest = next((files for files in reversed(found.values()) if files), [])
    if not newest:
        return []
    machine = newest[-1].parent
    same = {version: [path for path in files if path.parent == machine] for version, files in found.items()}
    return [
        Measured(version, _read(machine / "machine.json"), _read(files[-1])) for version, files in same.items() if files
    ]


def _files(folder, commit):
    """Its results in the order in which they were begun: there may be several environments and machines."""
    paths = (folder / "results").glob(f"*/{commit[:8]}-*.json")
    return sorted(paths, key=lambda path: (_begun(_read(path)), str(path)))


def _begun(results):
    at = results["result_columns"].index("started_at")
    return max((record[at] or 0 for record in results["results"].values() if len(record) > at), default=0)


def _read(path):
    return json.loads(path.read_text("utf-8"))
