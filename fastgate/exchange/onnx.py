"""Models from ONNX, and to it."""

from __future__ import annotations

from typing import Any

from fastgate.exchange import onnx_files
from fastgate.exchange.onnx_graph import OnnxModel


def from_onnx(source: Any) -> OnnxModel:
    return OnnxModel(onnx_files.read(source))
