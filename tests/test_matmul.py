"""The tiled products against NumPy, for sizes that leave odd tiles, and the bits of a row whatever its neighbours."""

import numpy as np
import pytest
from kernel_tools import DTYPES, bits, filled, packed, panels_of

from fastgate.kernels.arithmetic import fma
from fastgate.kernels.cpu import features
from fastgate.kernels.cpu.gradients import CHUNK, accumulate_outer, accumulate_rows
from fastgate.kernels.cpu.matmul import accumulate, project
from fastgate.kernels.cpu.pack import unpack_gradient
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


# ----------------------------------------------------------------------------------------------------- weight gradients


def outer(total, total_column, a, a_index, a_column, d, d_index, d_column, first, last):
    width = lanes(total.dtype)
    a_chunk = np.full((CHUNK, total.shape[0]), np.nan, total.dtype)
    d_chunk = np.full((features.TILE_COLUMNS, CHUNK * width), np.nan, total.dtype)
    accumulate_outer(total, total_column, a, a_index, a_column, d, d_index, d_column, first, last, a_chunk, d_chunk)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 3])
def test_accumulate_outer(dtype, count):
    """Rows picked by two indices, more than one chunk of them, and only the vectors [first, last)."""
    width = lanes(dtype)
    rng = np.random.default_rng(0)
    for K in (1, 2, 5, 6, 7, 13):
        vectors, first, last = 6, 1, 6
        a, d = filled((50, K + 3), dtype, 1), filled((40, (vectors + 1) * width), dtype, 2)
        a_index, d_index = rng.integers(0, 50, count), rng.integers(0, 40, count)
        start = filled((K, (vectors + 2) * width), dtype, 3)
        total = start.copy()
        outer(total, width, a, a_index, 2, d, d_index, width, first, last)
        wide_a, wide_d, expected = wide(a, d, start)
        columns = slice((1 + first) * width, (1 + last) * width)
        expected[:, columns] += wide_a[a_index, 2 : 2 + K].T @ wide_d[d_index][:, columns]
        close(total, expected, max(count, 1))
        total[:, columns] = start[:, columns]
        np.testing.assert_array_equal(total, start)


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_of_an_outer_product_do_not_depend_on_how_its_columns_are_shared_out(dtype):
    width = lanes(dtype)
    a, d, index = filled((300, 7), dtype, 1), filled((300, 9 * width), dtype, 2), np.arange(300)
    together, apart = np.zeros((7, 9 * width), dtype), np.zeros((7, 9 * width), dtype)
    outer(together, 0, a, index, 0, d, index, 0, 0, 9)
    for first, last in ((0, 4), (4, 5), (5, 8), (8, 9)):
        outer(apart, 0, a, index, 0, d, index, 0, first, last)
    np.testing.assert_array_equal(bits(apart), bits(together))


@pytest.mark.parametrize("dtype", DTYPES)
def test_accumulate_rows(dtype):
    d, index = filled((9, 2 * lanes(dtype)), dtype, 1), np.array([8, 0, 3, 3, 1])
    total = np.zeros((1, 2 * lanes(dtype)), dtype)
    accumulate_rows(total, d, index)
    close(total[0], d[index].astype(np.longdouble).sum(0), 5)


# -------------------------------------------------------------------------------------------------------------- packing

SIZES = [1, 2, 7, 8, 9, 15, 16, 17, 33]
ORDERS = [(0,), (0, 1, 2), (2, 0, 1), (3, 1, 0, 2)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_pack_forward(dtype, order):
    """Gates in the wanted order, each padded with zeros to whole vectors: (O*Hp) columns of weight.T."""
    for H in SIZES:
        K, Hp = 3, features.padded(H, np.dtype(dtype))
        weight = filled((len(order) * H, K), dtype, H)
        matrix = np.zeros((K, len(order), Hp), dtype)
        for place, gate in enumerate(order):
            matrix[:, place, :H] = weight[gate * H : (gate + 1) * H].T
        expected = panels_of(matrix.reshape(K, -1))
        np.testing.assert_array_equal(packed("forward", weight, H, order, expected.shape), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_pack_backward(dtype, order):
    """The same gates along the depth, and the columns of weight padded to whole vectors."""
    for H in SIZES:
        N, Hp = 2 * H + 1, features.padded(H, np.dtype(dtype))
        weight = filled((len(order) * H, N), dtype, H)
        matrix = np.zeros((len(order), Hp, features.padded(N, np.dtype(dtype))), dtype)
        for place, gate in enumerate(order):
            matrix[place, :H, :N] = weight[gate * H : (gate + 1) * H]
        expected = panels_of(matrix.reshape(len(order) * Hp, -1))
        np.testing.assert_array_equal(packed("backward", weight, H, order, expected.shape), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_unpack_gradient_undoes_the_packing(dtype, order):
    for H in SIZES:
        K, Hp, width = 3, features.padded(H, np.dtype(dtype)), lanes(dtype)
        weight = filled((len(order) * H, K), dtype, H)
        panels = packed("forward", weight, H, order, (len(order) * Hp // width, K, width))
        matrix = np.ascontiguousarray(panels.transpose(1, 0, 2).reshape(K, -1))
        gradient = np.full_like(weight, np.nan)
        unpack_gradient(matrix, H, np.array(order), gradient)
        np.testing.assert_array_equal(gradient, weight)
