"""cuBLAS through ctypes: the wheel nvidia-cublas, which PyTorch for CUDA brings, or the system's library."""

import ctypes
from functools import cache
from threading import local
from typing import NamedTuple

from fastgate.kernels.cuda import driver
from fastgate.kernels.cuda.narrow import split
from fastgate.kernels.cuda.prims import SIMULATED

FLOAT32, FLOAT64, BFLOAT16 = 0, 1, 14  # CUDA_R_32F, CUDA_R_64F, CUDA_R_16BF


class Way(NamedTuple):
    """Of a product: what kind of numbers the factors are, how they are multiplied, and which parts of them."""

    kind: int
    compute: int
    pairs: tuple[tuple[int, int], ...] = ((0, 0),)


IN_FLOAT64 = Way(FLOAT64, 70)  # CUBLAS_COMPUTE_64F
WAYS = {
    "highest": Way(FLOAT32, 68),  # CUBLAS_COMPUTE_32F adds and multiplies in float32 itself
    "high": Way(BFLOAT16, 68, ((1, 0), (0, 1), (0, 0))),  # small parts first
    # These round factors of float32 first: CUBLAS_COMPUTE_32F_FAST_TF32, ..._16BF and ..._16F.
    "medium": Way(FLOAT32, 77),
    "bfloat16": Way(FLOAT32, 75),
    "float16": Way(FLOAT32, 74),
}
PLAIN, TRANSPOSED, ANY_ALGORITHM = 0, 1, -1
NAMES = "libcublas.so.13", "libcublas.so.12", "libcublas.so", "cublas64_13.dll", "cublas64_12.dll"
_here = local()
_idle = {}  # device -> handles of threads that have ended


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
    """As `products.product`."""
    way = IN_FLOAT64 if out.dtype.itemsize == 8 else WAYS[precision if driver.has_tensor_cores() else "highest"]
    parts_of_a, parts_of_b = (a,), (b,)
    if way.kind == BFLOAT16:
        parts_of_a, parts_of_b = split("a", a, batch * rows * depth), split("b", b, batch * depth * columns)
    sizes = rows, columns, depth, a_across, b_across
    for of_a, of_b in way.pairs:
        _multiply(parts_of_a[of_a], parts_of_b[of_b], out, *sizes, added, way, batch, stream)
        added = True


def _multiply(a, b, out, rows, columns, depth, a_across, b_across, added, way, batch, stream):
    """Row-major matrices, which cuBLAS reads as the transposed ones: out' = b' a'."""
    for memory in (a, b, out):
        memory.use_at((driver.device_number(), stream))
    kind_of_out, scalar = (FLOAT64, ctypes.c_double) if way is IN_FLOAT64 else (FLOAT32, ctypes.c_float)
    one, beta = scalar(1), scalar(1 if added else 0)
    many = batch > 1

    def matrix(memory, kind, outer, inner, is_outermost):
        """One of a batch (batch,outer,inner), or (outer,batch,inner)."""
        pitch, step = (inner, outer * inner) if is_outermost else (batch * inner, inner)
        return ctypes.c_void_p(memory.address), kind, pitch, *([ctypes.c_longlong(step)] if many else [])

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
            *(matrix(b, way.kind, columns, depth, True) if b_across else matrix(b, way.kind, depth, columns, False)),
            *(matrix(a, way.kind, depth, rows, False) if a_across else matrix(a, way.kind, rows, depth, True)),
            ctypes.byref(beta),
            *matrix(out, kind_of_out, rows, columns, True),
            *([batch] if many else []),
            way.compute,
            ANY_ALGORITHM,
        )
    )


class _Held:
    """A handle in the hands of one thread; the next one has it when that has ended, with the memory it works in."""

    def __init__(self, address, shelf):
        self.address, self.shelf = address, shelf

    def __del__(self):
        self.shelf.append(self.address)


def _handle(stream):
    """This thread's on the current device, told on which stream to work."""
    kept, number = _here.__dict__, driver.device_number()
    if number not in kept:
        shelf = _idle.setdefault(number, [])
        try:
            address = shelf.pop()
        except IndexError:
            address = ctypes.c_void_p()
            _check(library().cublasCreate_v2(ctypes.byref(address)))
        kept[number] = _Held(address, shelf)
    address = kept[number].address
    _check(library().cublasSetStream_v2(address, ctypes.c_void_p(driver.handle_of(stream))))
    return address


def _check(status):
    if status:
        raise RuntimeError(f"cuBLAS: a call returned status {status}")
