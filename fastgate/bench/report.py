"""The figures as a table, and as JSON."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fastgate._terminal import UserError
from fastgate.bench.shapes import Shape
from fastgate.bench.timing import OURS, Row, Spread, Task, geometric_mean

WIDTHS = {"onnxruntime": 12}  # of a column; that of others
WIDTH = 10


def duration(seconds: float) -> str:
    """Three digits and a unit."""
    for unit, size in (("s ", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return _three_digits(seconds / size) + " " + unit
    return _three_digits(seconds * 1e6) + " µs"


def _three_digits(number: float) -> str:
    return f"{number:#.3g}".rstrip(".") if number < 999.5 else f"{number:.0f}"


def header(task: Task, libraries: Iterable[str]) -> str:
    sizes = "".join(f"{name:>5}" for name in Shape._fields)
    times = "".join(f"{library:>{WIDTHS.get(library, WIDTH)}}" for library in libraries)
    return f"{task}\n{sizes}{times}   ratio    80 % within    GF/s   peak"


def line(row: Row, libraries: Iterable[str]) -> str:
    sizes = "".join(f"{size:5}" for size in row.shape)
    times = "".join(
        f"{duration(row.time(library).median) if library in row.seconds else '-':>{WIDTHS.get(library, WIDTH)}}"
        for library in libraries
    )
    return (sizes + times + _ratio(row.ratio) + _rate(row)).rstrip()


def _ratio(ratio: Spread | None) -> str:
    return f"{ratio.median:8.2f}{f'{ratio.p10:.2f} - {ratio.p90:.2f}':>15}" if ratio else " " * 23


def _rate(row: Row) -> str:
    if OURS not in row.seconds:
        return ""
    return f"{row.rate / 1e9:8.1f}{row.rate / row.peak:7.1%}"


def footer(rows: list[Row]) -> str:
    """What a table comes to."""
    mean = geometric_mean(rows)
    if mean is None:
        return ""
    ahead = sum(row.ratio is not None and row.ratio.median >= 1 for row in rows)
    return f"geometric mean of the ratios {mean:.2f}; fastgate ahead at {ahead} of {len(rows)} shapes"


def missing(rows: Iterable[Row]) -> list[str]:
    """Every reason once."""
    return list(dict.fromkeys(reason for row in rows for reason in row.missing.values()))


def as_json(setting: dict[str, Any], rows: Iterable[Row]) -> str:
    """Everything that was measured: seconds and rates in units without prefixes."""
    return json.dumps({**setting, "rows": [_record(row) for row in rows]}, indent=1) + "\n"


def _record(row: Row) -> dict[str, Any]:
    return {
        **row.task._asdict(),
        "shape": row.shape._asdict(),
        "seconds": {library: {**row.time(library)._asdict(), "rounds": each} for library, each in row.seconds.items()},
        "missing": row.missing,
        "best_peer": row.best_peer,
        "ratio": row.ratio._asdict() if row.ratio else None,
        "operations": row.operations,
        "operations_per_second": row.rate if OURS in row.seconds else None,
        "peak_operations_per_second": row.peak or None,
        "operations_per_byte": row.intensity,
    }


def write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None
