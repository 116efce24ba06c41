"""The figures as pictures: ratio for every shape, and the roofline (Williams, Waterman and Patterson 2009)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.transforms import blended_transform_factory

from fastgate import _picture
from fastgate.bench.labels import place
from fastgate.bench.timing import OURS, Row, geometric_mean

COLORS = ("#1a5fb4", "#d9641e", "#2a7d4f", "#8a4f9e")  # of thread counts
INK, GRAY, FAINT = "#333333", "#777777", "#b8b8b8"
WIDTH, HEIGHT, LEAST_HEIGHT = 15.0, 0.27, 5.0  # inches: of the figure, of a shape, of a pair of panels
COLUMN = 0.27  # of the left panel's width


def draw(path: Path, rows: Sequence[Row], setting: dict[str, Any]) -> None:
    """A pair of panels for each cell, mode and dtype."""
    kinds = list(dict.fromkeys(row.task[:3] for row in rows))
    groups = [[row for row in rows if row.task[:3] == kind] for kind in kinds]
    heights = [max(LEAST_HEIGHT, HEIGHT * len({row.shape for row in group}) + 2.0) for group in groups]
    figure = Figure(figsize=(WIDTH, sum(heights)), layout=ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.12))
    panels = figure.subplots(len(groups), 2, squeeze=False, gridspec_kw={"height_ratios": heights, "wspace": 0.05})
    for (left, right), group in zip(panels, groups, strict=True):
        _draw_ratios(left, group)
        _draw_roofline(right, group, setting["bandwidths"])
        for panel in (left, right):
            panel.spines[["top", "right"]].set_visible(False)
    versions = ", ".join(f"{name} {version}" for name, version in setting["versions"].items())
    figure.supxlabel(f"{setting['machine']['CPU']}; {versions}", fontsize=8, color=INK, x=0.01, ha="left")
    for right, group in zip(panels[:, 1], groups, strict=True):
        mine = [row for row in group if row.task.threads == group[0].task.threads and OURS in row.seconds]
        _label_roofline(figure, right, mine, setting["bandwidths"][group[0].task.threads])
    _picture.save(path, figure)


def _draw_ratios(axes: Any, rows: Sequence[Row]) -> None:
    """Dots with their spread, one colour for each number of threads; the figures stand in columns beside them."""
    axes.set_xscale("log", base=2)
    shapes = list(dict.fromkeys(row.shape for row in rows))
    counts = list(dict.fromkeys(row.task.threads for row in rows))
    cell, work, dtype, _ = rows[0].task
    beside = blended_transform_factory(axes.transAxes, axes.transData)
    for at, (threads, color) in enumerate(zip(counts, COLORS * len(counts), strict=False)):
        mine = [row for row in rows if row.task.threads == threads]
        column, shift = 1.02 + COLUMN * at, 0.12 * (2 * at - len(counts) + 1)
        mean = geometric_mean(mine)
        title = f"{threads} thread{'s' * (threads > 1)}" + (f"\nmean {mean:.2f}" if mean else "")
        axes.text(column, -0.9, title, transform=beside, color=color, fontsize=8.5, weight="bold", va="bottom")
        for row in mine:
            if (ratio := row.ratio) is None:
                continue
            y = shapes.index(row.shape)
            axes.plot([ratio.p10, ratio.p90], [y + shift] * 2, color=color, linewidth=1.2, alpha=0.6)
            axes.plot(ratio.median, y + shift, "o", color=color, markersize=5)
            text = f"{ratio.median:.2f}  {row.best_peer}"
            axes.text(column, y, text, transform=beside, color=color, fontsize=8, va="center")
    medians = [row.ratio.median for row in rows if row.ratio is not None] or [1.0]
    axes.set_xlim(min(1.0, *medians) / 2, max(1.0, *medians) * 2)  # however far a disturbed round strays
    axes.axvline(1.0, color=INK, linewidth=1.0)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_yticks(range(len(shapes)), [" ".join(map(str, shape)) for shape in shapes], fontsize=8)
    axes.set_ylim(len(shapes) - 0.4, -0.8)
    axes.grid(axis="x", color=FAINT, linewidth=0.4)
    axes.set_xlabel("best peer's time / fastgate's time  (right of 1: fastgate is faster; bars: 80 % of the rounds)")
    axes.text(-0.012, -0.9, "B T I H", transform=beside, fontsize=8.5, weight="bold", ha="right", va="bottom")
    axes.set_title(f"{cell}, {work.replace('_', ' ')}, {dtype}", loc="left", weight="bold", pad=18)


def _draw_roofline(axes: Any, rows: Sequence[Row], bandwidths: dict[int, dict[str, float]]) -> None:
    """The first number of threads: below its peak and its bandwidths."""
    mine = [row for row in rows if row.task.threads == rows[0].task.threads and OURS in row.seconds]
    threads, peak = mine[0].task.threads, max(row.peak for row in mine)
    intensity, rate = np.array([[row.intensity, row.rate] for row in mine]).T
    left, right = intensity.min() / 5, max(intensity.max(), 8.0) * 3
    lowest = min(rate.min(), left * min(bandwidths[threads].values()))
    x = np.geomspace(left, right, 200)
    for bandwidth in bandwidths[threads].values():
        roof = np.minimum(peak, bandwidth * x)
        axes.plot(x, roof / 1e9, color=FAINT, linewidth=1.2, zorder=1)
    axes.text(right, peak / 1e9 * 1.06, f"multiply-adds {peak / 1e9:.0f} GF/s", ha="right", fontsize=8, color=GRAY)
    axes.plot(intensity, rate / 1e9, "o", color=COLORS[0], markersize=5, zorder=3)
    axes.set(xscale="log", yscale="log", xlim=(left, right), ylim=(lowest / 1e9 / 2, peak / 1e9 * 1.6))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("floating-point operations per byte that must move")
    axes.set_ylabel("GF/s of fastgate")
    axes.set_title(f"roofline, {threads} thread{'s' * (threads > 1)}", loc="left", weight="bold", pad=18)


def _label_roofline(figure: Any, axes: Any, rows: Sequence[Row], bandwidths: dict[str, float]) -> None:
    """Last, when the panels have their final places: a line's name has its slope, and no name lies upon another."""
    figure.draw_without_rendering()
    left = axes.get_xlim()[0]
    for i, (level, bandwidth) in enumerate(bandwidths.items()):
        ends = axes.transData.transform([(x, bandwidth * x / 1e9) for x in (left, 2 * left)])
        run, rise = ends[1] - ends[0]
        axes.annotate(
            f"{level} {bandwidth / 1e9:.0f} GB/s",
            (left, bandwidth * left / 1e9),
            (1, 5) if i < 2 else (6, -9),  # L2 and L3 may lie close together
            textcoords="offset points",
            fontsize=7.5,
            color=GRAY,
            rotation=np.degrees(np.arctan2(rise, run)),
            rotation_mode="anchor",
        )
    points = axes.transData.transform([[row.intensity, row.rate / 1e9] for row in rows])
    names = [" ".join(map(str, row.shape)) for row in rows]
    scale, room = 72 / figure.dpi, axes.get_window_extent()
    frame = (scale * room.x0, scale * room.y0, scale * room.x1, scale * room.y1)
    for name, row, offset in zip(names, rows, place(points * scale, names, frame), strict=True):
        axes.annotate(
            name,
            (row.intensity, row.rate / 1e9),
            offset,
            textcoords="offset points",
            fontsize=7,
            color=INK,
            va="center",
            arrowprops={"arrowstyle": "-", "color": GRAY, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2},
            zorder=2,
        )
