"""The one place where fastgate imports its kernels."""

from typing import Any

from fastgate.kernels import arithmetic as arithmetic
from fastgate.kernels import cpu as cpu
from fastgate.kernels import jit as jit
from fastgate.kernels import memory as memory
from fastgate.kernels.activations import BY_PRECISION as BY_PRECISION
from fastgate.kernels.cpu import embedded as embedded

DEVICES = ("cpu", "cuda")


def on(device: str) -> Any:
    """The kernels of a device, under the same names on each; those of CUDA are imported when first asked for."""
    if device == "cpu":
        return cpu
    from fastgate.kernels import cuda

    return cuda
