"""What was measured on a GPU, as a table in text and in Markdown, and beside what 0.6 is to reach."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from fastgate.bench import report
from fastgate.bench.shapes import Shape


class Column(NamedTuple):
    """Who computes how: fastgate with a `precision`, or PyTorch with its parameters and input, or its products, so."""

    is_ours: bool
    how: str

    def __str__(self) -> str:
        return f"{'fastgate' if self.is_ours else 'torch'} {self.how}"


OURS = ("highest", "high", "medium", "bfloat16", "float16")
THEIRS = ("float32", "tf32", "float16", "bfloat16")
COLUMNS = (*(Column(True, how) for how in OURS), *(Column(False, how) for how in THEIRS))
CAPTION = (
    "microseconds of a time step, by CUDA events: medians of rounds in turn;"
    " floor: of the recurrence alone, by the model of plan.py"
)

Row = dict[str, Any]


class Goal(NamedTuple):
    """What fastgate's best of these precisions is to reach: so many times as fast as another column."""

    regime: str
    holds: Callable[[Row], bool]
    ours: tuple[str, ...]
    other: str
    ratio: float


def _is_large(row: Row) -> bool:
    return row["cell"] in ("LSTM", "GRU") and 192 < row["shape"]["H"] <= 1024 and row["shape"]["B"] <= 128


def _is_small(row: Row) -> bool:
    return bool(row["shape"]["H"] <= 192)


FLOAT32, AS_TF32, SIXTEEN_BITS = ("highest", "high"), ("highest", "high", "medium"), ("bfloat16", "float16")
GOALS = (
    Goal("192 < H <= 1024, B <= 128", _is_large, FLOAT32, "torch float32", 2.0),
    Goal("192 < H <= 1024, B <= 128", _is_large, AS_TF32, "torch tf32", 1.5),
    Goal("H <= 192", _is_small, FLOAT32, "torch float32", 1.2),
    Goal("LSTM", lambda row: row["cell"] == "LSTM", SIXTEEN_BITS, "torch float16", 1.0),
    *(Goal("all", lambda row: True, (how,), "floor", 0.5) for how in OURS),
)


def header() -> str:
    return "".join(f"{name:>5}" for name in Shape._fields) + "".join(f"{column!s:>18}" for column in COLUMNS)


def line(row: Row) -> str:
    """Each time, and behind it the floor if it has one."""
    times = "".join(f"{_cell(row, column):>18}" for column in COLUMNS)
    return "".join(f"{size:5}" for size in row["shape"].values()) + times


def _cell(row: Row, column: Column) -> str:
    time, floor = row["times"].get(str(column)), row["floors"].get(str(column))
    return "-" if time is None else f"{time:.2f}" if floor is None else f"{time:.2f} ({floor:.2f})"


def goals(rows: list[Row]) -> str:
    """A line for each goal that something was measured for."""
    return "\n".join(_judged(goal, rows) for goal in GOALS if _ratios(goal, rows))


def _judged(goal: Goal, rows: list[Row]) -> str:
    found = _ratios(goal, rows)
    met, mean = sum(ratio >= goal.ratio for ratio in found), math.exp(sum(map(math.log, found)) / len(found))
    *first, last = goal.ours
    ours = f"{', '.join(first)} or {last}" if first else last
    against = f"{goal.regime}: {ours} against {goal.other}"
    return (
        f"{against}: {min(found):.2f} to {max(found):.2f}, mean {mean:.2f}; >= {goal.ratio:g} in {met} of {len(found)}"
    )


def _ratios(goal: Goal, rows: list[Row]) -> list[float]:
    """Of each row that the goal is about: the other's time over ours."""
    found = []
    for row in filter(goal.holds, rows):
        times = [row["times"].get(f"fastgate {how}") for how in goal.ours]
        other = row["floors"][f"fastgate {goal.ours[0]}"] if goal.other == "floor" else row["times"].get(goal.other)
        ours = [time for time in times if time is not None]
        if ours and other is not None and min(ours) > 0:  # NaN, of a simulator, is no time
            found.append(other / min(ours))
    return found


def write(file: Path | None, folder: Path | None, setting: dict[str, Any], rows: list[Row]) -> None:
    """All figures in `file`; in `folder`, made if it is not there, both those and tables to read."""
    figures = json.dumps({"setting": setting, "rows": rows}, indent=1)
    if file is not None:
        report.write(file, figures)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        report.write(folder / "cuda.json", figures)
        report.write(folder / "cuda.md", _markdown(setting, rows))


def _markdown(setting: dict[str, Any], rows: list[Row]) -> str:
    parts = [f"# On {setting['device']}", "\n".join(f"* {name}: {value}" for name, value in setting.items())]
    parts.append(f"Times are {CAPTION}, in parentheses.")
    names = [*Shape._fields, *map(str, COLUMNS)]
    for kind in dict.fromkeys((row["cell"], row["work"]) for row in rows):
        own = [row for row in rows if (row["cell"], row["work"]) == kind]
        lines = [[*map(str, row["shape"].values()), *(_cell(row, column) for column in COLUMNS)] for row in own]
        parts += [
            f"## {kind[0]}, {kind[1].replace('_', ' ')}",
            "\n".join(map(_line, [names, ["--:"] * len(names), *lines])),
        ]
    if judged := goals(rows):
        parts += ["## Goals", "\n".join(f"* {said}" for said in judged.splitlines())]
    missing = dict(pair for row in rows for pair in row["missing"].items())
    if missing:
        parts += ["## Not measured", "\n".join(f"* {name}: {reason}" for name, reason in missing.items())]
    return "\n\n".join(parts) + "\n"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
