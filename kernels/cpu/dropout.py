"""Dropout masks that are a pure function of their place: no generator, no state, the same for any split of a batch."""

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


@jit
def _scale_rows(rows, inner, batch_first, layer, key0, key1, threshold, scale):
    """rows (B*T,N), T or B of them to each `inner` -> zero where the random number is below `threshold`, else scaled"""
    for p in range(rows.shape[0]):
        sequence, time = (p // inner, p % inner) if batch_first else (p % inner, p // inner)
        for block in range(0, rows.shape[1], 4):
            random = philox(np.uint64(block // 4), np.uint64(sequence), np.uint64(time), layer, key0, key1)
            for j in range(min(4, rows.shape[1] - block)):
                rows[p, block + j] = rows[p, block + j] * scale if random[j] >= threshold else 0.0


def dropout(rows, schedule, probability, seed, key, layer):
    """Drop entries of rows (B*T,N) in place with `probability` and scale the others by 1 / (1 - probability)."""
    inner = schedule.steps if schedule.batch_first else schedule.batch
    threshold, scale = threshold_of(probability), scale_of(probability, rows.dtype)
    _scale_rows(rows, inner, schedule.batch_first, np.uint64(layer), *key_words(seed, key), threshold, scale)


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
