"""Arrays on NVIDIA GPUs.

Layers with ``device="cuda"`` take whatever lies on the GPU, of CuPy, PyTorch, JAX or Numba, and give a `DeviceArray`
back, which these libraries take in turn; nothing is copied. For NumPy's arrays they give NumPy's, copied there and
back::

    layer = fg.LSTM(64, 256, device="cuda")
    y, state = layer(x)  # NumPy in, NumPy out
    y, state = layer(torch_tensor)  # on the GPU
    y = torch.from_dlpack(y)

Kernels run on the stream that an array names as its own in ``__cuda_array_interface__``, else on the default one, which
waits for other libraries' streams by DLPack's rules. All of it also runs, slowly, in Numba's simulator, without a GPU:
with the environment variable ``NUMBA_ENABLE_CUDASIM=1``.
"""

from typing import Any

import numpy.typing as npt

from fastgate._arrays import as_array
from fastgate._kernels import on

_kernels = on("cuda")
DeviceArray: Any = _kernels.DeviceArray


def array(x: npt.ArrayLike) -> Any:
    """A copy of an array, as a `DeviceArray`.

    Parameters
    ----------
    x : array_like

    Returns
    -------
    DeviceArray
    """
    return _kernels.from_host(as_array("x", x))


def missing() -> str | None:
    """What this machine lacks for ``device="cuda"``; None if it lacks nothing."""
    found: str | None = _kernels.missing()
    return found
