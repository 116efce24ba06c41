"""ONNX's operators that move entries about, in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastgate._arrays import Array
from fastgate.exchange.onnx_nodes import Node, Operator

# onnx.TensorProto's numbers of dtypes, those that graphs around recurrent layers need.
DTYPES = {
    1: np.float32, 2: np.uint8, 3: np.int8, 4: np.uint16, 5: np.int16, 6: np.int32, 7: np.int64, 9: np.bool_,
    11: np.float64, 12: np.uint32, 13: np.uint64,
}  # fmt: skip


def _axes(node: Node, given: Any, ndim: int, default: list[int] | None = None) -> list[int]:
    """Of an attribute or an input, counted from the front."""
    values = node.attributes.get("axes", default if given is None else given.tolist())
    if values is None or any(not -ndim <= axis < ndim for axis in values):
        raise node.wrong("axes", f"axes of {ndim}", values)
    return [axis % ndim for axis in values]


def _transpose(node: Node, x: Array) -> Array:
    perm = node.attributes.get("perm", list(range(x.ndim))[::-1])
    if sorted(perm) != list(range(x.ndim)):
        raise node.wrong("perm", f"each of {x.ndim} axes once", perm)
    return x.transpose(perm)


def _squeeze(node: Node, x: Array, axes: Array | None = None) -> Array:
    return x.squeeze(tuple(_axes(node, axes, x.ndim, [i for i, size in enumerate(x.shape) if size == 1])))


def _unsqueeze(node: Node, x: Array, axes: Array | None = None) -> Array:
    count = len(node.attributes.get("axes", () if axes is None else axes))
    return np.expand_dims(x, tuple(_axes(node, axes, x.ndim + count)))


def _reshape(node: Node, x: Array, shape: Array) -> Array:
    """0 leaves a size as it is."""
    keeps = not node.choice("allowzero", 0, (0, 1))
    if keeps and any(not size and i >= x.ndim for i, size in enumerate(shape.tolist())):
        raise node.wrong("shape", f"0 for one of {x.ndim} axes only", shape.tolist())
    sizes = [x.shape[i] if keeps and not size else size for i, size in enumerate(shape.tolist())]
    if sizes.count(-1) == 1 and x.size == 0:  # NumPy does not guess what is left of nothing
        known = int(np.prod([size for size in sizes if size != -1]))
        return x.reshape([(0 if not known else x.size // known) if size == -1 else size for size in sizes])
    return x.reshape(sizes)


def _flatten(node: Node, x: Array) -> Array:
    axis = node.attributes.get("axis", 1)
    if not -x.ndim <= axis <= x.ndim:
        raise node.wrong("axis", f"one of {x.ndim}", axis)
    rows = int(np.prod(x.shape[: axis % x.ndim if axis < x.ndim else axis]))
    return x.reshape(rows, x.size // rows if rows else 0)


def _concat(node: Node, *arrays: Array) -> Array:
    return np.concatenate(arrays, node.attributes["axis"])


def _split(node: Node, x: Array, sizes: Array | None = None) -> tuple[Array, ...]:
    axis, count = node.attributes.get("axis", 0), len(node.outputs)
    given = node.attributes.get("split", None if sizes is None else sizes.tolist())
    if given is None:
        size = -(-x.shape[axis] // count)
        given = [min(size, max(x.shape[axis] - i * size, 0)) for i in range(count)]
    if len(given) != count or sum(given) != x.shape[axis] or min(given, default=0) < 0:
        raise node.wrong("split", f"{count} sizes, together {x.shape[axis]}", given)
    return tuple(np.split(x, np.cumsum(given)[:-1], axis))


def _slice(
    node: Node, x: Array, starts: Any = None, ends: Any = None, axes: Any = None, steps: Any = None
) -> Array:  # fmt: skip
    bounds = [node.attributes.get("starts", starts), node.attributes.get("ends", ends)]
    first, last = ([int(value) for value in bound] for bound in bounds)
    given = node.attributes.get("axes", range(len(first)) if axes is None else axes)
    step = [1] * len(first) if steps is None else [int(value) for value in steps]
    index = [slice(None)] * x.ndim
    for axis, start, end, by in zip(given, first, last, step, strict=True):
        if not -x.ndim <= axis < x.ndim or by == 0:
            raise node.wrong("axes and steps", f"axes of {x.ndim}, and no step of 0", (int(axis), by))
        # Beyond the last entry on the way back is -size - 1, which NumPy writes as None.
        size = x.shape[axis]
        index[axis] = slice(start, None if by < 0 and end < -size else end, by)
    return x[tuple(index)]


def _gather(node: Node, x: Array, indices: Array) -> Array:
    axis = node.attributes.get("axis", 0)
    size = x.shape[axis]
    if indices.size and not -size <= int(indices.min()) <= int(indices.max()) < size:
        raise node.wrong("indices", f"{-size} to {size - 1}", f"{indices.min()} to {indices.max()}")
    return np.take(x, indices, axis)


def _shape(node: Node, x: Array) -> Array:
    start, end = node.attributes.get("start", 0), node.attributes.get("end", x.ndim)
    return np.array(x.shape[start:end], np.int64)


def _constant_of_shape(node: Node, shape: Array) -> Array:
    """Without memory of its own for each entry."""
    value = node.attributes.get("value", np.zeros(1, np.float32))
    node.check_size("shape", float(np.prod(shape, dtype=np.float64)))
    return np.broadcast_to(value.reshape(()), tuple(shape.tolist()))


def _expand(node: Node, x: Array, shape: Array) -> Array:
    node.check_size("shape", float(np.prod(shape, dtype=np.float64)))
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(shape.tolist())))


def _cast(node: Node, x: Array) -> Array:
    if node.attributes["to"] not in DTYPES:
        raise node.wrong("to", f"one of {', '.join(map(str, DTYPES))}", node.attributes["to"])
    return x.astype(DTYPES[node.attributes["to"]])


def _constant(node: Node) -> Array:
    (kind, value), *others = node.attributes.items()
    types: dict[str, Any] = {"value": None, "value_float": np.float32, "value_floats": np.float32}
    types |= {"value_int": np.int64, "value_ints": np.int64}
    if others or kind not in types:
        raise node.wrong(kind, f"one of {', '.join(types)}", kind)
    return np.asarray(value, types[kind])


def _dropout(node: Node, x: Array, ratio: Array | None = None, training: Array | None = None) -> tuple[Array, Array]:
    if training is not None and training.any():
        raise node.wrong("training_mode", "false, as a graph is run for inference", "true")
    return x, np.ones(x.shape, np.bool_)


def _range(node: Node, start: Array, limit: Array, delta: Array) -> Array:
    node.check_size("start, limit and delta", float((limit - start) / delta) if delta else np.inf)
    values: Any = start.item(), limit.item(), delta.item()
    return np.arange(*values, dtype=start.dtype)


def _reverse_sequence(node: Node, x: Array, lengths: Array) -> Array:
    time, batch = node.attributes.get("time_axis", 0), node.attributes.get("batch_axis", 1)
    if {time, batch} != {0, 1}:
        raise node.wrong("time_axis and batch_axis", "0 and 1", f"{time} and {batch}")
    rows = x.swapaxes(0, 1) if batch == 1 else x
    steps = np.arange(rows.shape[1])
    index = np.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)
    turned = rows[np.arange(len(rows))[:, None], index]
    return turned.swapaxes(0, 1) if batch == 1 else turned


def _with(run: Any, version: int, *attributes: str) -> Operator:
    return Operator(run, version, frozenset(attributes))


# In each the newest version, and the attributes, that are computed. What newer ones up to 25 add are dtypes.
OPERATORS: dict[str, Operator] = {
    "Transpose": _with(_transpose, 25, "perm"),
    "Squeeze": _with(_squeeze, 25, "axes"),
    "Unsqueeze": _with(_unsqueeze, 25, "axes"),
    "Reshape": _with(_reshape, 25, "allowzero"),
    "Flatten": _with(_flatten, 25, "axis"),
    "Concat": _with(_concat, 13, "axis"),
    "Split": _with(_split, 18, "axis", "split", "num_outputs"),
    "Slice": _with(_slice, 13, "starts", "ends", "axes"),
    "Gather": _with(_gather, 13, "axis"),
    "Shape": _with(_shape, 25, "start", "end"),
    "ConstantOfShape": _with(_constant_of_shape, 25, "value"),
    "Expand": _with(_expand, 13),
    "Cast": _with(_cast, 25, "to", "saturate", "round_mode"),
    "Constant": _with(_constant, 25, "value", "value_float", "value_floats", "value_int", "value_ints"),
    "Identity": _with(lambda node, x: x, 25),
    "Dropout": _with(_dropout, 22, "ratio", "seed"),
    "Range": _with(_range, 11),
    "ReverseSequence": _with(_reverse_sequence, 10, "time_axis", "batch_axis"),
}
