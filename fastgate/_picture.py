"""Pictures that a program was asked for with ``--plot FILE``, drawn by matplotlib."""

import importlib.util
from pathlib import Path
from typing import Any

from fastgate._errors import missing_extra
from fastgate._options import check_target
from fastgate._terminal import UserError

FORMATS = (".png", ".svg", ".pdf")
# Okabe and Ito's: told apart by the colour-blind too, and in grey.
BLUE, ORANGE, GREEN, PURPLE, GRAY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#777777"


def check(path: Path, extra: str = "demo") -> None:
    """Before the work whose result is drawn, not after it."""
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError(str(missing_extra("matplotlib", extra, "for --plot")))
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"--plot {path}: expected a name that ends in {', '.join(FORMATS)}")
    check_target("--plot", path)


def panels(rows: int = 1, columns: int = 1, *, width: float = 8.0, height: float = 4.5) -> tuple[Any, Any]:
    """A figure of so many inches and its axes, (rows,columns); save it with `save`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for panel in axes.flat:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(color="#dddddd", linewidth=0.5)
        panel.set_axisbelow(True)
    return figure, axes


def legend_below(axes: Any) -> None:
    """What the lines are, where it covers none of them."""
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.13))


def save(path: Path, figure: Any) -> None:
    """Write it in the format that the name ends in."""
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None
