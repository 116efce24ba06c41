"""Learn to add: the sum of ten numbers between 0 and 1, read one after the other.

A recurrent layer of 50 units, of which a dense layer sees the last state; mean squared error, Adam, 20 epochs.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

import numpy as np

import fastgate as fg
from fastgate.examples._program import BLUE, CELLS, GRAY, Array, panels, parser, run, save_picture, say, say_training

STEPS, UNITS = 10, 50


def make_model(cell: str, seed: int) -> fg.Sequential:
    return fg.Sequential(
        CELLS[cell](1, UNITS, init="keras", seed=seed),
        fg.FinalState(),
        # Glorot's weights: with those of init="pytorch" the same training ends at ten times the error.
        fg.Linear(UNITS, 1, init="keras", seed=seed + 1),
    )


def make_data(count: int, seed: int) -> tuple[Array, Array]:
    """Sequences (N,T,1) and their sums (N,1)."""
    x = np.random.default_rng(seed).random((count, STEPS, 1), np.float32)
    return x, x.sum(axis=1)


def learn(options: Namespace) -> None:
    x, y = make_data(1000, options.seed)
    x_test, y_test = make_data(1000, options.seed + 1_000_000)
    model = make_model(options.cell, options.seed)
    say(model.summary())

    history = model.fit(x, y, loss="mse", optimizer=fg.Adam(1e-3), epochs=options.epochs, seed=options.seed)
    say_training(history)

    predicted = model.predict(x_test)
    error, guess = fg.mean_squared_error(predicted, y_test), float(y_test.var())
    say(f"mean squared error on 1,000 new sequences: {error:.4f} (always guessing the mean: {guess:.3f})")
    say(f"R2: {fg.r2(predicted, y_test):.3f}\n")
    say("  true  predicted")
    for true, guessed in zip(y_test[:5, 0], predicted[:5, 0], strict=True):
        say(f"{true:6.2f}{guessed:11.2f}")
    if options.plot is not None:
        save_picture(options.plot, draw(y_test, predicted, options.cell))


def draw(true: Array, predicted: Array, cell: str) -> Any:
    figure, ((axes,),) = panels(width=5.5, height=5.0)
    ends = [min(true.min(), predicted.min()), max(true.max(), predicted.max())]
    axes.plot(ends, ends, color=GRAY, linewidth=1, label="predicted = true")
    axes.plot(true, predicted, ".", color=BLUE, markersize=4, label=f"{len(true):,} new sequences")
    axes.set(xlabel="true sum", ylabel="predicted sum", title=f"Sum of {STEPS} numbers, {cell.upper()}", aspect="equal")
    axes.legend(frameon=False)
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    return run(learn, parser("sum_of_sequence", __doc__, epochs=(20, 15)), argv)


if __name__ == "__main__":
    sys.exit(main())
