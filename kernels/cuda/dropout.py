"""Dropout: the masks of the CPU, as each is a function of its place alone."""

import numpy as np
from numba import cuda

from fastgate.kernels.cuda import streams
from fastgate.kernels.cuda.rows import users_row, where
from fastgate.kernels.jit import equation
from fastgate.kernels.masks import current_part, first_row, key_words, philox, scale_of, threshold_of


def dropout(rows, schedule, probability, seed, key, layer):
    """Drop entries of rows inside, (S*B,F), in place with `probability`; scale the others by 1 / (1 - probability)."""
    width, threshold, scale = rows.shape[-1], threshold_of(probability), scale_of(probability, rows.dtype)
    blocks = -(-width // 4)
    words = np.uint64(layer), *key_words(seed, key), threshold, scale
    place = *where(schedule), first_row(), int(schedule.batch_first)
    streams.over(_scale, rows.size // max(1, width) * blocks, rows.flat, rows.size, width, blocks, *place, *words)


def dropout_of_entries(y, probability, seed, key, layer):
    """The same for y (P,N) of any more axes, whose rows are counted one after the other, whatever the axes mean."""
    if current_part() is not None:
        raise NotImplementedError("a part of a larger batch")
    width, threshold, scale = y.shape[-1] if y.ndim else 1, threshold_of(probability), scale_of(probability, y.dtype)
    blocks = -(-width // 4)
    words = np.uint64(layer), *key_words(seed, key), threshold, scale
    streams.over(_scale_entries, y.size // max(1, width) * blocks, y.flat, y.size, width, blocks, *words)


@equation
def _drop(rows, row, block, width, sequence, time, layer, key0, key1, threshold, scale):
    """Four entries of a row, or those that are left of it."""
    random = philox(np.uint64(block), np.uint64(sequence), np.uint64(time), layer, key0, key1)
    for j in range(min(4, width - 4 * block)):
        at = row * width + 4 * block + j
        rows[at] *= scale
        if random[j] < threshold:
            rows[at] = 0


@cuda.jit
def _scale_entries(rows, size, width, blocks, layer, key0, key1, threshold, scale):
    """rows (P*F) -> rows, zero where the random number is below `threshold`, else scaled"""
    for i in range(cuda.grid(1), size // width * blocks, cuda.gridsize(1)):
        row = i // blocks
        _drop(rows, row, i % blocks, width, 0, row, layer, key0, key1, threshold, scale)


@cuda.jit
def _scale(rows, size, width, blocks, table, count, B, T, first, batch_first, layer, key0, key1, threshold, scale):
    """rows (S*B*F)  table (S*B) -> rows, zero where the random number is below `threshold`, else scaled"""
    for i in range(cuda.grid(1), size // width * blocks, cuda.gridsize(1)):
        row = i // blocks
        own = users_row(row, table, count, B, T)
        if own >= 0:
            sequence, time = (own // T, own % T) if batch_first else (own % B, own // B)
            _drop(rows, row, i % blocks, width, first + sequence, time, layer, key0, key1, threshold, scale)
