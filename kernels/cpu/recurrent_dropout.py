"""Recurrent dropout: what enters the product with W_hh is multiplied by a mask that stays the same at all steps.

As in Keras, and as Gal and Ghahramani 2016 call untied, each gate has a mask of its own, and h is itself again wherever
else it is used. A masked cell keeps what it has multiplied, one operand for each gate, behind its other gates in the
tape: the product reads it there, and so do the weights' gradients. Masks (B,gates*Sp) have a row for each rank and are
padded as h is.
"""

from typing import NamedTuple

import numpy as np

from fastgate.kernels import memory
from fastgate.kernels.cpu.dropout import philox
from fastgate.kernels.cpu.features import padded
from fastgate.kernels.cpu.matmul import accumulate
from fastgate.kernels.cpu.simd import lanes_of, load, store, zero_of
from fastgate.kernels.cpu.tail import store_some
from fastgate.kernels.jit import jit
from fastgate.kernels.masks import first_row, key_words, scale_of, threshold_of

FIRST_PLACE = 1 << 31  # of Philox' last counter; below are those of dropout between layers


class RecurrentDropout(NamedTuple):
    """What tells the masks of one direction of one layer."""

    probability: float
    key: tuple[np.uint64, np.uint64]
    place: int = FIRST_PLACE

    @classmethod
    def of(cls, probability, seed, key):
        return cls(probability, key_words(seed, key))

    def at(self, layer, direction):
        return self._replace(place=FIRST_PLACE + 2 * layer + direction)


class Masks:
    """Those of a direction, ready for a schedule: scratch memory, empty unless the cell is masked."""

    def __init__(self, cell, order, size, dtype):
        """order (B,), whose sequence each rank is: the masks of all parts of one are the same"""
        self.order, self.gates = order, len(cell.recurrent_gates) if cell.is_masked else 0
        self.array = memory.scratch("masks", (order.size, self.gates * padded(size, dtype)), dtype)

    def draw(self, dropout):
        """Of a `RecurrentDropout`; of None none."""
        if dropout is not None:
            threshold, scale = threshold_of(dropout.probability), scale_of(dropout.probability, self.array.dtype)
            draw_masks(
                self.array,
                self.order + first_row(),
                self.gates,
                np.uint64(dropout.place),
                *dropout.key,
                threshold,
                scale,
            )


@jit
def draw_masks(masks, order, gates, place, key0, key1, threshold, scale):
    """order (B,) -> masks (B,gates*Sp), 0 where the random number is below `threshold`, else `scale`"""
    columns = masks.shape[1] // gates
    for rank in range(order.size):
        for gate in range(gates):
            for block in range(0, columns, 4):
                number, sequence = np.uint64(block // 4), np.uint64(order[rank])
                random = philox(number, sequence, np.uint64(gate), place, key0, key1)
                for j in range(min(4, columns - block)):
                    masks[rank, gate * columns + block + j] = scale if random[j] >= threshold else 0.0


@jit(inline=True)
def multiply_masked(
    a, at, column, source, source_at, source_column, masks, first, W_hh, gate, count, units, size, rows, gates, row,
    operands,
):  # fmt: skip
    """source (Q,L)[source_at:, source_column:]  masks (B,K*Sp)[first:]  W_hh panels of each gate by itself
    -> a (A,M)[at:, column:] += masked source @ W of `count` gates from `gate` on  gates (P,G)[row:, operands:]
    """
    width = lanes_of(a)
    panels, columns = -(-units // width), -(-size // width) * width
    for i in range(count):
        own, mask = operands + (gate + i) * units, (gate + i) * columns
        for n in range(rows):
            for u in range(0, size, width):
                masked = load(source, source_at + n, source_column + u) * load(masks, first + n, mask + u)
                store_some(gates, row + n, own + u, masked, size - u)
        accumulate(
            a, at, column + i * panels * width, gates, row, own, W_hh, (gate + i) * panels, panels, 0, size, rows
        )


@jit(inline=True)
def add_masked(dh, first, masks, da, row, column, W_hh, count, units, size, rows, d_operand):
    """da (P,N)[row:, column:] of `count` gates  masks (B,K*Sp)[first:]  W_hh panels
    -> dh (B,Sp)[first:] += mask * (da @ W), gate by gate

    scratch d_operand (B,Hp)[first:]
    """
    width = lanes_of(dh)
    panels = -(-size // width)
    for gate in range(count):
        for n in range(rows):
            for u in range(0, size, width):
                store(d_operand, first + n, u, zero_of(dh))
        accumulate(d_operand, first, 0, da, row, column + gate * units, W_hh, 0, panels, gate * units, units, rows)
        for n in range(rows):
            for u in range(0, size, width):
                d_masked = load(d_operand, first + n, u) * load(masks, first + n, gate * panels * width + u)
                store(dh, first + n, u, load(dh, first + n, u) + d_masked)
