"""The operations on SIMD vectors do what their Python bodies say, and let NaN pass."""

import math

import numpy as np
import pytest
from kernel_tools import DTYPES, bits

from fastgate.kernels import arithmetic
from fastgate.kernels.cpu import features
from fastgate.kernels.cpu.simd import lanes_of, load, store, zero_of
from fastgate.kernels.jit import jit

# The rows of a test array: operands that meet each other in every combination.
NUMBERS = [0.0, -0.0, 1.0, -1.0, 0.3, -2.5, 1e-30, 7.75, np.inf, -np.inf, np.nan]


def compiled(function, arguments):
    """A loop over rows x, y, z of one array; the number of arguments is part of the compiled text."""
    if arguments == 1:

        @jit(variant=function.__name__)
        def loop(rows, out):
            """rows (3,N) -> out (1,N)"""
            for u in range(0, rows.shape[1], lanes_of(rows)):
                store(out, 0, u, function(load(rows, 0, u)))
    elif arguments == 2:

        @jit(variant=function.__name__)
        def loop(rows, out):
            """rows (3,N) -> out (1,N)"""
            for u in range(0, rows.shape[1], lanes_of(rows)):
                store(out, 0, u, function(load(rows, 0, u), load(rows, 1, u)))
    else:

        @jit(variant=function.__name__)
        def loop(rows, out):
            """rows (3,N) -> out (1,N)"""
            for u in range(0, rows.shape[1], lanes_of(rows)):
                store(out, 0, u, function(load(rows, 0, u), load(rows, 1, u), load(rows, 2, u)))

    return loop


def run(function, arguments, columns, dtype):
    """The compiled results for `columns`, tuples of arguments."""
    rows = np.zeros((3, features.padded(len(columns), np.dtype(dtype))), dtype)
    rows[:arguments, : len(columns)] = np.array(columns, dtype).T
    out = np.full((1, rows.shape[1]), 99, dtype)
    compiled(function, arguments)(rows, out)
    return out[0, : len(columns)]


def meaning(function, columns, dtype):
    with np.errstate(invalid="ignore", over="ignore"):
        return np.array([function(*map(dtype, column)) for column in columns], dtype)


def combinations(arguments):
    grids = np.meshgrid(*[NUMBERS] * arguments)
    return list(zip(*(grid.reshape(-1).tolist() for grid in grids), strict=True))


def assert_same(found, expected):
    """Equal, NaN where NaN, and zeros of the same sign."""
    np.testing.assert_array_equal(found, expected)
    number = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(found[number]), np.signbit(expected[number]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["complement", "indicator", "magnitude"])
def test_of_one_number(name, dtype):
    function = getattr(arithmetic, name)
    columns = combinations(1)
    assert_same(run(function, 1, columns, dtype), meaning(function, columns, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_quotient(dtype):
    columns = combinations(2)
    found = run(arithmetic.quotient, 2, columns, dtype)
    with np.errstate(divide="ignore"):
        assert_same(found, meaning(arithmetic.quotient, columns, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_with_sign(dtype):
    columns = [pair for pair in combinations(2) if not math.isnan(pair[1])]  # the sign of NaN means nothing
    found = run(arithmetic.with_sign, 2, columns, dtype)
    assert_same(found, meaning(arithmetic.with_sign, columns, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_clip(dtype):
    """Also with the bounds as vectors; a NaN among the bounds has no meaning."""
    columns = [(x, low, high) for x, low, high in combinations(3) if low <= high]
    assert_same(run(arithmetic.clip, 3, columns, dtype), meaning(arithmetic.clip, columns, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_fma(dtype):
    """x * y + z with inf and NaN where they belong; of ordinary numbers to the rounding of one product."""
    columns = combinations(3)
    found, expected = run(arithmetic.fma, 3, columns, dtype), meaning(arithmetic.fma, columns, dtype)
    ordinary = np.isfinite(expected)
    np.testing.assert_array_equal(found[~ordinary], expected[~ordinary])
    scale = np.array([1 + abs(x * y) for x, y, _ in columns])[ordinary]
    assert np.max(np.abs(found[ordinary] - expected[ordinary]) / scale) <= np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES)
def test_fma_rounds_once_where_the_cpu_can_and_twice_elsewhere(dtype):
    """(1 + e)(1 - e) - 1 = -e**2, which a product rounded on its own loses."""
    e = float(np.finfo(dtype).eps)
    found = run(arithmetic.fma, 3, [(1 + e, 1 - e, -1.0)], dtype)[0]
    assert found == (-(e**2) if features.HAS_FMA else 0.0)


def test_power_of_two():
    columns = [(float(k),) for k in range(-1022, 1024)]
    found = run(arithmetic.power_of_two, 1, columns, np.float64)
    np.testing.assert_array_equal(found, np.ldexp(1.0, np.arange(-1022, 1024)))


@jit
def operators(rows, out, number):
    """rows (2,N)  number of their type -> out (8,N): all four operators between vectors and with a number"""
    for u in range(0, rows.shape[1], lanes_of(rows)):
        x, y = load(rows, 0, u), load(rows, 1, u)
        store(out, 0, u, x + y)
        store(out, 1, u, x - y)
        store(out, 2, u, x * y)
        store(out, 3, u, x / y)
        store(out, 4, u, number - x)
        store(out, 5, u, x / number)
        store(out, 6, u, number / x)
        store(out, 7, u, zero_of(rows) - x * number)


@pytest.mark.parametrize("dtype", DTYPES)
def test_operators_round_as_numpy_does(dtype):
    """Bits, so that no product is fused with a sum that follows it."""
    rng = np.random.default_rng(0)
    rows = rng.uniform(0.1, 3, (2, 64)).astype(dtype)
    out = np.empty((8, 64), dtype)
    number = dtype(0.7)
    operators(rows, out, number)
    x, y = rows
    expected = [x + y, x - y, x * y, x / y, number - x, x / number, number / x, dtype(0) - x * number]
    np.testing.assert_array_equal(bits(out), bits(np.array(expected)))


def test_python_bodies_take_complex_numbers_by_their_real_part():
    """What lets the tests of the equations differentiate by a complex step."""
    assert arithmetic.clip(-1 + 1j, 0.0, np.inf) == 0
    assert arithmetic.clip(2 + 1j, 0.0, np.inf) == 2 + 1j
    assert arithmetic.indicator(-1 + 5j) == 0
    assert arithmetic.indicator(1 - 5j) == 1
    assert arithmetic.complement(0.25 + 1j) == 0.75 - 1j
    assert arithmetic.fma(2.0, 3j, 1.0) == 1 + 6j
