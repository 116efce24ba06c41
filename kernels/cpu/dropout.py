"""Dropout masks that are a pure function of their place: no generator, no state, the same for any split of a batch."""

from math import prod

import numpy as np

from fastgate.kernels.jit import jit
from fastgate.kernels.masks import current_part, first_row, key_words, scale_of, threshold_of
from fastgate.kernels.masks import philox as philox_equation

philox = jit(philox_equation)


@jit
def _scale_rows(rows, inner, at, layer, key0, key1, threshold, scale):
    """rows (P,N), at (6,) -> zero where the random number is below `threshold`, else scaled

    Each row has two of the counters, which `at` tells: where they begin, and how they count groups of `inner` rows and
    rows in a group.
    """
    for p in range(rows.shape[0]):
        group, own = p // inner, p % inner
        sequence, time = at[0] + at[1] * group + at[2] * own, at[3] + at[4] * group + at[5] * own
        for block in range(0, rows.shape[1], 4):
            random = philox(np.uint64(block // 4), np.uint64(sequence), np.uint64(time), layer, key0, key1)
            for j in range(min(4, rows.shape[1] - block)):
                rows[p, block + j] = rows[p, block + j] * scale if random[j] >= threshold else 0.0


def dropout(rows, schedule, probability, seed, key, layer):
    """Drop entries of rows (B*T,N) in place with `probability` and scale the others by 1 / (1 - probability)."""
    first = first_row()
    if schedule.batch_first:
        _drop(rows, schedule.steps, (first, 1, 0, 0, 0, 1), probability, seed, key, layer)
    else:
        _drop(rows, schedule.batch, (first, 0, 1, 0, 1, 0), probability, seed, key, layer)


def dropout_of_entries(y, probability, seed, key, layer):
    """The same for y (P,N) of any more axes, whose rows are counted one after the other, whatever the axes mean."""
    rows, part = y.reshape(-1, y.shape[-1] if y.ndim else 1), current_part()
    if part is None:
        inner, at = 1, (0, 0, 0, 0, 1, 0)
    elif part.time_first and y.ndim > 2:
        each = prod(y.shape[2:-1])
        inner, at = part.count * each, (0, 0, 0, part.first * each, part.total * each, 1)
    else:
        inner, at = 1, (0, 0, 0, part.first * (len(rows) // part.count), 1, 0)
    _drop(rows, inner, at, probability, seed, key, layer)


def _drop(rows, inner, at, probability, seed, key, layer):
    threshold, scale = threshold_of(probability), scale_of(probability, rows.dtype)
    _scale_rows(rows, inner, np.array(at, np.int64), np.uint64(layer), *key_words(seed, key), threshold, scale)
