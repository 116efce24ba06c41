"""cuBLAS through ctypes: the library that numba-cuda's pinned toolkit or the system has."""

import ctypes
from functools import cache
from threading import local

from fastgate.kernels.cuda import driver
from fastgate.kernels.cuda.prims import SIMULATED

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


def multiply(a, b, out, rows, columns, depth, a_across, b_across, added, precision, stream):
    """As `products.product`: row-major matrices, which cuBLAS reads as the transposed ones, out' = b' a'."""
    for memory in (a, b, out):
        memory.use_at((driver.device_number(), stream))
    kind, scalar = KINDS[str(out.dtype)], ctypes.c_double if out.dtype.itemsize == 8 else ctypes.c_float
    compute = FLOAT64 if out.dtype.itemsize == 8 else TF32 if precision == "medium" else EXACT
    lda, ldb = rows if a_across else depth, depth if b_across else columns
    one, beta = scalar(1), scalar(1 if added else 0)
    factors = (
        (b.address, kind, ldb),
        (a.address, kind, lda),
    )
    _check(
        library().cublasGemmEx(
            _handle(stream),
            TRANSPOSED if b_across else PLAIN,
            TRANSPOSED if a_across else PLAIN,
            columns,
            rows,
            depth,
            ctypes.byref(one),
            ctypes.c_void_p(factors[0][0]),
            *factors[0][1:],
            ctypes.c_void_p(factors[1][0]),
            *factors[1][1:],
            ctypes.byref(beta),
            ctypes.c_void_p(out.address),
            kind,
            columns,
            compute,
            ANY_ALGORITHM,
        )
    )


def _handle(stream):
    """This thread's on the current device, told on which stream to work."""
    kept, number = _here.__dict__, driver.device_number()
    if number not in kept:
        kept[number] = ctypes.c_void_p()
        _check(library().cublasCreate_v2(ctypes.byref(kept[number])))
    _check(library().cublasSetStream_v2(kept[number], ctypes.c_void_p(driver.handle_of(stream))))
    return kept[number]


def _check(status):
    if status:
        raise RuntimeError(f"cuBLAS: a call returned status {status}")
