"""The gradients of one direction's input, weights and biases, stretch of time after stretch, on many workers."""

from functools import lru_cache, partial

import numpy as np

from fastgate.kernels import memory
from fastgate.kernels.cpu import team
from fastgate.kernels.cpu.features import TILE_ROWS, lanes, padded
from fastgate.kernels.cpu.gradients import BLOCK, CHUNK, all_gradients
from fastgate.kernels.cpu.sharing import threads_for


def add_gradients(cell, weights, trace, x, da, direction, schedule, dx, sums, *, begin):
    """x (R,I)  da (P,N) -> dx (R,I), added to in the second direction  sums, from zero with `begin`

    sums: of W_ih (G*H,Ip)  W_hh (G*H,Hp)  b_ih, b_hh (G*H)
    """
    dtype, I, H = da.dtype, x.shape[1], da.shape[1] // len(cell.da_places)
    workers = threads_for(schedule.rows * da.shape[1] * (2 * I + H))
    W_ih, W_hh, b_ih, b_hh = sums

    def task(worker):
        own = partial(_own_scratch, dtype, worker)
        return partial(
            all_gradients,
            weights.W_ih, schedule.user_rows(direction), dx,
            own("d_rows", min(CHUNK, max(1, schedule.rows)), padded(I, dtype)), direction == 1,
            x, schedule.canonical_user_rows(direction), trace.h, trace.gates, schedule.canonical_before,
            da, schedule.canonical, schedule.chunks, places_of(cell.da_places, H), H,
            W_ih, W_hh, b_ih[None], b_hh[None],
            *(panels_for(size, dtype, worker, name) for size, name in ((I, "x"), (H, "h"))),
            panels_for(0 if cell.has_slices else H, dtype, worker, "reset"),
            block_for(dtype, worker), begin, worker, workers,
        )  # fmt: skip

    team.run([task(worker) for worker in range(workers)])


@lru_cache
def places_of(places, H):
    """What `weight_gradients` calls places, from a cell's."""
    rows = [
        (
            place.input_gate,
            place.recurrent_gate,
            place.reset_place * H if place.reset_place else -1,
            place.has_bias and place.recurrent_gate >= 0,
        )
        for place in places
    ]
    return np.array(rows, np.int64)


def sum_for(gradient, purpose):
    """Where a gradient (N,K) is summed up: in itself, unless its rows are no whole vectors."""
    columns = padded(gradient.shape[1], gradient.dtype)
    if columns == gradient.shape[1]:
        return gradient
    return memory.scratch(purpose, (gradient.shape[0], columns), gradient.dtype)


def take_sum(gradient, total):
    """total (N,Kp) -> gradient (N,K), unless that is where it was summed up"""
    if total is not gradient:
        gradient[...] = total[:, : gradient.shape[1]]


def _own_scratch(dtype, worker, purpose, *shape):
    return memory.scratch((purpose, worker), shape, dtype)


def panels_for(columns, dtype, worker, name):
    shape = padded(columns, dtype) // lanes(dtype), CHUNK * lanes(dtype)
    return _own_scratch(dtype, worker, f"{name}_panels", *shape)


def block_for(dtype, worker):
    return _own_scratch(dtype, worker, "da_block", BLOCK, CHUNK * TILE_ROWS)
