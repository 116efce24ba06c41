"""What a machine lacks for `device="cuda"`."""

from functools import cache

from numba import cuda

from fastgate.kernels.cuda.prims import HAS_NUMBA_CUDA, SIMULATED


@cache
def missing():
    """None where there is a device, real or simulated; else what there is not."""
    if SIMULATED:
        return None
    if not HAS_NUMBA_CUDA:
        return "no numba-cuda"
    if not cuda.is_available():
        said = " ".join(str(cuda.cuda_error() or "no NVIDIA GPU").split())
        return f"no driver that finds a GPU ({said})"
    return None
