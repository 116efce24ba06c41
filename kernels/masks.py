"""What dropout on any device has in common: random numbers that are a pure function of a counter and a key."""

from contextlib import contextmanager
from threading import local
from typing import NamedTuple

import numpy as np

from fastgate.kernels.jit import equation

# Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
MULTIPLIER_0, MULTIPLIER_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
WEYL_0, WEYL_1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
LOW, SHIFT = np.uint64(0xFFFFFFFF), np.uint64(32)


@equation
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
