"""A series to forecast, from a file or made by rule, cut into windows."""

from argparse import ArgumentParser, Namespace
from typing import NamedTuple

import numpy as np

from fastgate.examples._program import Array, UserError, at_least, numbers_in

TRAINING, VALIDATION = 0.7, 0.15  # parts of the series; the rest is for the test
FEW = 10  # forecasts that have nothing in common: an error measured on fewer is left to chance
DATA_HELP = "a CSV file whose first line names its columns (default: a series made by rule)"


class Series(NamedTuple):
    name: str
    values: Array
    season: int | None  # steps


class Windows(NamedTuple):
    x: Array  # (N,window,1), in standard deviations from the mean
    y: Array  # (N,horizon), how far from the last value of x, in standard deviations
    at: Array  # (N): where in the series y begins


class Parts(NamedTuple):
    training: Windows
    validation: Windows
    test: Windows
    mean: float  # of what is trained on
    scale: float


def add_options(options: ArgumentParser) -> None:
    options.add_argument("--column", metavar="NAME", help="of --data (default: the last)")
    options.add_argument("--missing", metavar="TEXT", help="what stands for a missing value, as NA")
    options.add_argument("--season", type=at_least(1), metavar="N", help="steps of a season, for that baseline")
    options.add_argument("--window", type=at_least(1), default=48, metavar="N", help="default: %(default)s")
    options.add_argument("--horizon", type=at_least(1), default=12, metavar="N", help="default: %(default)s")
    options.add_argument("--units", type=at_least(1), default=32, metavar="H", help="default: %(default)s")


def load(options: Namespace) -> Series:
    """Where a value is missing, the last one before it stands for it."""
    if options.data is None:
        return _made_by_rule(options.seed)
    column, values = numbers_in(options.data, options.column, options.missing)
    known = np.maximum.accumulate(np.where(np.isnan(values), -1, np.arange(len(values))))
    if known[-1] < 0:
        raise UserError(f"{options.data}: expected numbers in column {column!r}, got none")
    return Series(f"{options.data.name}, {column}", values[known[known >= 0]], options.season)


def _made_by_rule(seed: int) -> Series:
    """Two seasons, a drift and noise."""
    rng, t = np.random.default_rng(seed), np.arange(4000)
    seasons = 3 * np.sin(2 * np.pi * t / 24) + 2 * np.sin(2 * np.pi * t / 90 + 1)
    values = 20 + seasons + np.cumsum(rng.normal(0, 0.05, len(t))) + rng.normal(0, 0.5, len(t))
    return Series("a series made by rule", values.astype(np.float32), 24)


def split(series: Series, window: int, horizon: int) -> Parts:
    """One after the other, so that nothing is known of what is forecast."""
    values = series.values
    first, second = int(TRAINING * len(values)), int((TRAINING + VALIDATION) * len(values))
    if first < window + horizon or second - first < horizon or len(values) - second < horizon:
        options = f"--window {window} and --horizon {horizon}"
        raise UserError(f"{series.name}: expected more values beside {options}, got {len(values):,}")
    if series.season is not None and series.season > second:
        raise UserError(f"--season {series.season}: expected at most {second:,}, the values before those of the test")
    mean, scale = float(values[:first].mean()), float(values[:first].std()) or 1.0
    scaled = (values - mean) / scale
    training = _windows(scaled, 0, first, window, horizon)
    validation = _windows(scaled, first, second, window, horizon)
    return Parts(training, validation, _windows(scaled, second, len(values), window, horizon), mean, scale)


def caution(test: Windows) -> str:
    """A line where what is measured on these windows says little, and an empty one elsewhere."""
    apart = -(-len(test.y) // test.y.shape[1])
    if apart >= FEW:
        return ""
    return f"\ncaution: of the test's {len(test.y):,} windows only {apart} have nothing in common: errors are rough\n"


def _windows(scaled: Array, begin: int, end: int, window: int, horizon: int) -> Windows:
    """All whose targets lie in scaled[begin:end]; what goes before them may lie before `begin`."""
    at = np.arange(max(begin, window), end - horizon + 1)
    x, y = scaled[at[:, None] + np.arange(-window, 0), None], scaled[at[:, None] + np.arange(horizon)]
    return Windows(x.astype(np.float32), (y - x[:, -1]).astype(np.float32), at)
