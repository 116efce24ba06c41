"""The CUDA kernels compile for a real GPU without one: float32 stays float32, and no function is called."""

import pytest
from numba import cuda, float32
from numba.core import config

if config.ENABLE_CUDASIM:
    pytest.skip("the simulator does not compile", allow_module_level=True)

from numba.cuda import dispatcher
from numba.cuda.cudadrv import nvvm
from numba.cuda.cudadrv.error import NvvmSupportError

from fastgate.kernels.cuda import gru, lstm

try:
    nvvm.NVVM()
except NvvmSupportError:
    pytest.skip("needs libnvvm, of the CUDA toolkit", allow_module_level=True)

VECTOR, MATRIX = float32[::1], float32[:, ::1]
SIGNATURES = {
    "lstm": (lstm.step_kernel, (*[MATRIX] * 5, VECTOR, MATRIX, MATRIX)),
    "gru": (gru.step_kernel, (*[MATRIX] * 4, VECTOR, VECTOR, MATRIX)),
}


class Hopper:
    """Stands in for the device that Numba asks for its compute capability."""

    compute_capability = (9, 0)


@pytest.mark.parametrize("name", SIGNATURES)
def test_ptx_of_step_kernel(name, monkeypatch):
    monkeypatch.setattr(dispatcher, "get_current_device", Hopper)
    kernel, signature = SIGNATURES[name]
    ptx, _ = cuda.compile_ptx(kernel.py_func, signature, cc=(9, 0))
    assert ptx.count("fma.rn.f32") > 10
    assert ".f64" not in ptx
    assert "call" not in ptx
