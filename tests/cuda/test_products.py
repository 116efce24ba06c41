"""Products of matrices, by our tiles and, as its documentation describes it, by cuBLAS."""

import ctypes
from itertools import product as combinations
from threading import Barrier, Thread, local

import numpy as np
import pytest

from fastgate.kernels import cpu, cuda
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
        compute = rest[0]

        def matrix(pointer, rows, columns, leading, kind):
            flat = np.ctypeslib.as_array((KINDS[kind] * (leading * columns)).from_address(pointer.value))
            if kind == cublas.BFLOAT16:
                flat = (flat.astype(np.uint32) << 16).view(np.float32)
            return flat.reshape(columns, leading).T[:rows]

        rounded = FAST.get(compute, lambda x: x)
        A = rounded(matrix(a, *((k, m) if opa else (m, k)), lda, kind_a))
        B = rounded(matrix(b, *((n, k) if opb else (k, n)), ldb, kind_b))
        C = matrix(c, m, n, ldc, kind_c)
        C[...] = (A.T if opa else A) @ (B.T if opb else B) + (beta._obj.value * C if beta._obj.value else 0)
        return 0

    def cublasGemmStridedBatchedEx(
        self, handle, opa, opb, m, n, k, alpha, a, kind_a, lda, step_a, b, kind_b, ldb, step_b, beta,
        c, kind_c, ldc, step_c, batch, *rest,
    ):  # fmt: skip
        def of(number, pointer, kind, leading, step):
            size = ctypes.sizeof(KINDS[kind])
            return ctypes.c_void_p(pointer.value + size * number * step.value), kind, leading

        for number in range(batch):
            first, second = of(number, a, kind_a, lda, step_a), of(number, b, kind_b, ldb, step_b)
            target = of(number, c, kind_c, ldc, step_c)
            self.cublasGemmEx(handle, opa, opb, m, n, k, alpha, *first, *second, beta, *target, *rest)
        return 0


KINDS = {cublas.FLOAT32: ctypes.c_float, cublas.FLOAT64: ctypes.c_double, cublas.BFLOAT16: ctypes.c_uint16}
# What cuBLAS documents of its types of computing: to which digits it may round factors first.
FAST = {
    74: lambda x: cpu.rounded(x, "float16"),
    75: lambda x: cpu.rounded(x, "bfloat16"),
    77: lambda x: (np.ascontiguousarray(x).view(np.uint32) + 0x1000 & np.uint32(0xFFFFE000)).view(np.float32),
}


@pytest.fixture(params=["tiles", "cublas"])
def library(request, monkeypatch):
    """What computes products."""
    if request.param == "cublas":
        if not SIMULATED and not cublas.is_there():
            pytest.skip("needs cuBLAS")
        if SIMULATED:
            monkeypatch.setattr(cublas, "library", ColumnMajor)
    elif not SIMULATED:
        monkeypatch.setattr(cublas, "library", lambda: None)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(("a_across", "b_across"), list(combinations([False, True], repeat=2)))
def test_products_of_a_batch(a_across, b_across):
    rng, (batch, rows, columns, depth) = np.random.default_rng(0), (3, 5, 6, 7)
    a, b = rng.standard_normal((batch, rows, depth)), rng.standard_normal((batch, depth, columns))
    own = [
        cuda.from_host(np.ascontiguousarray(a.transpose(2, 0, 1) if a_across else a)),
        cuda.from_host(np.ascontiguousarray(b.transpose(0, 2, 1) if b_across else b.transpose(1, 0, 2))),
    ]
    out = cuda.empty((batch, rows, columns), a.dtype)
    sizes = rows, columns, depth
    product(own[0].flat, own[1].flat, out.flat, *sizes, a_across=a_across, b_across=b_across, batch=batch)
    np.testing.assert_allclose(np.asarray(out), a @ b, rtol=1e-13, atol=1e-13)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(("a_across", "b_across", "has_bias"), list(combinations([False, True], repeat=3)))
def test_product(a_across, b_across, has_bias):
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


# Of a sum over 300 products of normal numbers, relative to their root mean square.
ROUNDINGS = {
    "highest": (0, 2e-6),
    "high": (0, 1e-5),
    "medium": (1e-4, 2e-3),
    "bfloat16": (1e-3, 1.5e-2),
    "float16": (1e-4, 2e-3),
}


@pytest.mark.parametrize("precision", ROUNDINGS)
def test_precision(precision, monkeypatch):
    """Between what such roundings give at least and at most; and our own tiles do not round."""
    if SIMULATED:
        monkeypatch.setattr(cublas, "library", ColumnMajor)
    rng, K = np.random.default_rng(0), 300
    a, b = rng.standard_normal((5, K)).astype(np.float32), rng.standard_normal((K, 3)).astype(np.float32)
    own = [cuda.from_host(matrix).flat for matrix in (a, b)]
    truth = a.astype(np.float64) @ b.astype(np.float64)
    out = cuda.from_host(np.ones((5, 3), np.float32))
    product(*own, out.flat, 5, 3, K, added=True, precision=precision)
    least, most = ROUNDINGS[precision]
    error = np.abs(np.asarray(out) - 1 - truth).max() / np.sqrt(K)
    assert error < most
    assert error >= least or not SIMULATED  # cuBLAS may round, and need not
    monkeypatch.setattr(cublas, "library", lambda: None)
    product(*own, out.flat, 5, 3, K, precision=precision)
    assert np.abs(np.asarray(out) - truth).max() / np.sqrt(K) < ROUNDINGS["highest"][1]


def test_sum_of_rows():
    x = np.random.default_rng(0).standard_normal((7, 3))
    out, scratch = cuda.empty((3,), x.dtype), cuda.empty((64 * 3,), x.dtype)
    sum_rows(cuda.from_host(x).flat, out.flat, 7, 3, scratch.flat)
    np.testing.assert_allclose(np.asarray(out), x.sum(0), rtol=1e-13)


def test_handles_of_threads_that_have_ended_are_taken_again(monkeypatch):
    class Counting(ColumnMajor):
        def cublasCreate_v2(self, handle):
            made.append(handle)
            return 0

    made, both = [], Barrier(2)
    monkeypatch.setattr(cublas, "library", Counting)
    monkeypatch.setattr(cublas, "_here", local())
    monkeypatch.setattr(cublas, "_idle", {})

    def use(meet):
        cublas._handle(0), cublas._handle(0)
        meet()

    for meet, together in ((lambda: None, 1), (lambda: None, 1), (both.wait, 2)):
        threads = [Thread(target=use, args=(meet,)) for _ in range(together)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    assert len(made) == 2
