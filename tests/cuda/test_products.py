"""Products of matrices, by our tiles and, as its documentation describes it, by cuBLAS."""

import ctypes
from itertools import product as combinations

import numpy as np
import pytest

from fastgate.kernels import cuda
from fastgate.kernels.cuda import cublas
from fastgate.kernels.cuda.products import product, sum_rows
from fastgate.kernels.cuda.streams import SIMULATED

pytestmark = pytest.mark.usefixtures("device")


class ColumnMajor:
    """What cublasGemmEx computes, of memory that this process can read."""

    def cublasCreate_v2(self, handle):
        return 0

    def cublasSetStream_v2(self, handle, stream):
        return 0

    def cublasGemmEx(
        self, handle, opa, opb, m, n, k, alpha, a, kind_a, lda, b, kind_b, ldb, beta, c, kind_c, ldc, *rest
    ):
        real = ctypes.c_double if kind_c == 1 else ctypes.c_float

        def matrix(pointer, rows, columns, leading):
            flat = np.ctypeslib.as_array((real * (leading * columns)).from_address(pointer.value))
            return flat.reshape(columns, leading).T[:rows]

        A = matrix(a, *((k, m) if opa else (m, k)), lda)
        B = matrix(b, *((n, k) if opb else (k, n)), ldb)
        C = matrix(c, m, n, ldc)
        C[...] = (A.T if opa else A) @ (B.T if opb else B) + beta._obj.value * C
        return 0


@pytest.mark.parametrize("library", ["tiles", "cublas"])
@pytest.mark.parametrize(("a_across", "b_across", "has_bias"), list(combinations([False, True], repeat=3)))
def test_product(library, a_across, b_across, has_bias, monkeypatch):
    if library == "cublas":
        if not SIMULATED and not cublas.is_there():
            pytest.skip("needs cuBLAS")
        if SIMULATED:
            monkeypatch.setattr(cublas, "library", ColumnMajor)
    elif not SIMULATED:
        monkeypatch.setattr(cublas, "library", lambda: None)
    rng = np.random.default_rng(0)
    for rows, columns, depth in ((5, 6, 7), (1, 1, 1), (4, 8, 0)):
        a, b, bias = (
            rng.standard_normal((rows, depth)),
            rng.standard_normal((depth, columns)),
            rng.standard_normal(columns),
        )
        own = [
            cuda.from_host(np.ascontiguousarray(m.T if across else m)) for m, across in ((a, a_across), (b, b_across))
        ]
        out = cuda.from_host(np.ones((rows, columns)))
        extra = {"bias": cuda.from_host(bias).flat} if has_bias else {"added": True}
        flats = [array.flat for array in (*own, out)]
        product(*flats, rows, columns, depth, a_across=a_across, b_across=b_across, **extra)
        np.testing.assert_allclose(np.asarray(out), a @ b + (bias if has_bias else 1), rtol=1e-13, atol=1e-13)


def test_sum_of_rows():
    x = np.random.default_rng(0).standard_normal((7, 3))
    out, scratch = cuda.empty((3,), x.dtype), cuda.empty((64 * 3,), x.dtype)
    sum_rows(cuda.from_host(x).flat, out.flat, 7, 3, scratch.flat)
    np.testing.assert_allclose(np.asarray(out), x.sum(0), rtol=1e-13)
