"""Where weights go when they are packed: groups of gates, slices of units, vectors of columns."""

import numpy as np
import pytest
from kernel_tools import DTYPES, filled, packed, panels_of

from fastgate.kernels.cpu import features
from fastgate.kernels.cpu.layout import gate_columns, group_columns, slice_columns, slice_units


def lanes(dtype):
    return features.lanes(np.dtype(dtype))


SIZES = [1, 2, 7, 8, 9, 15, 16, 17, 33]
GROUPS = [((0,),), ((0, 1, 2, 3),), ((2,), (0, 1)), ((0, 1), (2,))]


def meaning(groups, H, width, first, units):
    """Rows of the weight by plain loops."""
    rows = []
    for gates in groups:
        rows += [gate * H + unit for gate in gates for unit in range(first, first + units)]
        rows += [-1] * (-len(rows) % width)
    return rows


@pytest.mark.parametrize("groups", GROUPS, ids=str)
def test_columns_of_groups_and_slices(groups):
    """Every unit of every gate is in one column of one slice; slices are as long as the first."""
    for H in SIZES:
        for width in (1, 4, 16):
            assert group_columns(groups, H, width).tolist() == meaning(groups, H, width, 0, H)
            for slices in range(1, -(-H // width) + 1):
                units = slice_units(H, width, slices)
                found = slice_columns(groups, H, width, slices)
                assert units % width == 0
                assert len(found) <= slices
                for row, first in zip(found, range(0, H, units), strict=True):
                    own = meaning(groups, H, width, first, min(units, H - first))
                    assert row.tolist() == own + [-1] * (found.shape[1] - len(own))


def picked(weight, rows):
    return np.where(rows[:, None] >= 0, weight[rows], 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("groups", GROUPS, ids=str)
def test_pack_forward(dtype, groups):
    """weight.T with its columns picked, and zeros for padding."""
    for H in SIZES:
        weight, rows = filled((4 * H, 3), dtype, H), group_columns(groups, H, lanes(dtype))
        expected = panels_of(np.ascontiguousarray(picked(weight, rows).T))
        np.testing.assert_array_equal(packed("forward", weight, rows, expected.shape), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("gates", [(0,), (0, 1, 2), (2, 0, 1)], ids=str)
def test_pack_backward(dtype, gates):
    """Rows picked, and the columns of weight padded to whole vectors."""
    for H in SIZES:
        N = 2 * H + 1
        weight, rows = filled((3 * H, N), dtype, H), gate_columns(gates, H)
        matrix = np.zeros((rows.size, features.padded(N, np.dtype(dtype))), dtype)
        matrix[:, :N] = weight[rows]
        expected = panels_of(matrix)
        np.testing.assert_array_equal(packed("backward", weight, rows, expected.shape), expected)
