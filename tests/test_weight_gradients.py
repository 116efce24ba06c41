"""Sums over the rows of a batch against NumPy, and their bits however the work is cut."""

import numpy as np
import pytest
from kernel_tools import DTYPES, bits, filled

from fastgate.kernels.cpu.cells import CELLS, Place
from fastgate.kernels.cpu.features import padded
from fastgate.kernels.cpu.gradients import CHUNK, weight_gradients
from fastgate.kernels.cpu.weight_gradients import block_for, panels_for, places_of

CELL_PLACES = {name: CELLS[name].da_places for name in ("lstm", "gru", "gru_reset_before", "rnn_tanh")}


class Sums:
    """Operands of one call, drawn at random, with rows picked by indices."""

    def __init__(self, places, dtype, I, H, count):
        rng = np.random.default_rng(0)
        self.dtype, self.I, self.H, self.places = np.dtype(dtype), I, H, places
        self.x, self.h = filled((40, I), dtype, 1), filled((50, padded(H, self.dtype)), dtype, 2)
        self.gates, self.da = filled((60, 4 * H), dtype, 3), filled((60, len(places) * H), dtype, 4)
        self.x_rows, self.h_rows, self.rows = (rng.integers(0, n, count) for n in (40, 50, 60))

    def compute(self, cuts, workers=1, totals=None):
        dtype, I, H, gates = self.dtype, self.I, self.H, max(max(place[:2]) for place in self.places) + 1
        if begin := totals is None:
            shapes = [(gates * H, padded(I, dtype)), (gates * H, padded(H, dtype)), (1, gates * H), (1, gates * H)]
            totals = [np.full(shape, np.nan, dtype) for shape in shapes]
        for worker in range(workers):
            scratch = [panels_for(size, dtype, worker, name) for name, size in (("x", I), ("h", H), ("operand", H))]
            for array in (*scratch, block := block_for(dtype, worker)):
                array[...] = np.nan
            weight_gradients(
                self.x, self.x_rows, self.h, self.gates, self.h_rows, self.da, self.rows, np.array(cuts),
                places_of(self.places, H), H, *totals, *scratch, block, begin, worker, workers,
            )  # fmt: skip
        return totals

    def expected(self):
        """By the meaning of the places: dW_ih, dW_hh, db_ih, db_hh, NaN where nothing belongs."""
        I, H, gates = self.I, self.H, max(max(place[:2]) for place in self.places) + 1
        found = [
            np.zeros(shape, np.longdouble) for shape in ((gates * H, I), (gates * H, H), (1, gates * H), (1, gates * H))
        ]
        x, h, kept, da = (a.astype(np.longdouble) for a in (self.x, self.h[:, :H], self.gates, self.da))
        for number, place in enumerate(self.places):
            d = da[self.rows, number * H : (number + 1) * H]
            own = slice(place.input_gate * H, (place.input_gate + 1) * H)
            if place.input_gate >= 0:
                found[0][own], found[2][0, own] = d.T @ x[self.x_rows], d.sum(0)
            own = slice(place.recurrent_gate * H, (place.recurrent_gate + 1) * H)
            if place.recurrent_gate >= 0:
                at = place.operand_place * H
                found[1][own] = d.T @ (kept[self.rows, at : at + H] if at >= 0 else h[self.h_rows])
            if place.recurrent_gate >= 0 and place.has_bias:
                found[3][0, own] = d.sum(0)
        return found


def cuts_of(count):
    return [*range(0, count, CHUNK), count]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELL_PLACES)
@pytest.mark.parametrize("count", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 3])
def test_against_numpy(dtype, cell, count):
    for I, H in ((1, 1), (3, 5), (16, 7), (33, 16), (17, 53)):
        sums = Sums(CELL_PLACES[cell], dtype, I, H, count)
        found = sums.compute(cuts_of(count))
        for ours, theirs in zip((found[0][:, :I], found[1][:, :H], *found[2:]), sums.expected(), strict=True):
            tolerance = (count + 2) * np.finfo(dtype).eps * max(1.0, np.abs(theirs).max(initial=0))
            np.testing.assert_allclose(ours, theirs.astype(dtype), rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELL_PLACES)
def test_bits_do_not_depend_on_the_number_of_workers(dtype, cell):
    sums = Sums(CELL_PLACES[cell], dtype, 9, 21, 300)
    together = sums.compute(cuts_of(300))
    for workers in (2, 3, 7, 100):
        for ours, theirs in zip(sums.compute(cuts_of(300), workers), together, strict=True):
            np.testing.assert_array_equal(bits(ours), bits(theirs))


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_do_not_depend_on_the_stretches(dtype):
    """A stretch at a time, the last one first: what recomputing back-propagation does."""
    sums = Sums((Place(0, 0),), dtype, 9, 21, 30)
    together, apart = sums.compute([0, 8, 16, 24, 30]), None
    for cuts in ([16, 24, 30], [8, 16], [0, 8]):
        apart = sums.compute(cuts, totals=apart)
    whole = sums.compute([0, 30])
    for ours, theirs in zip(apart, together, strict=True):
        np.testing.assert_array_equal(bits(ours), bits(theirs))
    assert not np.array_equal(bits(whole[0]), bits(together[0]))  # the test could fail
