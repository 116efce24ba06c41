"""Write the README's table of speeds from the results of the latest release: python asv_benchmarks/readme_table.py"""

import sys
from math import exp, fsum, log
from pathlib import Path

import history

README = Path(__file__).parents[1] / "README.md"
BEGIN = "<!-- speed: written by asv_benchmarks/readme_table.py from results, do not edit -->"
END = "<!-- end of speed -->"
CHARTS = {
    "ratio": "How many times as long the others take, shape by shape",
    "history": "The best peer's time over fastgate's, release after release",
}


def duration(seconds):
    return f"{seconds * 1e6:.1f} µs" if seconds < 1e-3 else f"{seconds * 1e3:.2f} ms"


def table(release):
    """The Markdown of one release's results."""
    rows = {benchmark: release.rows(benchmark) for benchmark in history.WORKS}
    seen = {library for each in rows.values() for libraries in each.values() for library in libraries}
    peers = {name: title for name, title in history.PEERS.items() if name in seen}
    requirements = release.results["requirements"]
    versions = ", ".join(f"{name} {requirements[name]}" for name in (*peers, "numba", "numpy"))
    threads = release.results["env_vars"]["FASTGATE_NUM_THREADS"]
    *names, last = peers.values()
    others = f"the fastest of {', '.join(names)} and {last}" if names else last
    lines = [
        f"fastgate {release.version} beside {others}, in one run: float32, {threads} thread, medians;",
        f"{release.machine['cpu']}; {versions}.",
        "",
        f"| | {' | '.join(f'{cell} | best peer | ratio' for cell in history.CELLS)} |",
        f"|---|{'--:|' * 3 * len(history.CELLS)}",
    ]
    for benchmark, (title, _) in history.WORKS.items():
        lines.append(f"| **{title}** |{' |' * 3 * len(history.CELLS)}")
        for shape in dict.fromkeys(shape for _, shape in rows[benchmark]):
            cells = [cell for name in history.CELLS for cell in compared(rows[benchmark].get((name, shape)))]
            lines.append(f"| {' | '.join([shape.replace(',', ' '), *cells])} |")
        lines.append(
            f"| *geometric mean* |{''.join(f' | | {mean(rows[benchmark], cell)} |' for cell in history.CELLS)}"
        )
    return "\n".join(lines)


def compared(libraries):
    if libraries is None:
        return ["n/a"] * 3
    name, ratio = history.best_peer(libraries)
    theirs = f"{duration(libraries[name])} {history.PEERS[name]}"
    return duration(libraries["fastgate"]), theirs, f"{ratio:.2f}"


def mean(rows, cell):
    logs = [log(history.best_peer(libraries)[1]) for (name, _), libraries in rows.items() if name == cell]
    return f"{exp(fsum(logs) / len(logs)):.2f}" if logs else ""


def speed_section(folder=history.FOLDER):
    """The table of the latest release and the charts that have been drawn, or None if nothing was measured yet."""
    releases = history.measured(folder)
    if not releases:
        return None
    drawn = [(name, text) for name, text in CHARTS.items() if (folder / "charts" / f"{name}.svg").exists()]
    pictures = [f"![{text}](asv_benchmarks/charts/{name}.svg)" for name, text in drawn]
    return "\n\n".join([table(releases[-1]), *pictures])


def with_speed(readme, section):
    """The README with the section between its two marks."""
    before, rest = readme.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n\n{section}\n\n{END}{after}"


def main():
    section = speed_section()
    if section is None:
        sys.exit("nothing to write: no release of releases.txt has results; make bench-releases measures them")
    README.write_text(with_speed(README.read_text("utf-8"), section), "utf-8")


if __name__ == "__main__":
    main()
