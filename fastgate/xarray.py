"""Models over labelled arrays: time and features are found by name, and what dask has cut into chunks stays lazy."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np

from fastgate import _errors
from fastgate._arrays import as_flag, as_size
from fastgate._assembly import features_taken
from fastgate._blocks import Block, Known, flat, in_range, known_of
from fastgate._recurrent import Recurrent
from fastgate.embedding import Embedding
from fastgate.sequential import Sequential

if find_spec("xarray") is None:
    raise _errors.missing_extra("xarray", "xarray", "for fastgate.xarray")

import xarray as xr

__all__ = ["STATE_DIMS", "apply"]

Dims = tuple[Hashable, ...]
STATE_DIMS = "state_layer", "state_unit"  # of states, after the dimensions of the batch
OUTPUTS = "fastgate outputs"  # the dimension of features, as long as those of the input are there too


def apply(
    model: Any,
    x: xr.DataArray,
    *,
    time: Hashable = "time",
    features: Hashable = "feature",
    lengths: xr.DataArray | None = None,
    state: Any = None,
    return_state: bool = False,
    batch_size: int = 256,
) -> Any:
    """Run a model or a recurrent layer over an array for inference; all dimensions but two are its batch.

    Parameters
    ----------
    model : LSTM, GRU, RNN or Sequential
        As it is now: what is computed later does not see parameters that are written in between.
    x : xarray.DataArray of real numbers
        In any order of dimensions; of a Dataset, ``dataset.to_dataarray("feature")``. One that dask has cut into chunks
        gives a lazy result, with the same bits. Chunks along `features`, which are few, are joined. Along `time` the
        state goes on from chunk to chunk; a model that needs whole sequences, as one with a bidirectional layer, takes
        no such chunks: ``x.chunk({"time": -1, "lat": 20})``.
    time, features : hashable
        The names of these dimensions. An `x` without `features` has one feature; for a model that begins with an
        `Embedding` it must have none.
    lengths : xarray.DataArray of int, optional
        Steps of each sequence, over some or all dimensions of the batch. What lies beyond is never read.
    state : as returned, optional
        Where to begin; zeros by default. So a long time is run through part by part.
    return_state : bool
        Whether to return the final state as well.
    batch_size : int
        How many sequences are computed at once, which changes memory and speed, never the result.

    Returns
    -------
    y : xarray.DataArray
        The dimensions of `x` in their order, and their coordinates. In the place of `features` (at the end, where `x`
        has none) stand those of the output, of the same name and without labels. Where a `FinalState` has ended time,
        so has `y`. It has no name and no attributes.
    state : DataArray, pair or tuple
        With ``return_state=True``: for a layer its state, for a Sequential a tuple with one for each recurrent layer;
        (h, c) of an LSTM. Its dimensions are those of the batch, and `STATE_DIMS`.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, or a dimension is missing, cut into chunks or of the wrong size, or
        coordinates differ; the message names it. What is wrong with values shows when they are computed.

    Notes
    -----
    Missing values are handed on: a NaN in a sequence makes its outputs NaN from that step on, and leaves all other
    sequences as they are. Where nothing is to be computed (the sea, of a model for the land), give lengths of 0.

    Each chunk is computed by one thread, as dask computes several chunks at a time: have at least as many chunks as
    dask has threads, side by side, as those that follow in time wait for each other. On workers of dask.distributed it
    is the same, whatever `set_num_threads` says there. The model travels to each worker once.

    Examples
    --------
    >>> import fastgate as fg, numpy as np, xarray as xr
    >>> from fastgate.xarray import apply
    >>> rain = xr.DataArray(np.ones((30, 4, 5)), dims=("time", "lat", "lon"))
    >>> apply(fg.LSTM(1, 8, seed=0), rain).sizes
    Frozen({'time': 30, 'lat': 4, 'lon': 5, 'feature': 8})
    """
    chain = _as_chain(model)
    dims = _core_dims(chain, x, time, features)
    x = _prepared(x, time, features)
    batch = tuple(dim for dim in x.dims if dim not in dims)
    known = known_of(chain, x.sizes[time], x.sizes.get(features, 1), x.dtype)
    if lengths is not None:
        lengths = _beside("lengths", lengths, "integers", "iu", batch, x)
    if (as_flag("return_state", return_state) or state is not None) and (taken := set(STATE_DIMS) & set(batch)):
        raise _errors.wrong_value("x", f"other dimensions than {STATE_DIMS}, those of states", min(taken))
    starts = _starts(known, model, state, batch, x)
    is_lazy = any(array.chunks is not None for array in (x, *starts, *(() if lengths is None else (lengths,))))
    block = Block(
        None if is_lazy else chain,
        known,
        has_features=features in dims,
        has_lengths=lengths is not None,
        return_state=return_state,
        batch_size=as_size("batch_size", batch_size),
    )
    run = _Run(block, chain.dtype, [_sent(chain)] if is_lazy else [], time, features)
    if len(x.chunksizes.get(time, ())) > 1:
        _check_goes_on(chain, x, time)
        y, ends = run.in_turn(x, lengths, starts)
    else:
        y, ends = run.whole(x, lengths, starts)
    if not return_state:
        return y
    states = known.grouped(ends)
    return y, states if isinstance(model, Sequential) else states[0]


@dataclass(frozen=True)
class _Run:
    block: Block
    dtype: Any
    sent: list[Any]  # the model, where arrays are lazy
    time: Hashable
    features: Hashable

    def whole(self, x: Any, lengths: Any, starts: Sequence[Any]) -> tuple[Any, list[Any]]:
        """The output, and the arrays of the states if the block returns them; time is not cut."""
        known, time = self.block.known, self.time
        own_dims = [(f"fastgate layers {i}", f"fastgate units {i}") for i in range(len(known.ends))]  # sizes differ
        ends_dims = own_dims if self.block.return_state else []
        outputs = [(time, OUTPUTS) if known.has_time else (OUTPUTS,), *ends_dims]
        sizes = dict(zip(flat(own_dims), flat(known.ends), strict=True)) | {OUTPUTS: known.outputs}
        inputs: list[tuple[Any, Dims]] = [(own, ()) for own in self.sent]
        inputs.append((x, (time, self.features) if self.block.has_features else (time,)))
        inputs += [] if lengths is None else [(lengths, ())]
        for start, own in zip(starts, own_dims, strict=False):
            inputs.append((start.rename(dict(zip(STATE_DIMS, own, strict=True))), own))
        batch = [dim for dim in x.dims if dim not in (time, self.features)]
        metas = tuple(np.empty((0,) * (len(batch) + len(own)), self.dtype) for own in outputs)
        found = xr.apply_ufunc(
            self.block,
            *(array for array, _ in inputs),
            input_core_dims=[core for _, core in inputs],
            output_core_dims=outputs,
            join="exact",
            dask="parallelized",
            dask_gufunc_kwargs={
                "output_sizes": {dim: sizes[dim] for dim in flat(outputs) if dim != time},
                "meta": metas if ends_dims else metas[0],
            },
            keep_attrs="override",  # those of coordinates
        )
        y, *ends = found if self.block.return_state else (found,)
        y = _plain(y, {OUTPUTS: self.features})
        order = [dim for dim in x.dims if dim in y.dims]
        y = y.transpose(*order, *(dim for dim in y.dims if dim not in order))
        return y, [
            _plain(end, dict(zip(own, STATE_DIMS, strict=True))) for end, own in zip(ends, own_dims, strict=False)
        ]

    def in_turn(self, x: Any, lengths: Any, starts: Sequence[Any]) -> tuple[Any, list[Any]]:
        """The same, chunk by chunk along time, each from the states in which the one before it ends."""
        run, outputs, first = replace(self, block=replace(self.block, return_state=True)), [], 0
        if lengths is not None:  # once, as chunks do not know all of time
            checked = {"dask": "parallelized", "output_dtypes": [np.int64], "kwargs": {"steps": x.sizes[self.time]}}
            lengths = xr.apply_ufunc(in_range, lengths, **checked)
        for count in filter(None, x.chunksizes[self.time]):
            own = None if lengths is None else (lengths - first).clip(0, count)
            y, starts = run.whole(x.isel({self.time: slice(first, first + count)}), own, starts)
            outputs.append(y)
            first += count
        if not self.block.known.has_time:
            return outputs[-1], list(starts)
        y = xr.concat(outputs, self.time, coords="minimal", compat="override", join="override")
        return y, list(starts)


def _as_chain(model: Any) -> Sequential:
    if isinstance(model, Sequential):
        return model
    if not isinstance(model, Recurrent):
        raise _errors.wrong_type("model", "an LSTM, GRU, RNN or Sequential", type(model).__name__)
    return Sequential(model)


def _core_dims(chain: Sequential, x: Any, time: Hashable, features: Hashable) -> Dims:
    """Those of a sequence; raise unless x has what the model takes."""
    if isinstance(x, xr.Dataset):
        raise _errors.wrong_type("x", f"a DataArray, as x.to_dataarray({features!r})", "a Dataset")
    if not isinstance(x, xr.DataArray):
        raise _errors.wrong_type("x", "an xarray.DataArray", type(x).__name__)
    if time == features:
        raise _errors.wrong_value("features", "another dimension than that of time", features)
    if time not in x.dims:
        raise _errors.wrong_value("x", f"a dimension {time!r} (or another name as time=)", x.dims)
    first = chain._members[0].layer
    kinds, expected = ("iu", "integers") if isinstance(first, Embedding) else ("fiub", "real numbers")
    if x.dtype.kind not in kinds:
        raise _errors.wrong_type("x", f"an array of {expected}", f"dtype {x.dtype}")
    if isinstance(first, Embedding):
        if features in x.dims:
            raise _errors.wrong_value(
                "x", f"no dimension {features!r} for a model that begins with an Embedding", x.dims
            )
        return (time,)
    taken, given = features_taken(first), x.sizes.get(features, 1)
    if taken not in (None, given):
        if features not in x.dims:
            expected = f"a dimension {features!r} with the {taken} features that the model takes"
            raise _errors.wrong_value("x", expected, x.dims)
        raise _errors.wrong_value("x", f"{taken} along {features!r}, as the model takes", given)
    return (time, features) if features in x.dims else (time,)


def _prepared(x: Any, time: Hashable, features: Hashable) -> Any:
    """What dask can cut along the batch, without what would be taken for a coordinate of the outputs."""
    if x.chunks is not None and not x.sizes[time]:
        return _prepared(x.compute(), time, features)  # of which dask cannot think, and there is nothing in it
    if features in x.dims:
        return x if x.chunks is None else x.chunk({features: -1})
    return x.drop_vars(features, errors="ignore")


def _beside(name: str, array: Any, expected: str, kinds: str, dims: Dims, x: Any) -> Any:
    """An array that goes with x, whose coordinates alone are those of outputs; only sizes and indices must agree."""
    if not isinstance(array, xr.DataArray):
        raise _errors.wrong_type(name, f"an xarray.DataArray of {expected}", type(array).__name__)
    if array.dtype.kind not in kinds:
        raise _errors.wrong_type(name, expected, f"dtype {array.dtype}")
    if not set(array.dims) <= set(dims):
        raise _errors.wrong_value(name, f"dimensions among {dims}, those of the batch of x", array.dims)
    for dim in filter(x.sizes.__contains__, array.dims):
        if array.sizes[dim] != x.sizes[dim]:
            raise _errors.wrong_value(name, f"{x.sizes[dim]} along {dim!r}, as x has", array.sizes[dim])
        own, wanted = array[dim].variable, x[dim].variable
        if dim in array.xindexes and dim in x.xindexes and not wanted.equals(own):
            at = int(((own != wanted) & ~(own.isnull() & wanted.isnull())).values.argmax())
            expected = f"the coordinates of x along {dim!r}, {wanted.values[at]} at {at}"
            raise _errors.misplaced(name, expected, own.values[at])
    return array.reset_coords(drop=True)


def _starts(known: Known, model: Any, state: Any, batch: Dims, x: Any) -> list[Any]:
    """The arrays of a state."""
    if state is None:
        return []
    states = state if isinstance(model, Sequential) else (state,)
    arrays = list(flat(states)) if isinstance(states, tuple) else []
    if len(arrays) != len(known.ends):
        expected = f"the state that apply returned for this model (number of arrays: {len(known.ends)})"
        got = f"a tuple of {len(arrays)}" if isinstance(state, tuple) else type(state).__name__
        raise _errors.wrong_type("state", expected, got)
    arrays = [_beside("state", array, "floating-point numbers", "f", (*batch, *STATE_DIMS), x) for array in arrays]
    for array, end in zip(arrays, known.ends, strict=True):
        if (given := tuple(array.sizes.get(dim) for dim in STATE_DIMS)) != end:
            raise _errors.wrong_value("state", f"sizes {end} along {STATE_DIMS}, as the model has", given)
    return [array if array.chunks is None else array.chunk(dict.fromkeys(STATE_DIMS, -1)) for array in arrays]


def _check_goes_on(chain: Sequential, x: Any, time: Hashable) -> None:
    """Raise if a layer must see all of time at once."""
    for m in chain._members:
        if m.is_over_time or not m.is_own or getattr(m.layer, "bidirectional", False):
            advice = f"x.chunk({{{time!r}: -1}}), and smaller chunks along other dimensions"
            expected = f"one chunk along {time!r} for {m.place}, which needs whole sequences, as {advice}"
            raise _errors.misplaced("x", expected, len(x.chunksizes[time]))


def _sent(chain: Sequential) -> Any:
    """A snapshot of the model as an array without dimensions, so that it is one task, and goes to each worker once."""
    import dask
    import dask.array

    return xr.Variable((), dask.array.from_delayed(dask.delayed(copy.deepcopy(chain), traverse=False), (), object))


def _plain(array: Any, names: dict[Hashable, Hashable]) -> Any:
    """An array that is not called and described as the input any more."""
    found = array.rename(names).rename(None)
    found.attrs = {}
    return found
