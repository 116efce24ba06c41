"""What is in a file: its layers and their parameters, listed without running anything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from fastgate import _errors
from fastgate._terminal import printable
from fastgate.convert.samples import dtype_of, parts_of
from fastgate.exchange import onnx_files, pytorch, rtneural_files
from fastgate.exchange.tensors import collect, leaves, tensor_of

MOST_LINES = 1000
DTYPES = {"FLOAT": "float32", "DOUBLE": "float64"}  # of ONNX
WIDEST = 60  # characters in a column
Shape = tuple[int, ...]


class Row(NamedTuple):
    """A parameter, or a layer without any."""

    layer: str
    kind: str
    parameter: str = ""
    shape: Shape | None = None


class Listing(NamedTuple):
    """The rows of a file, and what is said of all of them."""

    rows: list[Row]
    dtypes: str

    def lines(self) -> Iterator[str]:
        """A table, and the sum."""
        cells = [("layer", "kind", "parameter", "shape", "entries"), *_cells(self.rows[:MOST_LINES])]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for *texts, entries in cells:
            line = "  ".join(text.ljust(width) for text, width in zip(texts, widths, strict=False))
            yield f"{line}  {entries:>{widths[-1]}}".rstrip()
        if len(self.rows) > MOST_LINES:
            yield f"... and {len(self.rows) - MOST_LINES} more"
        yield f"{self.entries:,} parameters{f', {self.dtypes}' if self.dtypes else ''}"

    @property
    def entries(self) -> int:
        return sum(prod(row.shape) for row in self.rows if row.shape is not None)


def _cells(rows: Iterable[Row]) -> Iterator[tuple[str, ...]]:
    """What a layer is stands beside the first of its parameters only."""
    previous = None
    for row in rows:
        texts = ["", ""] if row[:2] == previous and row.shape is not None else [row.layer, row.kind]
        previous = row[:2]
        sizes = ("", "") if row.shape is None else (str(row.shape), f"{prod(row.shape):,}")
        yield (*(_short(text) for text in (*texts, row.parameter, sizes[0])), sizes[1])


def _short(text: str) -> str:
    shown = printable(text).replace("\n", " ")
    return shown if len(shown) <= WIDEST else shown[: WIDEST - 3] + "..."


def of_layer(layer: Any) -> Listing:
    """One of fastgate's."""
    rows = []
    for path, own in parts_of(layer):
        shapes = {name: array.shape for name, array in getattr(own, "params", {}).items()}
        rows += [Row(path, repr(own), name, shape) for name, shape in shapes.items()] or [Row(path, repr(own))]
    return Listing(rows, dtype_of(layer).name)


def of_state_dict(path: Path, options: dict[str, Any]) -> Listing:
    """Of PyTorch: names alone, as nothing says what is done with them; beside tensors whatever a checkpoint holds."""
    name, part = f"path: {str(path)!r}", options.get("part", "")
    beginning = f"{part}." if part else ""
    rows, dtypes = [], dict[str, None]()
    with pytorch.opened(path) as tree:
        for own, value in leaves(name, tree):
            if not own.startswith(beginning):
                continue
            short = own[len(beginning) :]
            if tensor := tensor_of(name, value):
                rows.append(Row(*_split(short), tensor.shape))
                dtypes[tensor.dtype] = None
            else:
                rows.append(Row(short, f"no tensor: {type(value).__name__}"))
        if not rows:
            collect(name, tree, part)  # which says what parts there are
    return Listing(rows, ", ".join(dtypes))


def _split(name: str) -> tuple[str, str, str]:
    module, _, own = name.rpartition(".")
    return module, "", own


def of_onnx(path: Path, options: dict[str, Any]) -> Listing:
    """Any graph: its nodes, known here or not, with the constants that they take."""
    onnx = onnx_files.package()
    proto = onnx_files.parsed(onnx, f"path: {str(path)!r}", path)
    if not proto.HasField("graph"):  # as in an empty file, which protobuf takes for a message of nothing
        raise _errors.bad_file(path, "holds no graph")
    graph = proto.graph
    names = {number: DTYPES.get(name, name.lower()) for name, number in onnx.TensorProto.DataType.items()}
    shapes = {own.name: tuple(own.dims) for own in graph.initializer}
    rows = [Row(f"input {own.name}", _declared(own, names)) for own in graph.input if own.name not in shapes]
    for number, node in enumerate(graph.node):
        label, kind = node.name or f"node {number}", f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        constants = [name for name in node.input if name in shapes]
        rows += [Row(label, kind, name, shapes.pop(name)) for name in constants if name in shapes] or [Row(label, kind)]
    rows += [Row("", "unused", name, shape) for name, shape in shapes.items()]
    rows += [Row(f"output {own.name}", _declared(own, names)) for own in graph.output]
    return Listing(rows, ", ".join(dict.fromkeys(names.get(own.data_type, "?") for own in graph.initializer)))


def _declared(value: Any, names: dict[int, str]) -> str:
    tensor = value.type.tensor_type
    sizes = (str(own.dim_value) if own.HasField("dim_value") else own.dim_param or "?" for own in tensor.shape.dim)
    return f"{names.get(tensor.elem_type, '?')} ({', '.join(sizes)})"


def of_rtneural(path: Path, options: dict[str, Any]) -> Listing:
    """Any JSON of layers with their weights, or of names with theirs; also of layers that fastgate has not."""
    content = rtneural_files.read(path)
    given = content.get("layers") if isinstance(content, dict) else None
    if isinstance(given, list):
        return Listing([row for number, own in enumerate(given) for row in _described(str(number), own)], "")
    named = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(named, dict) or not named:
        raise _errors.bad_file(path, "is JSON, but holds neither 'layers' nor names with their numbers")
    return Listing([Row(*_split(name), _shape_of(value)) for name, value in named.items()], "")


def _described(number: str, layer: Any) -> list[Row]:
    if not isinstance(layer, dict):
        return [Row(number, "?")]
    kind = " ".join(str(layer[key]) for key in ("type", "activation") if layer.get(key))
    weights = layer.get("weights")
    arrays = weights if isinstance(weights, list) else []
    return [Row(number, kind, f"weights[{i}]", _shape_of(own)) for i, own in enumerate(arrays)] or [Row(number, kind)]


def _shape_of(value: Any) -> Shape:
    """As the first entry at each depth has it."""
    sizes = []
    while isinstance(value, list):
        sizes.append(len(value))
        value = value[0] if value else None
    return tuple(sizes)
