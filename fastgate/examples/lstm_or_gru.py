"""LSTM or GRU? Both on one task, side by side: parameters, time of an epoch, quality.

The task is that of `fastgate.examples.forecast`, on the same data. A GRU has three quarters of the LSTM's parameters
with as many units, so the third contestant is a GRU with about as many parameters. Each learns from several seeds.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

import fastgate as fg
from fastgate.examples._program import (
    BLUE,
    GREEN,
    ORANGE,
    at_least,
    legend_below,
    panels,
    parser,
    plural,
    run,
    save_picture,
    say,
)
from fastgate.examples._series import DATA_HELP, Parts, add_options, caution, load, split
from fastgate.examples.forecast import baselines, make_model


class Contestant(NamedTuple):
    cell: str
    units: int
    parameters: int
    histories: list[fg.History]
    errors: list[float]  # mean absolute error of each seed on the test's windows

    @property
    def name(self) -> str:
        return f"{self.cell.upper()}, {self.units} units"

    @property
    def milliseconds(self) -> float:
        """Of an epoch with its validation: the median of all seeds."""
        return 1000 * float(np.median([second for history in self.histories for second in history.seconds]))


def contestants(units: int, horizon: int) -> list[Contestant]:
    def size(cell: str, units: int) -> int:
        return make_model(cell, units, horizon, seed=0).params.flat.size

    wanted = size("lstm", units)
    as_large = min(range(units, 2 * units + 1), key=lambda units: abs(size("gru", units) - wanted))
    kinds = dict.fromkeys([("lstm", units), ("gru", units), ("gru", as_large)])
    return [Contestant(cell, units, size(cell, units), [], []) for cell, units in kinds]


def train(contestant: Contestant, parts: Parts, seed: int, epochs: int) -> tuple[fg.History, float]:
    """What the training went through, and the error of its best epoch's parameters."""
    training, validation, test = parts.training, parts.validation, parts.test
    model = make_model(contestant.cell, contestant.units, training.y.shape[1], seed)
    history = model.fit(
        training.x,
        training.y,
        loss="mae",
        optimizer=fg.Adam(2e-3),
        epochs=epochs,
        validation=(validation.x, validation.y),
        early_stopping=fg.EarlyStopping(epochs),  # never stops, but goes back to the best
        seed=seed,
    )
    if history.interrupted:
        raise KeyboardInterrupt
    return history, fg.mean_absolute_error(model.predict(test.x), test.y) * parts.scale


def compare(options: Namespace) -> None:
    series = load(options)
    parts = split(series, options.window, options.horizon)
    ahead = f"{options.horizon} steps ahead from the last {options.window}"
    say(f"{series.name}: {ahead}, {len(parts.training.x):,} windows to learn from")
    compared = contestants(options.units, options.horizon)
    for contestant in compared:  # once for nothing: the kernels are compiled in it
        train(contestant, parts, options.seed, epochs=1)
    seeds = range(options.seed, options.seed + (1 if options.quick else options.seeds))
    for seed in seeds:  # in turn, so that whatever else the machine does meets all of them
        for contestant in compared:
            history, error = train(contestant, parts, seed, options.epochs)
            contestant.histories.append(history)
            contestant.errors.append(error)
            say(f"seed {seed}: {contestant.name:16} mean absolute error {error:.4f}")

    say(caution(parts.test))
    true = series.values[parts.test.at[:, None] + np.arange(options.horizon)]
    say(f"{plural(options.epochs, 'epoch')}, {plural(len(seeds), 'seed')}\n")
    say(f"{'':16}{'parameters':>12}{'ms an epoch':>14}   mean absolute error (spread of the seeds)")
    for contestant in compared:
        numbers = f"{contestant.parameters:12,}{contestant.milliseconds:14.1f}"
        say(f"{contestant.name:16}{numbers}{np.mean(contestant.errors):10.4f} ({np.ptp(contestant.errors):.4f})")
    for name, forecast in baselines(series, parts.test.at, options.horizon).items():
        say(f"{name:16}{'':26}{np.abs(forecast - true).mean():10.4f}")
    if options.plot is not None:
        save_picture(options.plot, draw(series.name, parts.scale, compared))


def draw(name: str, scale: float, compared: Sequence[Contestant]) -> Any:
    figure, ((axes,),) = panels(width=8.5, height=5.5)
    for contestant, color in zip(compared, (BLUE, ORANGE, GREEN), strict=False):
        best = scale * np.minimum.accumulate([history["val_loss"] for history in contestant.histories], axis=1)
        seconds = contestant.milliseconds / 1000 * np.arange(1, best.shape[1] + 1)
        size, time = f"{contestant.parameters:,} parameters", f"{contestant.milliseconds:.0f} ms an epoch"
        label = f"{contestant.name}: {size}, {time}, test error {np.mean(contestant.errors):.3g}"
        axes.plot(seconds, best.mean(axis=0), ".-", color=color, label=label)
        axes.fill_between(seconds, best.min(axis=0), best.max(axis=0), color=color, alpha=0.15, linewidth=0)
    axes.set(xlabel="seconds of training", ylabel="validation error (mean absolute), best so far")
    seeds = len(compared[0].errors)
    axes.set_title(f"LSTM or GRU: {name}, {'mean and range of ' * (seeds > 1)}{plural(seeds, 'seed')}")
    legend_below(axes)
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    options = parser("lstm_or_gru", __doc__, epochs=(25, 2), cell=False, data=DATA_HELP)
    add_options(options)
    options.add_argument("--seeds", type=at_least(1), default=3, metavar="N", help="default: %(default)s")
    return run(compare, options, argv)


if __name__ == "__main__":
    sys.exit(main())
