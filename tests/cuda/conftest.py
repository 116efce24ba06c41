"""What runs in Numba's simulator, or on a GPU where there is one."""

import sys

import numpy as np
import pytest
from numba import cuda
from numba.core import config

SIMULATED = bool(config.ENABLE_CUDASIM)

if SIMULATED:
    sys.setswitchinterval(1e-4)  # its threads wait for one another in loops


@pytest.fixture(scope="session", autouse=True)
def nan_in_unset_memory_of_devices():
    """As on the host."""
    if not SIMULATED:
        yield
        return
    allocate = cuda.device_array

    def poisoned(shape, dtype, **options):
        array = allocate(shape, dtype, **options)
        if np.dtype(dtype).kind == "f":
            array[:] = np.nan
        return array

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuda, "device_array", poisoned)
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
