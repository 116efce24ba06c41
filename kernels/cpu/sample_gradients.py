"""The gradients of weights and biases for each sequence of a batch by itself.

The way back through time is that of the batch; only then sums are made over one sequence's rows after the other.
"""

from itertools import pairwise

import numpy as np

from fastgate.kernels import memory
from fastgate.kernels.cpu import team
from fastgate.kernels.cpu.extra_gradients import ExtraGradients
from fastgate.kernels.cpu.features import padded
from fastgate.kernels.cpu.gradients import CHUNK, input_gradient
from fastgate.kernels.cpu.sharing import cuts_of, threads_for
from fastgate.kernels.cpu.weight_gradients import RowGradients, Sums

NO_ROWS = np.empty(0, np.int64)


class OneSequence:
    """What sums over rows ask of a schedule, for those of one of the user's; the input's gradient is left out."""

    def __init__(self, schedule, owner):
        self.canonical = schedule.rows_of_owners[owner]
        self.canonical_before = schedule.before[self.canonical]
        self.rows, self.order = self.canonical.size, schedule.order
        self.chunks = np.append(np.arange(0, self.rows, CHUNK), self.rows)
        self._schedule = schedule

    def user_rows(self, direction):
        return NO_ROWS

    def canonical_user_rows(self, direction):
        return self._schedule.user_rows(direction)[self.canonical]


class SampleGradients:
    """Of one direction and a schedule."""

    def __init__(self, cell, direction, schedule, *sizes):
        self.cell, self.direction, self.schedule, self.sizes = cell, direction, schedule, sizes

    def __call__(self, weights, trace, x, da, dx, targets):
        """x (_,_,I)  da (P,N) -> dx (_,_,I), added to in the second direction  targets, of each sequence"""
        I, H, size, dtype = self.sizes
        work = da.size * (I + size)
        self._input_gradient(weights, da, dx, threads_for(da.size * I))
        cuts = cuts_of(len(targets), threads_for(work))

        def some(first, last):  # in a thread that has scratch memory of its own
            for owner in range(first, last):
                one = OneSequence(self.schedule, owner)
                sums = Sums(*targets[owner])
                RowGradients(self.cell, self.direction, one, I, H, size, dtype)(
                    weights, trace, x, da, dx, sums.arrays, True
                )
                if self.cell.is_projected or self.cell.peephole_gates:
                    ExtraGradients(self.cell, one, H, size, dtype)(trace, da, sums.extras, True)
                sums.finish()

        team.run_kernel(some, list(pairwise(cuts)))

    def _input_gradient(self, weights, da, dx, workers):
        I, dtype = self.sizes[0], self.sizes[-1]
        index, rows = self.schedule.user_rows(self.direction), min(CHUNK, max(1, self.schedule.rows))
        scratch = [memory.scratch(("d_rows", n), (rows, padded(I, dtype)), dtype) for n in range(workers)]
        common = weights.W_ih, da, index
        dx_all = dx.reshape(-1, I)
        calls = [(*common, own, dx_all, self.direction == 1, n, workers) for n, own in enumerate(scratch)]
        team.run_kernel(input_gradient, calls)
