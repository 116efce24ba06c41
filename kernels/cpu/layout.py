"""Where the gates of a cell lie, in PyTorch's numbering of them: which row of a weight belongs to which column.

A *group* is a run of gates that are computed by one product: their units lie one behind the other and only the group's
end is padded to whole vectors. `columns` are lists of rows of PyTorch's weight (G*H,K), with -1 for padding.
"""

from functools import lru_cache

import numpy as np


def group_columns(groups, H, width, first=0, units=None):
    """Rows of the weight for every column of `groups`; of each gate the units [first, first + units) of H."""
    units = H if units is None else units
    columns = []
    for gates in groups:
        columns += [gate * H + np.arange(first, first + units) for gate in gates]
        columns.append(np.full(-(len(gates) * units) % width, -1))
    return np.concatenate(columns)


@lru_cache
def slice_columns(groups, H, width, slices):
    """(slices, columns) the same for units cut into slices of whole vectors, all as long as the first one."""
    units = slice_units(H, width, slices)
    rows = [group_columns(groups, H, width, first, min(units, H - first)) for first in range(0, H, units)]
    return np.stack([np.pad(row, (0, rows[0].size - row.size), constant_values=-1) for row in rows])


def slice_units(H, width, slices):
    """Units of every slice but the last, which may have fewer."""
    blocks = -(-H // width)
    return -(-blocks // slices) * width


@lru_cache
def gate_columns(gates, H):
    """The columns of gates without any padding, as tapes keep them."""
    return group_columns((gates,), H, 1)
