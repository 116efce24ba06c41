"""Random input for a layer, and how far two results lie apart. Both are batch first, whatever a layer has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastgate import _errors
from fastgate._arrays import Array
from fastgate._from_config import from_config
from fastgate._recurrent import Recurrent
from fastgate.dropout import Dropout
from fastgate.embedding import Embedding
from fastgate.encoder_decoder import EncoderDecoder
from fastgate.masking import Masking
from fastgate.merge_directions import MergeDirections
from fastgate.reverse import Reverse
from fastgate.sequential import Sequential

Run = Callable[[Array], Array]  # from one input to one output, batch first
BATCH, TIME = 3, 20  # unless a file declares others
MASKED = 0.25  # of the steps, where the layer tells padding from what counts
BOUNDS = {"float32": 1e-6, "float64": 1e-12}  # of the largest output
SIZES = "input_size", "in_features", "features"


def parts_of(layer: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Layers that are no models, each under its number; a layer alone under none."""
    if isinstance(layer, Sequential):
        for number, own in enumerate(layer.layers):
            yield from parts_of(own, f"{path}.{number}" if path else str(number))
    else:
        yield path, layer


def run_of(layer: Any) -> Run:
    """Its output without its state."""
    if isinstance(layer, EncoderDecoder):
        raise _errors.misplaced("IN", "a layer or Sequential model, which has one input", type(layer).__name__)
    return batch_first((lambda x: layer(x)[0]) if isinstance(layer, Recurrent) else layer, layer)


def dtype_of(layer: Any) -> np.dtype[Any]:
    """Of its parameters; float32 if it has none."""
    return np.dtype(getattr(layer, "dtype", np.float32))


def sample(layer: Any, sizes: tuple[int | None, ...] = ()) -> Array:
    """Random input, in the sizes of batch and time that a file declares."""
    parts = [own for _, own in parts_of(layer)]
    rng, leading = np.random.default_rng(0), [BATCH]
    if any(isinstance(own, Recurrent) for own in parts):
        declared = sizes[:2] if is_batch_first(layer) else sizes[1::-1]
        leading = [BATCH, TIME]
        leading = [own or usual for own, usual in zip((*declared, None, None), leading, strict=False)]
    elif sizes and sizes[0]:
        leading = [sizes[0]]
    if isinstance(parts[0], Embedding):
        x = rng.integers(0, parts[0].num_embeddings, leading)
        return np.where(rng.random(leading) < MASKED, 0, x) if parts[0].mask_zero else x
    x = rng.standard_normal((*leading, _features(parts))).astype(dtype_of(layer))
    first = next((own for own in parts if not isinstance(own, (Dropout, Reverse))), None)
    if isinstance(first, Masking):  # nothing before it changes a value
        x[rng.random(leading) < MASKED] = first.value
    return x


def _features(parts: list[Any]) -> int:
    """That the first of the layers takes."""
    halvings, size = 0, BATCH
    for own in parts:
        halvings += isinstance(own, MergeDirections)
        if found := [getattr(own, name) for name in SIZES if hasattr(own, name)]:
            size = found[0]
            break
    return int(size << halvings)


def is_batch_first(layer: Any) -> bool:
    """True where nothing has a time axis, too."""
    return bool(getattr(layer, "batch_first", True))


def batch_first(run: Callable[[Array], Array], layer: Any) -> Run:
    """Of what takes its input laid out as this layer has it."""
    if is_batch_first(layer):
        return run

    def swapped(x: Array) -> Array:
        y = run(np.ascontiguousarray(x.swapaxes(0, 1)))
        has_time = y.shape[:2] == x.shape[1::-1] and x.shape[0] != x.shape[1]
        return y.swapaxes(0, 1) if has_time else y

    return swapped


def with_options(layer: Any, change: Callable[[str, Any], Any]) -> Any:
    """A layer like this one with fresh parameters, of which each option is what `change` makes of name and value."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: change(name, plain(own)) for name, own in value.items()}
        return [plain(own) for own in value] if isinstance(value, list) else value

    return from_config(plain(layer.config()))


def rounding(layer: Any, x: Array, of: str) -> float:
    """How far off this layer is in float32, as float64 tells; of float64 that, by its shorter steps; 0 if unknown."""
    dtype = np.dtype("float32" if dtype_of(layer) == np.float64 else "float64")
    other = with_options(layer, lambda name, value: dtype.name if name == "dtype" else value)
    with np.errstate(over="ignore"):  # what float32 cannot hold
        weights = layer.params.flat.astype(dtype)
        if not np.isfinite(weights).all():
            return 0.0
        other.params.flat = weights
        off = difference(run_of(layer)(x), run_of(other)(x.astype(dtype) if x.dtype.kind == "f" else x))
    return off * float(np.finfo(of).eps / np.finfo(np.float32).eps) if np.isfinite(off) else 0.0


def difference(y: Array, other: Array) -> float:
    """The largest, in units of the largest output."""
    if y.shape != other.shape:
        return float("inf")
    if np.array_equal(y, other, equal_nan=True):
        return 0.0
    with np.errstate(all="ignore"):
        apart = np.abs(np.float64(y) - other).max() / np.abs(np.float64(y)).max()
    return float(apart) if np.isfinite(apart) else float("inf")
