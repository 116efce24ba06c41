"""How a training shows that it goes on: a bar of tqdm's on a terminal or in a notebook, else a line for each epoch."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

from fastgate._terminal import warn
from fastgate.training.callbacks import Callback, Run


class Progress(Callback):
    """Writes to stderr."""

    def __init__(self) -> None:
        is_watched = sys.stderr.isatty() or "ipykernel" in sys.modules
        self._has_bars = is_watched and importlib.util.find_spec("tqdm") is not None
        self._bar: Any = None

    def on_step_end(self, run: Run) -> None:
        """Move the bar."""
        if not self._has_bars:
            return
        if self._bar is None:
            from tqdm import tqdm

            title = f"epoch {run.epoch + 1}/{run.epochs}"
            self._bar = tqdm(total=run.steps_per_epoch, desc=title, initial=run.step - 1, unit="step", file=sys.stderr)
        self._bar.set_postfix_str(f"loss {run.loss:.4g}", refresh=False)
        self._bar.update()

    def on_epoch_end(self, run: Run) -> None:
        """Say what the epoch came to."""
        row = ", ".join(f"{name} {value:.4g}" for name, value in run.history.last().items())
        if self._bar is not None:
            self._bar.set_postfix_str(row)
            self.on_train_end(run)
        else:
            seconds = run.history.seconds[-1]
            warn(f"epoch {run.epoch}/{run.epochs}: {row} ({seconds:.1f} s)")

    def on_train_end(self, run: Run) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
