"""cuBLAS through ctypes: the library that numba-cuda's pinned toolkit or the system has."""

import ctypes
from functools import cache
from threading import local

from fastgate.kernels.cuda.streams import SIMULATED

KINDS = {"float32": 0, "float64": 1}  # CUDA_R_32F, CUDA_R_64F
# CUBLAS_COMPUTE_32F adds and multiplies in float32 itself, the other rounds factors to TF32 first.
EXACT, FLOAT64, TF32 = 68, 70, 77
PLAIN, TRANSPOSED, ANY_ALGORITHM = 0, 1, -1
NAMES = "libcublas.so.13", "libcublas.so.12", "libcublas.so", "cublas64_13.dll", "cublas64_12.dll"
_here = local()


@cache
def library():
    """None where there is none."""
    if SIMULATED:
        return None
    try:
        from cuda import pathfinder  # a dependency of numba-cuda

        return ctypes.CDLL(pathfinder.load_nvidia_dynamic_lib("cublas").abs_path)
    except Exception:  # whatever it raises: the system may have one
        pass
    for name in NAMES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def is_there():
    return library() is not None


def multiply(a, b, out, rows, columns, depth, a_across, b_across, added, precision, batch, stream):
    """As `products.product`: row-major matrices, which cuBLAS reads as the transposed ones, out' = b' a'."""
    kind, scalar = KINDS[str(out.dtype)], ctypes.c_double if out.dtype.itemsize == 8 else ctypes.c_float
    compute = FLOAT64 if out.dtype.itemsize == 8 else TF32 if precision == "medium" else EXACT
    one, beta = scalar(1), scalar(1 if added else 0)
    many = batch > 1

    def matrix(flat, outer, inner, is_outermost):
        """One of a batch (batch,outer,inner), or (outer,batch,inner)."""
        pitch, step = (inner, outer * inner) if is_outermost else (batch * inner, inner)
        return ctypes.c_void_p(address_of(flat)), kind, pitch, *([ctypes.c_longlong(step)] if many else [])

    call = library().cublasGemmStridedBatchedEx if many else library().cublasGemmEx
    _check(
        call(
            _handle(stream),
            TRANSPOSED if b_across else PLAIN,
            TRANSPOSED if a_across else PLAIN,
            columns,
            rows,
            depth,
            ctypes.byref(one),
            *(matrix(b, columns, depth, True) if b_across else matrix(b, depth, columns, False)),
            *(matrix(a, depth, rows, False) if a_across else matrix(a, rows, depth, True)),
            ctypes.byref(beta),
            *matrix(out, rows, columns, True),
            *([batch] if many else []),
            compute,
            ANY_ALGORITHM,
        )
    )


def address_of(flat):
    """Of a flat device array."""
    return (flat.__array_interface__ if SIMULATED else flat.__cuda_array_interface__)["data"][0]


def _handle(stream):
    """This thread's, told on which stream to work."""
    if not hasattr(_here, "handle"):
        handle = ctypes.c_void_p()
        _check(library().cublasCreate_v2(ctypes.byref(handle)))
        _here.handle = handle
    own = 0 if SIMULATED or not stream else int(stream)
    _check(library().cublasSetStream_v2(_here.handle, ctypes.c_void_p(own)))
    return _here.handle


def _check(status):
    if status:
        raise RuntimeError(f"cuBLAS: a call returned status {status}")
