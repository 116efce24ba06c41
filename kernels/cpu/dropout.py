"""Dropout masks that are a pure function of their place: no generator, no state, the same for any split of a batch."""

from contextlib import contextmanager
from math import prod
from threading import local
from typing import NamedTuple

import numpy as np

from fastgate.kernels.jit import jit

# Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
MULTIPLIER_0, MULTIPLIER_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
WEYL_0, WEYL_1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
LOW, SHIFT = np.uint64(0xFFFFFFFF), np.uint64(32)


@jit
def philox(c0, c1, c2, c3, key0, key1):
    """Counter of four and key of two 32-bit numbers -> four random 32-bit numbers, all held in uint64."""
    for _ in range(10):
        product0, product1 = MULTIPLIER_0 * c0, MULTIPLIER_1 * c2
        c0, c1, c2, c3 = (
            (product1 >> SHIFT) ^ c1 ^ key0,
            product1 & LOW,
            (product0 >> SHIFT) ^ c3 ^ key1,
            product0 & LOW,
        )
        key0, key1 = (key0 + WEYL_0) & LOW, (key1 + WEYL_1) & LOW
    return c0, c1, c2, c3


class Part(NamedTuple):
    """Rows of a larger batch: they have the masks that they have there."""

    first: int
    count: int
    total: int
    time_first: bool


_here = local()


@contextmanager
def part_of_batch(part):
    """Inside, what this thread computes is such a part; None: a batch of its own."""
    _here.part = part
    try:
        yield
    finally:
        _here.part = None


def current_part():
    return getattr(_here, "part", None)


def first_row():
    """Where in that batch the rows begin."""
    part = current_part()
    return 0 if part is None else part.first


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


def key_words(seed, key):
    """Philox' key, two numbers."""
    first, second = np.random.SeedSequence(seed, spawn_key=(key,)).generate_state(2, np.uint32).astype(np.uint64)
    return first, second


def threshold_of(probability):
    """Below which a random number drops its entry."""
    return np.uint64(round(probability * 2**32))


def scale_of(probability, dtype):
    """Of what is not dropped."""
    return dtype.type(1.0 / (1.0 - probability))
