"""The masks of recurrent dropout are those of the CPU, bit for bit."""

import numpy as np
import pytest

from fastgate.kernels import cpu, cuda
from fastgate.kernels.cpu.features import padded
from fastgate.kernels.cpu.recurrent_dropout import Masks
from fastgate.kernels.cuda.recurrent_dropout import draw_masks
from fastgate.kernels.masks import Part, part_of_batch

pytestmark = pytest.mark.usefixtures("device")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("owners", [None, np.array([2, 0, 2])])
def test_the_same_bits(owners, dtype):
    B, T, size, dtype = 3, 2, 5, np.dtype(dtype)
    cell, dropout = cpu.cell("gru", masked=True), cpu.RecurrentDropout.of(0.4, 7, 11).at(1, 1)
    counts = None if owners is None else np.array([T, 1, T])
    times = None if owners is None else np.array([0, 1, 0, 0, 1])
    schedule = cuda.Schedule(B, T, True, counts, times, owners)
    with part_of_batch(Part(first=4, count=B, total=8, time_first=False)):
        masks = Masks(cell, np.arange(B) if owners is None else owners, size, dtype)
        masks.draw(dropout)
        own = draw_masks(dropout, schedule, 3, size, dtype)
    expected = masks.array.reshape(B, 3, padded(size, dtype))[..., :size]
    assert 0 < (expected == 0).mean() < 1
    np.testing.assert_array_equal(own.copy_to_host(), expected)
