"""Write the README's table of speeds from the results of the latest release: python asv_benchmarks/readme_table.py"""

import itertools
import json
from pathlib import Path

FOLDER = Path(__file__).parent
README = FOLDER.parent / "README.md"
BEGIN = "<!-- speed: written by asv_benchmarks/readme_table.py from results, do not edit -->"
END = "<!-- end of speed -->"

WORK = {
    "recurrent.Forward.time_forward": ("inference, B T I H", 1e6, "µs"),
    "recurrent.TrainingStep.time_training_step": ("forward + backward, B T I H", 1e6, "µs"),
    "recurrent.StreamingStep.time_100_steps": ("one step from Python, B I H", 1e4, "µs"),
}


def latest_release(releases):
    """The last line of releases.txt: version and commit; None before the first release."""
    rows = [line.split() for line in releases.splitlines()[1:] if line.strip()]
    return tuple(rows[-1]) if rows else None


def times(record, columns):
    """One benchmark's entry -> {parameters: seconds}"""
    entry = dict(zip(columns, record, strict=False))
    names = [[name.strip("'") for name in values] for values in entry["params"]]
    return dict(zip(itertools.product(*names), entry["result"], strict=True))


def table(version, machine, results):
    """The Markdown of one results file."""
    versions = ", ".join(f"{name} {results['requirements'][name]}" for name in ("torch", "numba", "numpy"))
    threads = results["env_vars"]["FASTGATE_NUM_THREADS"]
    lines = [
        f"fastgate {version} beside PyTorch in one run: float32, {threads} thread, medians;",
        f"{machine['cpu']}; {versions}.",
        "",
        "| | LSTM | PyTorch | ratio | GRU | PyTorch | ratio |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for benchmark, (title, scale, unit) in WORK.items():
        seconds = times(results["results"][benchmark], results["result_columns"])
        shapes = dict.fromkeys(shape for _, _, shape in seconds)
        lines.append(f"| **{title}** | | | | | | |")
        for shape in shapes:
            row = [shape.replace(",", " ")]
            for cell in ("LSTM", "GRU"):
                ours, theirs = (seconds[cell, library, shape] for library in ("fastgate", "torch"))
                row += [f"{ours * scale:,.1f} {unit}", f"{theirs * scale:,.1f} {unit}", f"{theirs / ours:.2f}"]
            lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def speed_section():
    """The table of the latest release, or None if there is none yet."""
    release = latest_release((FOLDER / "releases.txt").read_text("utf-8"))
    if release is None:
        return None
    version, commit = release
    (path,) = FOLDER.glob(f"results/*/{commit[:8]}-*.json")
    machine = json.loads((path.parent / "machine.json").read_text("utf-8"))
    return table(version, machine, json.loads(path.read_text("utf-8")))


def with_speed(readme, section):
    """The README with the section between its two marks."""
    before, rest = readme.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n\n{section}\n\n{END}{after}"


if __name__ == "__main__":
    README.write_text(with_speed(README.read_text("utf-8"), speed_section()), "utf-8")
