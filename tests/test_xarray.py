"""Models over labelled arrays: the same bits as on plain ones, in memory, in chunks, and in other processes."""

import re
from pathlib import Path

import numpy as np
import pytest
from kernel_tools import run_python

import fastgate as fg
from fastgate._blocks import flat

pytest.importorskip("xarray", reason="xarray is not installed: models over labelled arrays are not tested")
pytest.importorskip("dask", reason="dask is not installed: models over chunks are not tested")

import dask
import xarray as xr

from fastgate.examples import rainfall_runoff
from fastgate.xarray import STATE_DIMS, apply

T = 12
SIZES = {"feature": 3, "time": T, "lat": 4, "lon": 5}
BATCH = ("lat", "lon")
METHODS = "LSTM", "mean", "part"  # how lines of the example begin


@pytest.fixture
def x():
    """Dimensions in an order that no model has."""
    values = np.random.default_rng(0).standard_normal(tuple(SIZES.values())).astype(np.float32)
    coords = {
        "time": 10 * np.arange(T),
        "lat": np.linspace(0, 1, 4),
        "lon": ("lon", np.arange(5), {"units": "degrees"}),
    }
    coords |= {"feature": list("abc"), "height": (BATCH, np.ones((4, 5))), "season": ("time", np.arange(T) % 4)}
    return xr.DataArray(values, coords, tuple(SIZES), "rain", {"units": "mm"})


@pytest.fixture
def lengths():
    return xr.DataArray([3, 0, T, 7, 1], dims="lon")


def rows(array):
    """(B,T,F), as a model takes it."""
    return array.transpose(*BATCH, "time", "feature").values.reshape(-1, T, array.sizes["feature"])


def classifier(**options):
    return fg.Sequential(fg.GRU(3, 6, seed=0, **options), fg.FinalState(), fg.Linear(6, 2, seed=1))


def chunked(x):
    """Unequal chunks, and one for each feature, as those of variables that were joined."""
    return x.chunk({"lat": 3, "lon": (1, 4), "feature": 1})


def test_outputs_stand_where_features_were(x):
    layer = fg.LSTM(3, 6, bidirectional=True, seed=0)
    y = apply(layer, x)
    assert y.dims == x.dims
    assert y.name is None
    assert y.attrs == {}
    assert y.lon.attrs == {"units": "degrees"}
    assert set(y.coords) == {"time", "lat", "lon", "height", "season"}
    np.testing.assert_array_equal(rows(y), layer(rows(x))[0])


@pytest.mark.parametrize("batch_size", [1, 7, 256])
def test_time_ends_where_the_model_ends_it(x, batch_size):
    model = classifier(batch_first=False)
    y = apply(model, x, batch_size=batch_size)
    assert y.dims == ("feature", "lat", "lon")
    assert set(y.coords) == {"lat", "lon", "height"}
    np.testing.assert_array_equal(rows(y.expand_dims(time=T))[:, 0], model(rows(x).swapaxes(0, 1)))


def test_without_features_there_is_one(x):
    series = x.isel(feature=0, drop=True)
    y = apply(fg.RNN(1, 4, seed=0), series)
    assert y.dims == ("time", "lat", "lon", "feature")
    assert y.equals(apply(fg.RNN(1, 4, seed=0), series.expand_dims("feature", -1)))
    assert apply(fg.RNN(1, 4, seed=0), series[:, 0, 0]).dims == ("time", "feature")
    words = fg.Sequential(fg.Embedding(9, 2, seed=0), fg.LSTM(2, 4, seed=1))
    tokens = xr.DataArray(np.arange(18).reshape(2, 9) % 9, dims=("text", "position"))
    np.testing.assert_array_equal(apply(words, tokens, time="position"), words(tokens.values))


@pytest.mark.parametrize("make", [classifier, lambda: fg.LSTM(3, 6, 2, seed=0)], ids=["model", "layer"])
@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_chunks_have_the_same_bits(x, lengths, make, scheduler):
    lazy = apply(make(), chunked(x), lengths=lengths)
    assert lazy.chunks
    assert lazy.dtype == np.float32
    with dask.config.set(scheduler=scheduler):
        assert lazy.compute().identical(apply(make(), x, lengths=lengths))


@pytest.mark.parametrize("make", [classifier, lambda: fg.LSTM(3, 6, 2, seed=0)], ids=["model", "layer"])
def test_states_go_on_along_chunks_of_time(x, lengths, make):
    """Of models that end time, too, and with the coordinates; the model is in the graph but once."""
    cut, states = x.chunk(time=(5, 0, 1, 6), lat=3), apply(make(), x, return_state=True)[1]
    options = {"lengths": lengths, "state": states, "return_state": True}
    y, ends = apply(make(), cut, **options)
    wanted, wanted_ends = apply(make(), x, **options)
    assert y.chunks
    assert sum(str(key).startswith("Sequential") for key in dict(y.__dask_graph__())) == 1
    assert y.compute().identical(wanted)
    for end, other in zip(flat(ends), flat(wanted_ends), strict=True):
        assert end.compute().identical(other)


@pytest.mark.parametrize("prepare", [lambda x: x, lambda x: x.chunk(lat=3)], ids=["whole", "chunks"])
def test_what_is_not_there_any_more_has_no_coordinate(x, prepare, tmp_path):
    """One variable of several has a scalar with the name that the outputs get."""
    pytest.importorskip("zarr", reason="zarr is not installed: stores are not tested")
    y = apply(fg.RNN(1, 4, seed=0), prepare(x.isel(feature=0)), lengths=x.isel(feature=1, time=0).notnull() * T)
    assert set(y.coords) == {"time", "lat", "lon", "height", "season"}
    y.to_dataset(name="y").to_zarr(tmp_path / "y.zarr", consolidated=False)
    assert apply(fg.RNN(1, 4, seed=0), prepare(x.isel(feature=0, time=slice(0)))).shape == (0, 4, 5, 4)


def test_a_model_is_taken_as_it_is(x):
    model = classifier()
    wanted, lazy = apply(model, x), apply(model, chunked(x))
    model.params.flat = 0 * model.params.flat
    assert lazy.compute().identical(wanted)


@pytest.mark.parametrize("prepare", [lambda x: x, chunked], ids=["whole", "chunks"])
def test_a_long_time_in_parts(x, prepare):
    """States lead from part to part; of several recurrent layers they are a tuple, of an LSTM pairs."""
    model = fg.Sequential(fg.LSTM(3, 6, proj_size=4, seed=0), fg.GRU(4, 5, 2, seed=1))
    x = prepare(x)
    whole, ((h, c), _) = apply(model, x, return_state=True)
    first, state = apply(model, x.isel(time=slice(5)), return_state=True)
    second, ((last, _), _) = apply(model, x.isel(time=slice(5, None)), state=state, return_state=True)
    assert xr.concat([first, second], "time").identical(whole)
    assert last.identical(h)
    assert (h.dims, c.sizes["state_unit"]) == ((*BATCH, *STATE_DIMS), 6)
    np.testing.assert_array_equal(h.values.reshape(-1, 4), model.run(rows(x))[1][0][0][0])


def test_missing_values_stay_in_their_sequence(x):
    holes = x.where((x.lat > 0) | (x.time != 50))
    layer = fg.LSTM(3, 6, seed=0)
    y, wanted = apply(layer, holes), apply(layer, x)
    assert y.isel(lat=0, time=slice(5)).equals(wanted.isel(lat=0, time=slice(5)))
    assert y.isel(lat=0, time=slice(5, None)).isnull().all()
    assert y.isel(lat=slice(1, None)).equals(wanted.isel(lat=slice(1, None)))
    sea = xr.where(holes.isnull().any(("feature", "time")), 0, T)
    assert (apply(layer, holes, lengths=sea).isel(lat=0) == 0).all()


class Threads:
    """A layer that gives the number of threads."""

    def forward(self, x):
        return np.full_like(x, fg.get_num_threads()), None

    def backward(self, tape, dy):
        raise NotImplementedError


def test_a_chunk_has_one_thread(x):
    before = fg.get_num_threads()
    try:
        fg.set_num_threads(3)
        model = fg.Sequential(fg.LSTM(3, 6, seed=0), Threads())
        assert (apply(model, x) == 3).all()
        assert (apply(model, chunked(x)).compute() == 1).all()
        assert fg.get_num_threads() == 3
    finally:
        fg.set_num_threads(before)


def test_two_processes_from_zarr_to_zarr(x, tmp_path):
    """Whole worker processes, which know nothing but what dask sends them."""
    distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed")
    pytest.importorskip("zarr", reason="zarr is not installed: stores are not tested")
    before, after = str(tmp_path / "before.zarr"), str(tmp_path / "after.zarr")
    model, plain = classifier(), x.drop_vars("feature")  # whose letters zarr warns about
    plain.chunk({"lat": 2, "lon": 2, "time": T, "feature": 3}).to_dataset().to_zarr(before, consolidated=False)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.wait_for_workers(2)
        lazy = apply(model, xr.open_zarr(before, consolidated=False).rain)
        lazy.to_dataset(name="runoff").to_zarr(after, consolidated=False)
        told = client.run(lambda: [name for name in ("fastgate",) if name in __import__("sys").modules])
    assert sorted(told.values()) == [["fastgate"]] * 2
    found = xr.open_zarr(after, consolidated=False).runoff
    assert found.load().equals(apply(model, plain))


def test_what_is_wrong_is_named(x, lengths):
    layer = fg.LSTM(3, 6, seed=0)
    for complaint, call in {
        r"x: expected one chunk along 'time' for layer 0 \(LSTM\), which .*, as x.chunk\({'time': -1}": lambda: apply(
            fg.LSTM(3, 6, bidirectional=True), x.chunk(time=5)
        ),
        "x: expected one chunk along 'time' for layer 1": lambda: apply(
            fg.Sequential(layer, Threads()), x.chunk(time=5)
        ),
        "features: expected another dimension than that of time": lambda: apply(layer, x, features="time"),
        "x: expected other dimensions than.*those of states, got 'state_unit'": lambda: apply(
            layer, x.rename(lat="state_unit"), return_state=True
        ),
        r"x: expected a dimension 'time' \(or another name": lambda: apply(layer, x.rename(time="date")),
        "x: expected a dimension 'feature' with the 3 features": lambda: apply(layer, x[0]),
        "x: expected 3 along 'feature', as the model takes, got 2": lambda: apply(layer, x[:2]),
        "x: expected an array of real numbers, got dtype complex": lambda: apply(layer, x.astype(complex)),
        r"x: expected a DataArray, as x.to_dataarray\('feature'\)": lambda: apply(layer, x.to_dataset("feature")),
        "x: expected an xarray.DataArray, got ndarray": lambda: apply(layer, x.values),
        "lengths: expected integers, got dtype float": lambda: apply(layer, x, lengths=lengths / 2),
        "lengths: expected dimensions among.*'lat'": lambda: apply(layer, x, lengths=lengths.rename(lon="a")),
        "lengths: expected an xarray.DataArray": lambda: apply(layer, x, lengths=lengths.values),
        "lengths: expected values from 0 to 12, got 9": lambda: apply(layer, x, lengths=lengths + 9),
        "lengths: expected values from 0 to 12, got .* to 2": lambda: apply(
            layer, chunked(x), lengths=lengths + 9
        ).load(),
        "lengths: expected values from 0 to 12, got -1 to 11": lambda: apply(
            layer, x.chunk(time=5), lengths=lengths - 1
        ),
        "lengths: expected values from 0 to 12, got 9 to 21": lambda: apply(
            layer, x.chunk(time=5), lengths=lengths.chunk() + 9
        ).load(),
        "lengths: expected 5 along 'lon', as x has, got 4": lambda: apply(layer, x, lengths=lengths[1:]),
        "lengths: expected the coordinates of x along 'lon', 1 at 1, got 7": lambda: apply(
            layer, x, lengths=lengths.assign_coords(lon=[0, 7, 2, 3, 4])
        ),
        "state: expected the coordinates of x along 'lat', 0.0 at 0, got 1.0": lambda: apply(
            layer, x, state=apply(layer, x[:, :, ::-1], return_state=True)[1]
        ),
        r"state: expected the state.*number of arrays: 2\), got DataArray": lambda: apply(layer, x, state=x),
        r"state: .*number of arrays: 1\), got ndarray": lambda: apply(classifier(), x, state=np.zeros(3)),
        r"state: .*number of arrays: 2\), got a tuple of 1": lambda: apply(layer, x, state=(x,)),
        r"state: expected sizes \(1, 6\) along .*, got \(1, 7\)": lambda: apply(
            layer, chunked(x), state=apply(fg.LSTM(3, 7), x, return_state=True)[1]
        ),
        "model: expected an LSTM, GRU, RNN or Sequential, got Linear": lambda: apply(fg.Linear(3, 2), x),
        "model: expected one vector for each step": lambda: apply(
            fg.Sequential(fg.GRU(3, 6, 2), fg.FinalState(all_layers=True)), x
        ),
        "x: expected no dimension 'feature' for a model that begins with": lambda: apply(
            fg.Sequential(fg.Embedding(9, 2)), x.astype(int)
        ),
    }.items():
        with pytest.raises((TypeError, ValueError), match=complaint):
            call()


def test_the_missing_extra_is_named():
    done = run_python("import sys; sys.modules['xarray'] = None; import fastgate.xarray", check=False)
    assert (
        "xarray is needed for fastgate.xarray: pip install xarray (or fastgate with the extra 'xarray')" in done.stderr
    )


def test_rainfall_runoff(output_of, tmp_path):
    """What is learnt on gauged cells holds on cells without; both stores stay."""
    pytest.importorskip("zarr", reason="zarr is not installed: stores are not tested")
    output = output_of(rainfall_runoff, "--grid", 12, 16, "--years", 4, "--folder", tmp_path)
    median = {line[:16].strip(): float(line.split()[-1]) for line in output.splitlines()[-5:] if line[:4] in METHODS}
    assert median["LSTM"] > 0.4 > max(median["mean of gauges"], median["part of rain"])
    assert "predicted: 12 chunks of (1460, 4, 4)" in output
    weather, runoff = (xr.open_zarr(tmp_path / name, consolidated=False) for name in ("weather.zarr", "predicted.zarr"))
    assert runoff.runoff.sizes == weather.rain.sizes


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--folder", "taken"], "--folder taken: weather.zarr is there already; .*"),
        (["--folder", "linked"], "--folder linked: predicted.zarr is there already; .*"),
        (["--folder", "file"], "--folder file: expected a folder: File exists"),
        (["--folder", "file/below"], "--folder file/below: expected a folder: Not a directory"),
        (["--grid", "2", "2", "--gauges", "4"], "--gauges 4: expected at most 3, .*"),
        (["--grid", "1", "1"], "--grid 1 1: expected at least two cells, .*"),
    ],
)
def test_rainfall_runoff_refuses_before_any_work(tmp_path, monkeypatch, capsys, options, complaint):
    """And deletes nothing: what is in the way stays."""
    pytest.importorskip("zarr", reason="zarr is not installed: stores are not tested")
    monkeypatch.chdir(tmp_path)
    Path("taken/weather.zarr").mkdir(parents=True)
    Path("linked").mkdir()
    Path("linked/predicted.zarr").symlink_to("nowhere")
    for path in map(Path, ("file", "taken/weather.zarr/mine")):
        path.write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    assert rainfall_runoff.main(["--quick", *options]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.fullmatch(rf"python -m fastgate.examples.rainfall_runoff: error: {complaint}\n", printed.err)
    assert sorted(tmp_path.rglob("*")) == before
