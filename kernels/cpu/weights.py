"""Weights as the kernels read them: packed once for every version of the parameters.

`size` is that of h: H, unless the cell is projected.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from fastgate.kernels import memory
from fastgate.kernels.cpu.features import lanes, padded
from fastgate.kernels.cpu.layout import gate_columns, group_columns, slice_columns, slice_units
from fastgate.kernels.cpu.pack import add_bias, pack_backward, pack_forward


class Weights(NamedTuple):
    """Packed for the forward direction, in slices of units one behind the other."""

    bias: np.ndarray  # (slices,M)
    W_ih: np.ndarray  # panels (slices*N,I,lanes)
    W_hh: np.ndarray  # panels (slices*N,H,lanes), those of W_hr behind them


class BackwardWeights(NamedTuple):
    W_ih: np.ndarray  # panels (Ip/lanes,gates*H,lanes)
    W_hh: np.ndarray  # panels (Hp/lanes,gates*H,lanes), those of W_hr behind them; rows of peepholes at their end


class Extras(NamedTuple):
    """What only some cells have, or None."""

    peepholes: np.ndarray | None = None  # (K,H), in the order of the cell's `peephole_gates`
    W_hr: np.ndarray | None = None  # (size,H): h = W_hr m


NO_EXTRAS = Extras()


def pack_weights(cell, W_ih, W_hh, b_ih, b_hh, extras=NO_EXTRAS, slices=1):
    """W_ih (G*H,I)  W_hh (G*H,size)  b_ih, b_hh (G*H), zero where there is none"""
    dtype, H = W_hh.dtype, W_hh.shape[0] // len(cell.recurrent_gates)
    width = lanes(dtype)
    input_rows, recurrent_rows = (
        slice_columns(groups, H, width, slices) for groups in (cell.input_groups, cell.recurrent_groups)
    )
    bias = memory.zeros((slices, sum(group_widths(cell, H, dtype, slices))), dtype)
    input_starts, recurrent_starts = bias_starts(cell.group_sizes, cell.recurrent_group, H, width, slices)
    add_bias(b_ih, input_rows, input_starts, bias)
    if not cell.has_single_bias:
        add_bias(b_hh, recurrent_rows, recurrent_starts, bias)
    if extras.peepholes is not None:
        _, starts = bias_starts(cell.group_sizes, len(cell.input_groups), H, width, slices)
        groups = (tuple(range(len(cell.peephole_gates))),)
        add_bias(extras.peepholes.reshape(-1), slice_columns(groups, H, width, slices), starts, bias)
    recurrent = forward_panels(W_hh, recurrent_rows)
    if extras.W_hr is not None:
        recurrent = _together(recurrent, forward_panels(extras.W_hr, group_columns(((0,),), len(extras.W_hr), width)))
    return Weights(bias, forward_panels(W_ih, input_rows), recurrent)


def _together(first, second):
    """Panels (M,K,lanes) and (N,L,lanes) -> (M+N,max(K,L),lanes), one behind the other"""
    depth = max(first.shape[1], second.shape[1])
    whole = memory.zeros((len(first) + len(second), depth, first.shape[2]), first.dtype)
    whole[: len(first), : first.shape[1]] = first
    whole[len(first) :, : second.shape[1]] = second
    return whole


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


def pack_backward_weights(cell, W_ih, W_hh, extras=NO_EXTRAS):
    """W_ih (G*H,I)  W_hh (G*H,size)"""
    H = W_hh.shape[0] // len(cell.recurrent_gates)
    inputs, rows = backward_panels(W_ih, gate_columns(cell.input_gates, H)), gate_columns(cell.recurrent_gates, H)
    if extras.W_hr is None:
        return BackwardWeights(inputs, _with_peepholes(W_hh, rows, extras))
    own = _with_peepholes(extras.W_hr, np.arange(len(extras.W_hr)), extras)
    return BackwardWeights(inputs, _together(backward_panels(W_hh, rows), own))


def _with_peepholes(W, rows, extras):
    """W (N,H)[rows], and the peepholes behind it -> panels"""
    if extras.peepholes is None:
        return backward_panels(W, rows)
    added = np.arange(len(W), len(W) + len(extras.peepholes))
    return backward_panels(np.concatenate([W, extras.peepholes]), np.concatenate([rows, added]))
