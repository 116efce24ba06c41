"""Draw the README's charts from the results: python asv_benchmarks/charts.py"""

import sys
from math import exp, fsum, log

import history
import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

COLOURS = {"LSTM": "#2563a8", "GRU": "#d9730d"}
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
MORE_TICKS = (0.3, 0.7, 1.5, 3, 7)  # where there is room
MARKS = {"torch": ("o", "#c2410c"), "onnxruntime": ("D", "#0f766e"), "jax": ("^", "#7c3aed")}
INK, FAINT = "#24292f", "#d8dee4"

STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "ytick.left": False,
    "xtick.bottom": False,
    "axes.grid": True,
    "axes.grid.axis": "x",
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "svg.hashsalt": "fastgate",  # the same results give the same file
    "figure.facecolor": "white",
}


def ratio(release):
    """Shape by shape: every peer's time over fastgate's; the bar and the figure are those of the fastest of them."""
    works = [(title, rows) for name, (title, _) in history.WORKS.items() if (rows := release.rows(name))]
    shapes = [list(dict.fromkeys(shape for _, shape in rows)) for _, rows in works]
    figure, axes = plt.subplots(
        len(works),
        len(history.CELLS),
        figsize=(8.6, 0.9 + 0.28 * sum(map(len, shapes)) + 0.55 * len(works)),
        height_ratios=[len(each) + 0.4 for each in shapes],
        sharex=True,
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    for row, (title, rows) in enumerate(works):
        for column, cell in enumerate(history.CELLS):
            _ratio_panel(axes[row, column], cell, shapes[row], rows)
            axes[row, column].set_title(f"{cell}: {title}", fontsize=9, loc="left", fontweight="bold")
    _ratio_scale(axes[0, 0], [_ratios(libraries).values() for _, rows in works for libraries in rows.values()])
    figure.supxlabel("times as long as fastgate, on a log scale; bar and figure: the fastest peer", fontsize=9)
    peers = {name for _, rows in works for libraries in rows.values() for name in libraries} & set(history.PEERS)
    handles = [_mark(name, label=history.PEERS[name]) for name in history.PEERS if name in peers]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False)
    return figure


def _ratio_panel(axis, cell, shapes, rows):
    axis.axvline(1, color=INK, linewidth=1)
    for y, shape in enumerate(shapes):
        ratios = _ratios(rows.get((cell, shape), {}))
        if ratios:
            best = min(ratios.values())
            axis.barh(y, best - 1, left=1, height=0.62, color=COLOURS[cell], alpha=0.25 if best >= 1 else 0.6)
            axis.text(1.02, y, f"{best:.2f}", transform=axis.get_yaxis_transform(), va="center", fontweight="bold")
        for name, value in ratios.items():
            marker, colour = MARKS[name]
            axis.plot(value, y, marker, color=colour, markersize=5, markeredgecolor="white", markeredgewidth=0.6)
    axis.set_yticks(range(len(shapes)), [shape.replace(",", " ") for shape in shapes])
    axis.set_ylim(len(shapes) - 0.4, -0.6)


def _ratio_scale(axis, ratios):
    values = [1, *(value for each in ratios for value in each)]
    low, high = min(values) / 1.12, max(values) * 1.15
    _logarithmic(axis.xaxis, low, high)


def _logarithmic(axis, low, high):
    """Ticks that people can read."""
    ticks = TICKS if high / low > 15 else TICKS + MORE_TICKS
    axis.axes.set(**{f"{axis.axis_name}scale": "log", f"{axis.axis_name}lim": (low, high)})
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_ticks(sorted(tick for tick in ticks if low <= tick <= high))


def _ratios(libraries):
    """Each peer's time over fastgate's."""
    return {name: seconds / libraries["fastgate"] for name, seconds in libraries.items() if name in history.PEERS}


def _mark(name, label):
    marker, colour = MARKS[name]
    return Line2D([], [], linestyle="", marker=marker, color=colour, markersize=5, label=label)


def over_releases(releases):
    """Release after release: the best peer's time over fastgate's; thin for a shape, thick for their geometric mean."""
    figure, axes = plt.subplots(
        1, len(history.WORKS), figsize=(8.6, 3.0), sharey=True, squeeze=False, layout="constrained"
    )
    ticks = range(len(releases))
    for axis, (benchmark, (title, _)) in zip(axes[0], history.WORKS.items(), strict=True):
        rows = [{row: history.best_peer(each)[1] for row, each in r.rows(benchmark).items()} for r in releases]
        for cell, colour in COLOURS.items():
            for shape in dict.fromkeys(shape for each in rows for name, shape in each if name == cell):
                line = [each.get((cell, shape), float("nan")) for each in rows]
                axis.plot(ticks, line, color=colour, linewidth=0.8, alpha=0.35, marker=".", markersize=3)
            mean = [_geometric_mean([value for (name, _), value in each.items() if name == cell]) for each in rows]
            axis.plot(ticks, mean, color=colour, linewidth=2.4, marker="o", markersize=5, label=cell)
        axis.axhline(1, color=INK, linewidth=1)
        axis.grid(True, axis="y")
        axis.grid(False, axis="x")
        axis.set_title(title.rpartition(", ")[0], fontsize=9, loc="left", fontweight="bold")
        axis.set_xticks(ticks, [release.version for release in releases])
        axis.set_xlim(-0.4, len(releases) - 0.6)
        axis.set_xlabel("release")
    values = [history.best_peer(each)[1] for r in releases for name in history.WORKS for each in r.rows(name).values()]
    for axis in axes[0]:
        _logarithmic(axis.yaxis, min([1, *values]) / 1.12, max([1, *values]) * 1.12)
    axes[0, 0].set_ylabel("best peer's time / fastgate's")
    axes[0, -1].legend(frameon=False, loc="best")
    return figure


def _geometric_mean(values):
    return exp(fsum(map(log, values)) / len(values)) if values else float("nan")


def draw(folder=history.FOLDER):
    releases = history.measured(folder)
    if not releases:
        sys.exit("nothing to draw: no release of releases.txt has results; make bench-releases measures them")
    (folder / "charts").mkdir(exist_ok=True)
    with plt.rc_context(STYLE):
        for name, figure in {"ratio": ratio(releases[-1]), "history": over_releases(releases)}.items():
            figure.savefig(folder / "charts" / f"{name}.svg", metadata={"Date": None})
            plt.close(figure)


if __name__ == "__main__":
    draw()
