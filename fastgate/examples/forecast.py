"""Forecast a series many steps ahead, against two baselines that every forecast must beat.

From a window of the last values a recurrent layer and a dense layer predict how far from the last one the next ones
will be, all at once. The first 70 % of the series are for training, the next 15 % say when to stop, and on the last
15 % the errors are measured. Persistence repeats the last value, the seasonal baseline those of one season before.
Without --data the series is made by rule: two seasons, a drift and noise.

Some series and their options: monthly sunspots (--season 132), daily temperatures (--season 365), hourly air quality
(--column pm2.5 --season 24 --missing NA).
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

import numpy as np

import fastgate as fg
from fastgate.examples._program import (
    BLUE,
    CELLS,
    GRAY,
    GREEN,
    ORANGE,
    Array,
    legend_below,
    panels,
    parser,
    run,
    save_picture,
    say,
    say_training,
)
from fastgate.examples._series import DATA_HELP, Series, add_options, caution, load, split

SHOWN = 400  # forecasts, the last, in the picture


def make_model(cell: str, units: int, horizon: int, seed: int) -> fg.Sequential:
    return fg.Sequential(
        CELLS[cell](1, units, init="keras", seed=seed),
        fg.FinalState(),
        fg.Linear(units, horizon, init="keras", seed=seed + 1),
    )


def learn(options: Namespace) -> None:
    series, horizon = load(options), options.horizon
    parts = split(series, options.window, horizon)
    training, validation, test = parts.training, parts.validation, parts.test
    model = make_model(options.cell, options.units, horizon, options.seed)
    about = f"mean {parts.mean:.4g}, standard deviation {parts.scale:.3g}"
    say(f"{series.name}: {len(series.values):,} values, {about}")
    say(f"{horizon} steps ahead from the last {options.window}\n\n{model.summary()}")

    history = model.fit(
        training.x,
        training.y,
        loss="mae",  # what the errors are measured by
        optimizer=fg.Adam(2e-3),
        epochs=options.epochs,
        validation=(validation.x, validation.y),
        early_stopping=fg.EarlyStopping(8),
        seed=options.seed,
        progress=True,
    )
    say_training(history)

    forecasts = {options.cell.upper(): series.values[test.at - 1, None] + model.predict(test.x) * parts.scale}
    forecasts |= baselines(series, test.at, horizon)
    true = series.values[test.at[:, None] + np.arange(horizon)]
    errors = {method: np.abs(forecast - true).mean(axis=0) for method, forecast in forecasts.items()}
    say(caution(test))
    say(f"mean absolute error of {len(true):,} forecasts from new windows, in the unit of the series")
    shown = sorted({1, (horizon + 1) // 2, horizon})
    say(f"{'':12}" + "".join(f"{f'step {step}':>10}" for step in shown) + f"{'all steps':>12}")
    for method, error in errors.items():
        say(f"{method:12}" + "".join(f"{error[step - 1]:10.3f}" for step in shown) + f"{error.mean():12.3f}")
    if options.plot is not None:
        save_picture(options.plot, draw(series, test.at, forecasts, errors))


def baselines(series: Series, at: Array, horizon: int) -> dict[str, Array]:
    """Forecasts (N,horizon) of what begins at each `at`, by rules that learn nothing."""
    found = {"persistence": np.repeat(series.values[at - 1, None], horizon, axis=1)}
    if (season := series.season) is not None:  # the last whole one
        found["seasonal"] = series.values[at[:, None] + np.arange(horizon) % season - season]
    return found


def draw(series: Series, at: Array, forecasts: dict[str, Array], errors: dict[str, Array]) -> Any:
    figure, ((left, right),) = panels(1, 2, width=12.0, height=5.0)
    (method, forecast), *_ = forecasts.items()
    horizon = forecast.shape[1]
    first = max(0, len(at) - SHOWN)
    left.plot(
        range(at[first], len(series.values)), series.values[at[first] :], color=GRAY, linewidth=0.8, label="series"
    )
    for number in range(first, len(at), horizon):  # of the forecasts one in so many: they do not overlap
        label = f"{method}, {horizon} steps ahead, a new forecast every {horizon}" if number == first else None
        left.plot(range(at[number], at[number] + horizon), forecast[number], color=BLUE, label=label)
    left.set(xlabel="step of the series", ylabel="value", title=series.name)
    for (method, error), color in zip(errors.items(), (BLUE, ORANGE, GREEN), strict=False):
        right.plot(range(1, horizon + 1), error, ".-", color=color, label=f"{method}, mean {error.mean():.3g}")
    right.set(xlabel="steps ahead", ylabel="mean absolute error", title="error by distance", ylim=(0, None))
    for panel in (left, right):
        legend_below(panel)
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    options = parser("forecast", __doc__, epochs=(60, 3), data=DATA_HELP)
    add_options(options)
    return run(learn, options, argv)


if __name__ == "__main__":
    sys.exit(main())
