"""What the examples share and a copy of one does not need: the command line, errors, tables of numbers, pictures."""

import csv
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import fastgate as fg
from fastgate import _picture
from fastgate._arrays import Array
from fastgate._options import at_least, positive
from fastgate._picture import BLUE, GRAY, GREEN, ORANGE, PURPLE, legend_below, panels
from fastgate._terminal import UserError, exit_code, printable, say, warn

__all__ = [
    "BLUE",
    "CELLS",
    "COLORS",
    "GRAY",
    "GREEN",
    "ORANGE",
    "PURPLE",
    "Array",
    "Told",
    "UserError",
    "at_least",
    "legend_below",
    "numbers_in",
    "panels",
    "parser",
    "plural",
    "positive",
    "printable",
    "run",
    "save_picture",
    "say",
    "say_training",
    "warn",
]

CELLS: dict[str, Any] = {"lstm": fg.LSTM, "gru": fg.GRU, "rnn": fg.RNN}
COLORS = {"lstm": BLUE, "gru": ORANGE, "rnn": GREEN}
MOST_BYTES = 50_000_000  # of a table


def parser(
    name: str, description: str | None, *, epochs: tuple[int, int] | None, cell: bool = True, data: str | None = None
) -> ArgumentParser:
    """The options that all examples have; add others to it.

    `epochs` are those of a whole training, and those with ``--quick``; `data` is the help of ``--data``. What is None
    or False is no option of the example.
    """
    prog = f"python -m fastgate.examples.{name}"
    made = ArgumentParser(prog, description=description, formatter_class=RawDescriptionHelpFormatter)
    if cell:
        made.add_argument("--cell", choices=CELLS, default="lstm", help="default: %(default)s")
    if data is not None:
        made.add_argument("--data", type=Path, metavar="PATH", help=data)
    if epochs is not None:
        text = "default: {}, with --quick {}".format(*epochs)
        made.add_argument("--epochs", type=at_least(1), metavar="N", help=text)
        made.set_defaults(usual_epochs=epochs)
    made.add_argument("--seed", type=at_least(0), default=0, metavar="N", help="default: %(default)s")
    made.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the result (needs matplotlib)")
    made.add_argument("--quick", action="store_true", help="a small training, to see that everything works")
    return made


def run(example: Callable[[Namespace], None], options: ArgumentParser, argv: Sequence[str] | None = None) -> int:
    """Run the example with the options of the command line; the exit code.

    It finds in `given` the names of those that are not by default what they are.
    """
    chosen = options.parse_args(argv)
    chosen.given = {name for name, value in vars(chosen).items() if value != options.get_default(name)}
    if "epochs" in chosen:
        chosen.epochs = chosen.epochs or chosen.usual_epochs[chosen.quick]

    def whole() -> int:
        if chosen.plot is not None:
            _picture.check(chosen.plot)
        example(chosen)
        return 0

    return exit_code(options.prog, whole)


def say_training(history: fg.History) -> None:
    """How long it was; the first epoch may have compiled kernels, the median one has not."""
    if history.interrupted:
        if not history.epochs:
            raise KeyboardInterrupt
        say("\ninterrupted: the results are those of what was learnt until then")
    # A training that was resumed may have had nothing left to do.
    each = f", {1000 * np.median(history.seconds):.0f} ms each" if history.seconds else ""
    say(f"\n{plural(history.epochs, 'epoch')} of training{each}")


class Told(fg.Callback):
    """Ten lines on stderr, of a training of many short epochs."""

    def __init__(self, name: str, epochs: int) -> None:
        self.name, self.epochs = name, epochs

    def on_epoch_end(self, run: Any) -> None:
        self.tell(run.epoch, run.history["loss"][-1])

    def tell(self, epoch: int, loss: float) -> None:
        if epoch * 10 // self.epochs > (epoch - 1) * 10 // self.epochs:
            warn(f"{self.name}: epoch {epoch}/{self.epochs}, loss {loss:.5f}")


def plural(count: int, noun: str) -> str:
    """So many of them, where there is at least one."""
    return f"{count:,} {noun}{'s' * (count > 1)}"


def save_picture(path: Path, figure: Any) -> None:
    _picture.save(path, figure)
    say(f"\npicture in {path}")


def read_table(path: Path) -> dict[str, list[str]]:
    """The columns of a CSV file whose first line has their names."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"{path} is too large: expected a table of at most {MOST_BYTES // 1_000_000} MB")
        with path.open(encoding="utf-8-sig", newline="") as file:
            header, *rows = [row for row in csv.reader(file) if row] or [[]]
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    if not rows:
        raise UserError(f"{path} holds no table: expected CSV, names in the first line and values below")
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise UserError(f"{path}, row {number}: expected {len(header)} values, got {len(row)}")
    return dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))


def numbers_in(path: Path, column: str | None, missing: str | None = None) -> tuple[str, Array]:
    """A column's name and values, float32: by default of the last one; NaN where a text is that for a missing value."""
    table = read_table(path)
    name = column if column is not None else list(table)[-1]
    if name not in table:
        raise UserError(f"{path}: expected a column {name!r}, got {printable(', '.join(table)[:200])!r}")
    values = np.empty(len(table[name]), np.float32)
    for at, text in enumerate(table[name]):
        try:
            values[at] = np.nan if text == missing else float(text)
            fits = text == missing or np.isfinite(values[at])
        except ValueError:
            fits = False
        if not fits:
            place = printable(f"{path}, row {at + 2}, column {name!r}")
            raise UserError(f"{place}: expected a finite number, got {printable(text[:40])!r}")
    return name, values
