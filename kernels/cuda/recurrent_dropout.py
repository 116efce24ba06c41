"""Recurrent dropout: the masks of the CPU, as each is a function of its place alone."""

import numpy as np
from numba import cuda

from fastgate.kernels.cuda import arrays, streams
from fastgate.kernels.masks import first_row, philox, scale_of, threshold_of


def draw_masks(dropout, schedule, gates, size, dtype):
    """masks (B,G,size), scratch memory, of the CPU's `RecurrentDropout`; empty of None"""
    masks = arrays.scratch("masks", (0 if dropout is None else schedule.batch, gates, size), dtype)
    if masks.size:
        blocks = -(-size // 4)
        threshold, scale = threshold_of(dropout.probability), scale_of(dropout.probability, masks.dtype)
        words = np.uint64(dropout.place), *dropout.key, threshold, scale
        place = schedule.sequences.flat, first_row(), gates, size, blocks
        streams.over(_draw, schedule.batch * gates * blocks, masks.flat, schedule.batch, *place, *words)
    return masks


@cuda.jit
def _draw(masks, B, owners, first, gates, size, blocks, place, key0, key1, threshold, scale):
    """owners (B) -> masks (B,G,N), 0 where the random number is below `threshold`, else `scale`"""
    for i in range(cuda.grid(1), B * gates * blocks, cuda.gridsize(1)):
        n, gate, block = i // (gates * blocks), i // blocks % gates, i % blocks
        random = philox(np.uint64(block), np.uint64(first + owners[n]), np.uint64(gate), place, key0, key1)
        for j in range(min(4, size - 4 * block)):
            at = (n * gates + gate) * size + 4 * block + j
            masks[at] = 0
            if random[j] >= threshold:
                masks[at] = scale


def masked(x, masks, gate):
    """x (T,B,N)  masks (B,G,N) -> (T,B,N), x by the mask of a gate, scratch memory"""
    out, (B, gates, size) = arrays.scratch("masked", x.shape, x.dtype), masks.shape
    streams.over(_multiply, out.size, x.flat, masks.flat, out.flat, out.size, B, gates, gate, size)
    return out


@cuda.jit
def _multiply(x, masks, out, count, B, gates, gate, size):
    """x (T,B,N)  masks (B,G,N) -> out (T,B,N)"""
    for i in range(cuda.grid(1), count, cuda.gridsize(1)):
        out[i] = x[i] * masks[(i // size % B * gates + gate) * size + i % size]
