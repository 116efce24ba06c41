"""Tensors that have a name, a shape and a dtype before they are read: whoever holds them, an array or a file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgate import _errors
from fastgate._arrays import Array, as_array, as_dtype
from fastgate.exchange import errors

FLOATING = {"float16": "float32", "bfloat16": "float32", "float32": "float32", "float64": "float64"}
DEEPEST = 16  # mappings within mappings
MOST = 2**14  # entries of all of them
LONGEST_NAME = 1000


@dataclass(frozen=True)
class Tensor:
    """One that can be read, as float32 if its entries are of 16 bits: that holds them exactly."""

    shape: tuple[int, ...]
    dtype: str  # by NumPy's name, or "bfloat16"
    read: Callable[[], Array]


Tensors = dict[str, Tensor]


def widen(bits: Array, dtype: str) -> Array:
    """What 16 bits stand for, in float32; anything else as it is."""
    if dtype == "bfloat16":
        return (bits.astype(np.uint32) << 16).view(np.float32)
    return bits.astype(np.float32) if dtype == "float16" else bits


def tensor_of(name: str, value: Any) -> Tensor | None:
    """Of an array or a tensor of another library, on whatever device; None if it is neither."""
    if isinstance(value, Tensor):
        return value
    torch = sys.modules.get("torch")  # without which nobody has a tensor of it
    if torch is not None and isinstance(value, torch.Tensor):
        return _tensor_of_torch(name, value, torch)
    if not hasattr(value, "__dlpack__") and not isinstance(value, (np.ndarray, np.generic)):
        return None
    array = as_array(name, value)
    dtype = "bfloat16" if array.dtype.name == "bfloat16" else array.dtype.newbyteorder("=").name
    return Tensor(array.shape, dtype, lambda: array.astype(np.float32) if dtype == "bfloat16" else widen(array, dtype))


def _tensor_of_torch(name: str, value: Any, torch: Any) -> Tensor:
    if value.device.type == "meta" or value.layout is not torch.strided or value.is_quantized:
        kind = "a quantized one" if value.is_quantized else f"{value.layout} on the device {value.device}"
        raise _errors.wrong_type(name, "a dense tensor of floating-point numbers", kind)
    dtype = str(value.dtype).removeprefix("torch.")

    def read() -> Array:
        plain = value.detach().cpu().resolve_neg()
        return np.array(np.from_dlpack(plain.float() if FLOATING.get(dtype) == "float32" else plain))

    return Tensor(tuple(value.shape), dtype, read)


def collect(name: str, tree: Any, part: str = "") -> Tensors:
    """All tensors of a mapping of mappings whose names, joined by points, begin with `part`; without that beginning.

    What else there is may lie beside the part, as in a checkpoint, but not in it.
    """
    if not isinstance(tree, Mapping):
        raise errors.no_mapping(name, tree)
    beginning = f"{part}." if part else ""
    found: Tensors = {}
    others: list[str] = []
    for path, value in leaves(name, tree):
        if not path.startswith(beginning):
            continue
        tensor, own = tensor_of(f"{name}[{path!r}]", value), path[len(beginning) :]
        if tensor is None:
            others.append(f"{own!r} ({type(value).__name__})")
        elif own in found:
            raise _errors.wrong_value(name, "every name once", own)
        else:
            found[own] = tensor
    if not found or others:
        raise errors.no_state_dict(name, part, others, _parts(tree))
    return found


def leaves(name: str, tree: Any) -> Iterator[tuple[str, Any]]:
    """What is no mapping, in order. Mappings that have one another for parts hold more than memory does, so count."""
    waiting, count = [("", 0, tree)], 0
    while waiting:
        path, depth, value = waiting.pop()
        if not isinstance(value, Mapping):
            yield path, value
            continue
        count += len(value)
        if count > MOST or depth > DEEPEST:
            raise _errors.wrong_value(name, f"at most {MOST} entries, in mappings at most {DEEPEST} deep", "more")
        items = [(f"{path}.{key}" if path else str(key), depth + 1, own) for key, own in value.items()]
        if any(len(own) > LONGEST_NAME for own, _, _ in items):
            raise _errors.wrong_value(name, f"names of at most {LONGEST_NAME} characters", "longer ones")
        waiting += items[::-1]


def _parts(tree: Any) -> list[str]:
    """Where `part` may lead to."""
    if not isinstance(tree, Mapping):
        return []
    return [str(key) for key, value in tree.items() if isinstance(value, Mapping)]


def common_dtype(name: str, tensors: Tensors, wanted: npt.DTypeLike | None) -> np.dtype[Any]:
    """The wanted one, or else the one that all tensors have, of 16 bits float32."""
    for own, tensor in tensors.items():
        if tensor.dtype not in FLOATING:
            raise _errors.wrong_type(f"{name}[{own!r}]", f"a dtype of {', '.join(FLOATING)}", tensor.dtype)
    if wanted is not None:
        return as_dtype(wanted)
    kinds = {FLOATING[tensor.dtype] for tensor in tensors.values()}
    if len(kinds) > 1:
        raise _errors.wrong_value("dtype", f"'float32' or 'float64' to be given for {name}, which holds both", None)
    return as_dtype(kinds.pop())
