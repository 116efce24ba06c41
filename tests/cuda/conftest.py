"""What runs in Numba's simulator, or on a GPU where there is one."""

import sys

import numpy as np
import pytest
from numba import cuda
from numba.core import config

from fastgate.kernels.cuda import memory

SIMULATED = bool(config.ENABLE_CUDASIM)

if SIMULATED:
    sys.setswitchinterval(1e-4)  # its threads wait for one another in loops


@pytest.fixture(scope="session", autouse=True)
def nan_in_unset_memory_of_devices():
    """As on the host."""
    if not SIMULATED:
        yield
        return
    take = memory.take

    def poisoned(size, stream):
        lease, others = take(size, stream)
        whole = size // 4
        memory.Memory(lease.block.address, (whole,), np.dtype(np.uint32), lease).on_host()[:] = 0x7FC00001
        return lease, others

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "take", poisoned)
        yield


@pytest.fixture
def device():
    """Skip where nothing would run."""
    if not (SIMULATED or (getattr(cuda, "implementation", "") == "NVIDIA" and cuda.is_available())):
        pytest.skip("needs a GPU and numba-cuda, or NUMBA_ENABLE_CUDASIM=1")


def pytest_collection_modifyitems(items):
    """Those marked `gpu` are for a real one."""
    is_there = not SIMULATED and getattr(cuda, "implementation", "") == "NVIDIA" and cuda.is_available()
    for item in items:
        if item.get_closest_marker("gpu") and not is_there:
            item.add_marker(pytest.mark.skip(reason="needs an NVIDIA GPU and numba-cuda"))
