"""What a training has been through, epoch by epoch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fastgate import _errors
from fastgate._picture import BLUE, GRAY, ORANGE, panels
from fastgate.training import errors

VALIDATION = "val_"  # begins the names of what is measured on validation data


class History(Mapping[str, list[float]]):
    """One list for each quantity, with one value for each whole epoch: ``history["loss"]``.

    Attributes
    ----------
    columns : dict of list of float
        ``loss`` and the metrics: means over the epoch while it was trained; ``val_loss`` and so on after it.
    epochs : int
        How many epochs were completed.
    steps : int
        How many steps were, of all epochs.
    seconds : list of float
        How long each epoch took in this process.
    interrupted : bool
        Whether Ctrl-C ended the training.
    stopped : str or None
        Why the training ended before its time, if a callback stopped it.
    best_epoch : int or None
        Under early stopping the epoch with the best value, counted from 0.
    """

    def __init__(self) -> None:
        self.columns: dict[str, list[float]] = {}
        self.steps = 0
        self.seconds: list[float] = []
        self.interrupted = False
        self.stopped: str | None = None
        self.best_epoch: int | None = None

    @property
    def epochs(self) -> int:
        """How many epochs were completed."""
        return len(next(iter(self.columns.values()), []))

    def begin(self, names: Iterable[str]) -> None:
        """These columns will be filled."""
        self.columns = {name: [] for name in names}

    def append(self, row: Mapping[str, float], seconds: float) -> None:
        """One more epoch."""
        for name, value in row.items():
            self.columns.setdefault(name, []).append(float(value))
        self.seconds.append(seconds)

    def last(self) -> dict[str, float]:
        """The row of the last epoch."""
        return {name: values[-1] for name, values in self.columns.items() if values}

    def __getitem__(self, name: str) -> list[float]:
        if name not in self.columns:
            raise errors.no_such_column(name, self.columns)
        return self.columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def plot(self) -> Any:
        """Draw every quantity over the epochs, training and validation in one panel.

        Returns
        -------
        matplotlib.figure.Figure
            Show it in a notebook, or call its `savefig`.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        names = list(dict.fromkeys(name.removeprefix(VALIDATION) for name in self.columns))
        count = max(1, len(names))
        try:
            from matplotlib.ticker import MaxNLocator

            figure, (row,) = panels(1, count, width=4.5 * count, height=3.2)
        except ImportError:
            raise _errors.missing_extra("matplotlib", "demo", "to plot a history") from None
        for name, axes in zip(names, row, strict=False):
            for column, label, color in ((name, "training", BLUE), (VALIDATION + name, "validation", ORANGE)):
                if column in self.columns:
                    axes.plot(range(1, self.epochs + 1), self.columns[column], ".-", color=color, label=label)
            if self.best_epoch is not None:
                axes.axvline(self.best_epoch + 1, color=GRAY, linewidth=0.8, linestyle=":", label="best")
            axes.set(xlabel="epoch", ylabel=name.replace("_", " "))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.legend(frameon=False)
        return figure

    def __repr__(self) -> str:
        inside = [f"{self.epochs} epochs, {self.steps} steps"]
        inside += [f"{name} {value:.4g}" for name, value in self.last().items()]
        inside += ["interrupted"] if self.interrupted else []
        inside += [self.stopped] if self.stopped else []
        return f"History({'; '.join(inside)})"
