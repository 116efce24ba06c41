"""The tiled products against NumPy, for sizes that leave odd tiles, and the bits of a row whatever its neighbours."""

import numpy as np
import pytest
from kernel_tools import DTYPES, bits, filled, panels_of

from fastgate.kernels.arithmetic import fma
from fastgate.kernels.cpu import features
from fastgate.kernels.cpu.matmul import accumulate, project
from fastgate.kernels.cpu.simd import lanes_of, load, store, zero_of
from fastgate.kernels.jit import jit

ROWS = [1, 2, 3, 4, 5, 6, 7, 11, 12, 13]
VECTORS = [1, 2, 3, 4, 5, 9]


def lanes(dtype):
    return features.lanes(np.dtype(dtype))


def close(found, expected, depth):
    """The rounding of a sum of `depth` products of numbers up to 1, in any order."""
    tolerance = (depth + 2) * np.finfo(found.dtype).eps
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


def wide(*arrays):
    return (array.astype(np.longdouble) for array in arrays)


# -------------------------------------------------------------------------------------------------- project, accumulate


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("depth", [0, 1, 2, 17])
def test_project(dtype, depth):
    """Rows and columns beyond the product stay as they were."""
    for rows in ROWS:
        for vectors in VECTORS:
            M = vectors * lanes(dtype)
            x, W, bias = filled((rows + 3, depth), dtype, 1), filled((depth, M), dtype, 2), filled((1, M + 8), dtype, 3)
            out = np.full((rows + 4, M + 8), 7, dtype)
            project(out, 2, x, 3, panels_of(W), bias, rows)
            wide_x, wide_W, wide_bias = wide(x, W, bias)
            close(out[2 : 2 + rows, :M], wide_bias[:, :M] + wide_x[3:] @ wide_W, depth)
            assert (out[:2] == 7).all()
            assert (out[2 + rows :] == 7).all()
            assert (out[:, M:] == 7).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_accumulate(dtype):
    """Every offset differs from zero and from the others."""
    width = lanes(dtype)
    for rows in ROWS:
        for vectors in VECTORS:
            M, depth, k, panel = vectors * width, 7, 3, 2
            a = filled((rows + 3, depth + 5), dtype, 1)
            W = filled((depth + 4, M + 3 * width), dtype, 2)
            start = filled((rows + 5, M + 2 * width), dtype, 3)
            out = start.copy()
            accumulate(out, 4, width, a, 2, 1, panels_of(W), panel, vectors, k, depth, rows)
            wide_a, wide_W, expected = wide(a, W, start)
            product = wide_a[2 : 2 + rows, 1 : 1 + depth] @ wide_W[k : k + depth, panel * width : panel * width + M]
            expected[4 : 4 + rows, width : width + M] += product
            close(out, expected, depth)
            untouched = np.ones(out.shape, bool)
            untouched[4 : 4 + rows, width : width + M] = False
            np.testing.assert_array_equal(out[untouched], start[untouched])


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_rows_and_no_depth(dtype):
    width = lanes(dtype)
    out = np.full((2, width), 7, dtype)
    a, W = filled((2, 3), dtype, 1), filled((3, width), dtype, 2)
    accumulate(out, 0, 0, a, 0, 0, panels_of(W), 0, 1, 0, 3, 0)
    accumulate(out, 0, 0, a, 0, 0, panels_of(W), 0, 1, 0, 0, 2)
    assert (out == 7).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_of_a_row_do_not_depend_on_the_rows_beside_it(dtype):
    """The promise that a batch may be split anywhere."""
    rows, depth, M = 13, 37, 5 * lanes(dtype)
    x, W, bias = filled((rows, depth), dtype, 1), filled((depth, M), dtype, 2), filled((1, M), dtype, 3)
    panels, start = panels_of(W), filled((rows, M), dtype, 4)
    together, summed = np.empty((rows, M), dtype), start.copy()
    project(together, 0, x, 0, panels, bias, rows)
    accumulate(summed, 0, 0, x, 0, 0, panels, 0, 5, 0, depth, rows)
    for size in (1, 2, 3, 4, 5, 6, 7):
        apart, summed_apart = np.empty((rows, M), dtype), start.copy()
        for row in range(0, rows, size):
            count = min(size, rows - row)
            project(apart, row, x, row, panels, bias, count)
            accumulate(summed_apart, row, 0, x, row, 0, panels, 0, 5, 0, depth, count)
        np.testing.assert_array_equal(bits(apart), bits(together))
        np.testing.assert_array_equal(bits(summed_apart), bits(summed))


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_of_a_column_do_not_depend_on_the_columns_beside_it(dtype):
    rows, depth, width = 7, 19, lanes(dtype)
    x, W = filled((rows, depth), dtype, 1), filled((depth, 9 * width), dtype, 2)
    together, apart = np.zeros((rows, 9 * width), dtype), np.zeros((rows, 9 * width), dtype)
    accumulate(together, 0, 0, x, 0, 0, panels_of(W), 0, 9, 0, depth, rows)
    for vector in range(9):
        accumulate(apart, 0, vector * width, x, 0, 0, panels_of(W), vector, 1, 0, depth, rows)
    np.testing.assert_array_equal(bits(apart), bits(together))


@jit
def chain(x, W, start, out):
    """x (P,K)  W (K,M)  start (P,M) -> out (P,M)"""
    for n in range(out.shape[0]):
        for u in range(0, out.shape[1], lanes_of(out)):
            total = zero_of(out)
            for k in range(W.shape[0]):
                total = fma(load(W, k, u), x[n, k], total)
            store(out, n, u, load(start, n, u) + total)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_product_is_one_chain_in_the_order_of_k(dtype):
    """Of multiply-adds from zero on, added to the start at its end; never split into partial sums."""
    rows, depth, M = 7, 301, 5 * lanes(dtype)
    x, W, start = filled((rows, depth), dtype, 1), filled((depth, M), dtype, 2), filled((rows, M), dtype, 3)
    found, expected = start.copy(), np.empty_like(start)
    accumulate(found, 0, 0, x, 0, 0, panels_of(W), 0, 5, 0, depth, rows)
    chain(x, W, start, expected)
    np.testing.assert_array_equal(bits(found), bits(expected))
