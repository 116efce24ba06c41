"""Weights as the kernels read them: packed once for every version of the parameters."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from fastgate.kernels import memory
from fastgate.kernels.cpu.features import lanes, padded
from fastgate.kernels.cpu.layout import gate_columns, slice_columns, slice_units
from fastgate.kernels.cpu.pack import add_bias, pack_backward, pack_forward


class Weights(NamedTuple):
    """Packed for the forward direction, in slices of units one behind the other."""

    bias: np.ndarray  # (slices,M)
    W_ih: np.ndarray  # panels (slices*N,I,lanes)
    W_hh: np.ndarray  # panels (slices*N,H,lanes)


class BackwardWeights(NamedTuple):
    W_ih: np.ndarray  # panels (Ip/lanes,gates*H,lanes)
    W_hh: np.ndarray  # panels (Hp/lanes,gates*H,lanes)


def pack_weights(cell, W_ih, W_hh, b_ih, b_hh, slices=1):
    """W_ih (G*H,I)  W_hh (G*H,H)  b_ih, b_hh (G*H), zero where there is none"""
    dtype, H = W_hh.dtype, W_hh.shape[1]
    width = lanes(dtype)
    input_rows, recurrent_rows = (
        slice_columns(groups, H, width, slices) for groups in (cell.input_groups, cell.recurrent_groups)
    )
    bias = memory.zeros((slices, sum(group_widths(cell, H, dtype, slices))), dtype)
    input_starts, recurrent_starts = bias_starts(cell.group_sizes, cell.recurrent_group, H, width, slices)
    add_bias(b_ih, input_rows, input_starts, bias)
    if not cell.has_single_bias:
        add_bias(b_hh, recurrent_rows, recurrent_starts, bias)
    return Weights(bias, forward_panels(W_ih, input_rows), forward_panels(W_hh, recurrent_rows))


def group_widths(cell, H, dtype, slices):
    """Columns of each group of pre-activations in the first slice, the longest."""
    units = min(H, slice_units(H, lanes(dtype), slices))
    return [padded(size * units, dtype) for size in cell.group_sizes]


@lru_cache
def bias_starts(group_sizes, recurrent_group, H, width, slices):
    """The columns where the input's and the recurrent product begin, in each slice."""
    units = slice_units(H, width, slices)
    starts = [
        sum(-(-size * min(units, H - first) // width) * width for size in group_sizes[:recurrent_group])
        for first in range(0, H, units)
    ]
    return np.zeros(len(starts), np.int64), np.array(starts)


def forward_panels(W, rows):
    """W (N,K)  rows, whole vectors of them -> panels to compute a @ W[rows].T"""
    width = lanes(W.dtype)
    panels = memory.empty((rows.size // width, W.shape[1], width), W.dtype)
    pack_forward(W, rows.reshape(-1), panels)
    return panels


def backward_panels(W, rows):
    """W (N,K)  rows -> panels to compute da @ W[rows]"""
    width = lanes(W.dtype)
    panels = memory.empty((padded(W.shape[1], W.dtype) // width, rows.size, width), W.dtype)
    pack_backward(W, rows, panels)
    return panels


def pack_backward_weights(cell, W_ih, W_hh):
    """W_ih (G*H,I)  W_hh (G*H,H)"""
    H = W_hh.shape[1]
    return BackwardWeights(
        backward_panels(W_ih, gate_columns(cell.input_gates, H)),
        backward_panels(W_hh, gate_columns(cell.recurrent_gates, H)),
    )
