"""Models over labelled arrays: time and features are found by name, and what dask has cut into chunks stays lazy."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Iterable
from importlib.util import find_spec
from typing import Any

import numpy as np

from fastgate import _errors
from fastgate._arrays import as_flag, as_size
from fastgate._assembly import features_taken
from fastgate._blocks import Block, Known, flat, known_of
from fastgate._recurrent import Recurrent
from fastgate.embedding import Embedding
from fastgate.sequential import Sequential

if find_spec("xarray") is None:
    raise _errors.missing_extra("xarray", "xarray", "for fastgate.xarray")

import xarray as xr

__all__ = ["STATE_DIMS", "apply"]

Dims = tuple[Hashable, ...]
STATE_DIMS = "state_layer", "state_unit"  # of states, after the dimensions of the batch
OUTPUTS = "_outputs"  # the dimension of features, as long as those of the input are there too


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
        gives a lazy result, with the same bits. It must not be cut along `time`: ``x.chunk({"time": -1, "lat": 20})``.
        Chunks along `features`, which are few, are joined.
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
        If an argument has the wrong type, or a dimension is missing, cut into chunks or of the wrong size; the message
        names it. What is wrong with values shows when they are computed.

    Notes
    -----
    Missing values are handed on: a NaN in a sequence makes its outputs NaN from that step on, and leaves all other
    sequences as they are. Where nothing is to be computed (the sea, of a model for the land), give lengths of 0.

    Each chunk is computed by one thread, as dask computes several chunks at a time: have at least as many chunks as
    dask has threads. On workers of dask.distributed it is the same, whatever `set_num_threads` says there. The model
    travels to each worker once.

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
    if x.chunks is not None and features in dims:
        x = x.chunk({features: -1})
    batch = tuple(dim for dim in x.dims if dim not in dims)
    known = known_of(chain, x.sizes[time], x.sizes.get(features, 1), x.dtype)
    own_dims = [(f"_layers_{i}", f"_units_{i}") for i in range(len(known.ends))]  # sizes differ from state to state
    inputs, core = [x], [dims]
    if lengths is not None:
        _check_array("lengths", lengths, "integers", "iu", batch)
        inputs, core = [*inputs, lengths], [*core, ()]
    for start, own in zip(_starts(known, model, state), own_dims, strict=False):
        _check_array("state", start, "floating-point numbers", "f", (*batch, *STATE_DIMS))
        inputs, core = [*inputs, start.rename(dict(zip(STATE_DIMS, own, strict=True)))], [*core, own]
    outputs = [
        (time, OUTPUTS) if known.has_time else (OUTPUTS,),
        *(own_dims if as_flag("return_state", return_state) else ()),
    ]
    is_lazy = _check_chunks(inputs, core)
    block = Block(
        None if is_lazy else chain,
        known,
        has_features=features in dims,
        has_lengths=lengths is not None,
        return_state=return_state,
        batch_size=as_size("batch_size", batch_size),
    )
    if is_lazy:
        inputs, core = [_sent(chain), *inputs], [(), *core]
    sizes = dict(zip(flat(own_dims), flat(known.ends), strict=True)) | {OUTPUTS: known.outputs}
    metas = tuple(np.empty((0,) * (len(batch) + len(own)), chain.dtype) for own in outputs)
    found = xr.apply_ufunc(
        block,
        *inputs,
        input_core_dims=core,
        output_core_dims=outputs,
        join="exact",
        dask="parallelized",
        dask_gufunc_kwargs={
            "output_sizes": {dim: sizes[dim] for dim in flat(outputs) if dim != time},
            "meta": metas if return_state else metas[0],
        },
        keep_attrs="override",  # those of coordinates
    )
    y, *ends = found if return_state else (found,)
    y = _plain(y, {OUTPUTS: features})
    order = [dim for dim in x.dims if dim in y.dims]
    y = y.transpose(*order, *(dim for dim in y.dims if dim not in order))
    if not return_state:
        return y
    named = [_plain(end, dict(zip(own, STATE_DIMS, strict=True))) for end, own in zip(ends, own_dims, strict=True)]
    states = known.grouped(named)
    return y, states if isinstance(model, Sequential) else states[0]


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


def _check_array(name: str, array: Any, expected: str, kinds: str, dims: Dims) -> None:
    if not isinstance(array, xr.DataArray):
        raise _errors.wrong_type(name, f"an xarray.DataArray of {expected}", type(array).__name__)
    if array.dtype.kind not in kinds:
        raise _errors.wrong_type(name, expected, f"dtype {array.dtype}")
    if not set(array.dims) <= set(dims):
        raise _errors.wrong_value(name, f"dimensions among {dims}, those of the batch of x", array.dims)


def _starts(known: Known, model: Any, state: Any) -> list[Any]:
    """The arrays of a state."""
    if state is None:
        return []
    states = state if isinstance(model, Sequential) else (state,)
    arrays = list(flat(states)) if isinstance(states, tuple) else []
    if len(arrays) != len(known.ends):
        expected = f"the state that apply returned for this model, of {len(known.ends)} arrays"
        raise _errors.wrong_type("state", expected, f"{len(arrays)}")
    return arrays


def _check_chunks(arrays: Iterable[Any], core: Iterable[Dims]) -> bool:
    """Whether any is lazy; raise if one is cut where a sequence must be whole."""
    is_lazy = False
    for array, dims in zip(arrays, core, strict=True):
        is_lazy = is_lazy or array.chunks is not None
        for dim in dims:
            if len(array.chunksizes.get(dim, ())) > 1:
                advice = f"x.chunk({{{dim!r}: -1}}), and smaller chunks along other dimensions"
                raise _errors.misplaced("x", f"one chunk along {dim!r}, as {advice}", len(array.chunksizes[dim]))
    return is_lazy


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
