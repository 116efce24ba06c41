"""The gradients of one direction's input, weights and biases, stretch of time after stretch, on many workers."""

from functools import lru_cache

import numpy as np

from fastgate.kernels import memory
from fastgate.kernels.cpu import team
from fastgate.kernels.cpu.features import lanes, padded
from fastgate.kernels.cpu.gradients import BLOCK, CHUNK, FIXED, all_gradients
from fastgate.kernels.cpu.sharing import threads_for
from fastgate.kernels.cpu.weights import NO_EXTRAS


class RowGradients:
    """Of one direction, ready for a schedule: the input's gradient, and the sums that those of the weights are."""

    def __init__(self, cell, direction, schedule, input_size, H, size, dtype):
        places = places_of(cell.da_places, H)
        workers = threads_for(schedule.rows * len(places) * H * (2 * input_size + size))
        rows = min(CHUNK, max(1, schedule.rows)), padded(input_size, dtype)
        orders = schedule.canonical_user_rows(direction), schedule.canonical_before, schedule.canonical
        common = schedule.user_rows(direction), *orders, schedule.chunks, places
        has_operands = any(place.operand_place >= 0 for place in cell.da_places)
        self.kept = []  # what the words refer to
        for worker in range(workers):
            panels = [
                panels_for(columns, dtype, worker, name)
                for columns, name in ((input_size, "x"), (size, "h"), (H if has_operands else 0, "operand"))
            ]
            d_rows = memory.scratch(("d_rows", worker), rows, dtype)
            scratch = d_rows, *panels, block_for(dtype, worker)
            self.kept.append((*common, *scratch, direction == 1, H, worker, workers))
        self.fixed = FIXED.words(self.kept)

    def __call__(self, weights, trace, x, da, dx, sums, begin):
        """x (_,_,I)  da (P,N) -> dx (_,_,I), added to in the second direction  sums, from zero with `begin`

        sums: of W_ih (G*H,Ip)  W_hh (G*H,Hp)  b_ih, b_hh (1,G*H)
        """
        operands = x, dx, trace.h, trace.gates, da, weights.W_ih, *sums, self.fixed
        if len(self.kept) == 1:
            all_gradients(*operands, 0, begin)
        else:
            team.run_kernel(all_gradients, [(*operands, worker, begin) for worker in range(len(self.kept))])


@lru_cache
def places_of(places, H):
    """What `weight_gradients` calls places, from a cell's."""
    rows = [
        (
            place.input_gate,
            place.recurrent_gate,
            place.operand_place * H if place.operand_place >= 0 else -1,
            place.has_bias and place.recurrent_gate >= 0,
        )
        for place in places
    ]
    return np.array(rows, np.int64)


class Sums:
    """Where the gradients of W_ih (G*H,I), W_hh (G*H,H), b_ih and b_hh (1,G*H), and `Extras`, are summed up: in
    themselves, unless their rows are no whole vectors.
    """

    def __init__(self, gradients, extras=NO_EXTRAS):
        W_ih, W_hh, b_ih, b_hh = gradients
        self.arrays = _padded(W_ih, "W_ih_sum"), _padded(W_hh, "W_hh_sum"), b_ih, b_hh
        self.pairs, self.extras = list(zip((W_ih, W_hh), self.arrays, strict=False)), extras
        if extras.W_hr is not None:
            self.extras = extras._replace(W_hr=_padded(extras.W_hr, "W_hr_sum"))
            self.pairs.append((extras.W_hr, self.extras.W_hr))

    def finish(self):
        """When everything has been added."""
        for gradient, total in self.pairs:
            if total is not gradient:
                gradient[...] = total[:, : gradient.shape[1]]


def _padded(gradient, purpose):
    rows, columns = gradient.shape
    whole = padded(columns, gradient.dtype)
    return gradient if whole == columns else memory.scratch(purpose, (rows, whole), gradient.dtype)


def panels_for(columns, dtype, worker, name):
    shape = padded(columns, dtype) // lanes(dtype), CHUNK * lanes(dtype)
    return memory.scratch((f"{name}_panels", worker), shape, dtype)


def block_for(dtype, worker):
    return memory.scratch(("da_block", worker), (CHUNK, BLOCK), dtype)
