"""Learn how rain becomes runoff where it is measured, and predict it over a whole grid, larger than memory if need be.

Weather and land come from a zarr store (needs xarray, dask and zarr: the extra 'dask'). A recurrent layer learns on a
few gauged cells, whose runoff is known, from the first years; then it runs over every cell of the grid, chunk by chunk
and in parallel, and writes what it predicts into another store. Its errors are measured in the last year, apart for
gauged cells and for those it has never seen, beside two baselines. Weather, land and runoff are made by rule.
"""

import os
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import fastgate as fg
from fastgate.examples._program import (
    BLUE,
    CELLS,
    GRAY,
    Array,
    UserError,
    at_least,
    legend_below,
    panels,
    parser,
    plural,
    run,
    save_picture,
    say,
    say_training,
)

WEATHER, PREDICTED = "weather.zarr", "predicted.zarr"
GAUGES = 60  # where there are cells for them
WARM_UP = 90  # days of a piece that do not count: its stores begin empty


def learn(options: Namespace) -> None:
    if missing := [name for name in ("xarray", "dask", "zarr") if find_spec(name) is None]:
        raise UserError(f"{missing[0]} is needed: pip install {' '.join(missing)} (or fastgate with the extra 'dask')")
    import xarray as xr

    from fastgate.examples._hydrology import FEATURES, YEAR, made_by_rule
    from fastgate.xarray import apply

    is_gauged = gauged(options.grid, options.gauges, options.seed)
    if options.folder is not None:
        check_folder(options.folder)
    with TemporaryDirectory() as elsewhere, workers(options.workers):
        folder = options.folder or Path(elsewhere)
        # Whole series of a few cells: the chunks that `apply` works on. A larger grid has more of them.
        made = made_by_rule(options.years, options.grid, options.seed).chunk({"time": -1, "lat": 4, "lon": 4})
        made.to_zarr(folder / WEATHER, mode="w-", consolidated=False)
        data = xr.open_zarr(folder / WEATHER, consolidated=False)
        weather = data[FEATURES].to_dataarray("feature")
        say(f"{data.sizes['lat']} x {data.sizes['lon']} cells, {data.sizes['time']:,} days, {', '.join(FEATURES)}")

        where = zip(("lat", "lon"), np.nonzero(is_gauged), strict=True)
        cells = {dim: xr.DataArray(own, dims="cell") for dim, own in where}
        before = {"time": slice(None, -YEAR)}
        known = weather.isel(before).isel(cells).transpose("cell", "time", "feature").load()
        measured = data.runoff.isel(before).isel(cells).transpose("cell", "time").load()
        mean, deviation, scale = known.mean(("cell", "time")), known.std(("cell", "time")), float(measured.std())
        x, y, weights = pieces(((known - mean) / deviation).values, measured.values / scale, YEAR)
        model = fg.Sequential(
            CELLS[options.cell](len(FEATURES), options.units, init="keras", seed=options.seed),
            fg.Linear(options.units, 1, init="keras", seed=options.seed + 1),
        )
        say(f"runoff is known of {plural(int(is_gauged.sum()), 'cell')}, up to the last year\n\n{model.summary()}")
        history = model.fit(
            x,
            y,
            weights=weights,
            loss="mse",
            optimizer=fg.Adam(5e-3),
            epochs=options.epochs,
            batch_size=16,
            clip_norm=1.0,
            seed=options.seed,
            progress=True,
        )
        say_training(history)

        # Nothing is computed before it is written, and never more than some chunks at a time are in memory.
        predicted = (apply(model, (weather - mean) / deviation) * scale).squeeze("feature")
        predicted.to_dataset(name="runoff").to_zarr(folder / PREDICTED, mode="w-", consolidated=False)
        found = xr.open_zarr(folder / PREDICTED, consolidated=False).runoff
        say(f"predicted: {plural(found.data.npartitions, 'chunk')} of {found.data.chunksize}")

        last = {"time": slice(-YEAR, None)}
        true, ours = data.runoff.isel(last).values, found.isel(last).values
        rain = data.rain.isel(last).values * float(measured.sum() / known.sel(feature="rain").sum())
        gauges = np.broadcast_to(true[:, is_gauged].mean(axis=1)[:, None, None], true.shape)
        methods = {options.cell.upper(): ours, "mean of gauges": gauges, "part of rain": rain}
        report(true, methods, is_gauged)
        if options.plot is not None:
            save_picture(options.plot, draw(true, ours, is_gauged))


@contextmanager
def workers(count: int) -> Iterator[None]:
    """So many processes that compute chunks; 0: threads of this one."""
    if not count:
        yield
        return
    from dask.distributed import Client, LocalCluster

    with LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster):
        yield


def check_folder(folder: Path) -> None:
    """Before any work: there is such a folder, and both stores are new. What is in the way is never deleted."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = [path for path in (folder / WEATHER, folder / PREDICTED) if os.path.lexists(path)]
    except OSError as error:
        raise UserError(f"--folder {folder}: expected a folder: {error.strerror or error}") from None
    if taken:
        raise UserError(f"--folder {folder}: {taken[0].name} is there already; remove it, or give another folder")
    if not os.access(folder, os.W_OK):
        raise UserError(f"--folder {folder}: cannot be written")


def gauged(grid: Sequence[int], count: int | None, seed: int) -> Array:
    """Which cells (lat,lon) have a gauge; at least one has none."""
    lat, lon = grid
    most = lat * lon - 1
    if not most:
        raise UserError("--grid 1 1: expected at least two cells, one with a gauge and one without")
    if count is not None and count > most:
        raise UserError(f"--gauges {count}: expected at most {most}, as one cell of --grid must have none")
    chosen = np.random.default_rng(seed).permutation(lat * lon) < min(count or GAUGES, most)
    return chosen.reshape(lat, lon)


def pieces(weather: Array, runoff: Array, days: int) -> tuple[Array, Array, Array]:
    """Series (N,T,F) and (N,T) cut into pieces of so many days, each beginning a warm-up before the last one's end."""
    starts = range(0, weather.shape[1] - days + 1, days - WARM_UP)
    x = np.concatenate([weather[:, start : start + days] for start in starts])
    y = np.concatenate([runoff[:, start : start + days] for start in starts])
    weights = np.broadcast_to(np.arange(days) >= WARM_UP, y.shape).astype(np.float32)
    return x, y[..., None], weights


def efficiency(true: Array, found: Array) -> Array:
    """Nash and Sutcliffe 1970, of each cell: 1 is perfect, 0 as good as the mean of what is to be predicted."""
    errors, variance = ((own**2).sum(axis=0) for own in (true - found, true - true.mean(axis=0)))
    return np.asarray(1 - errors / variance)


def report(true: Array, methods: dict[str, Array], is_gauged: Array) -> None:
    say("\nNash-Sutcliffe efficiency in the last year, median over cells (1 is perfect)")
    say(f"{'':16}{f'{is_gauged.sum()} gauged':>14}{f'{(~is_gauged).sum()} others':>14}")
    for method, found in methods.items():
        own = efficiency(true, found)
        say(f"{method:16}{np.median(own[is_gauged]):14.3f}{np.median(own[~is_gauged]):14.3f}")


def draw(true: Array, found: Array, is_gauged: Array) -> Any:
    figure, ((left, right),) = panels(1, 2, width=12.0, height=4.6)
    score = efficiency(true, found)
    image = left.imshow(score, origin="lower", aspect="auto", vmin=0, vmax=1, cmap="viridis")
    left.grid(visible=False)
    left.plot(*np.argwhere(is_gauged).T[::-1], "wo", markeredgecolor="black", markersize=4, label="gauge")
    legend_below(left)
    left.set(title="efficiency in the last year", xlabel="lon", ylabel="lat")
    figure.colorbar(image, ax=left)
    others = np.argwhere(~is_gauged)
    middle = tuple(others[np.argsort(score[~is_gauged])[len(others) // 2]])
    right.plot(true[:, *middle], color=GRAY, label="runoff")
    right.plot(found[:, *middle], color=BLUE, label="predicted, a cell without gauge")
    right.set(xlabel="day of the last year", ylabel="mm a day", title="the median cell")
    legend_below(right)
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    options = parser("rainfall_runoff", __doc__, epochs=(80, 6))
    options.add_argument("--units", type=at_least(1), default=32, metavar="H", help="default: %(default)s")
    options.add_argument("--grid", type=at_least(1), nargs=2, default=(16, 24), metavar="N", help="default: 16 24")
    options.add_argument("--years", type=at_least(2), default=6, metavar="N", help="default: %(default)s")
    options.add_argument("--gauges", type=at_least(1), metavar="N", help=f"default: {GAUGES}, or all cells but one")
    text = f"where to keep both stores, {WEATHER} and {PREDICTED}, which must not be there yet"
    options.add_argument("--folder", type=Path, help=text)
    options.add_argument("--workers", type=at_least(0), default=0, metavar="N", help="processes of dask.distributed")
    return run(learn, options, argv)


if __name__ == "__main__":
    sys.exit(main())
