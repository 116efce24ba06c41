"""Workers that share every step of one sequence: each computes a slice of the units, and nobody starts step s + 1
before all slices of step s are done.

Worker w takes slice w, whose weights are in its cache. A slice that nobody has begun is taken by whoever is idle: so
the sequence ends even if no other worker ever comes, none needs to be there from the beginning, and a worker that the
system has put to sleep holds up the others only in the middle of a slice.

`turns` (1+2*slices,8) is one int64 to each cache line: slices done so far; of each slice the next step to be
begun; of each worker whether it is awake.
"""

import numpy as np

from fastgate.kernels.cpu.atomic import atomic_add, atomic_advance, atomic_load, atomic_store, give_way, pause
from fastgate.kernels.jit import jit

PATIENCE = 200  # rounds of waiting before another worker's slice is taken: some microseconds
SPINS = 2000  # rounds of waiting before the core is offered to others
ROUNDS, LOOKS = 200, 50  # of `wait_for`: some hundred microseconds


NONE = np.zeros((0, 8), np.int64)  # where nothing is shared


def new_turns(slices):
    """For one call: a worker of a call that is over must never take a turn in another."""
    return np.zeros((1 + 2 * slices, 8), np.int64) if slices > 1 else NONE


@jit
def next_turn(turns, worker, slices, steps):
    """turns (1+2*slices,8) -> (step, slice) begun by this call, after waiting for it; step == steps: all are done"""
    waited = 0
    while True:
        step = atomic_load(turns, 0) // slices
        if step >= steps:
            return steps, worker
        if worker < slices and atomic_advance(turns, 1 + worker, step):
            atomic_store(turns, 1 + slices + worker, 1)
            return step, worker
        for other in range(slices):
            awake = atomic_load(turns, 1 + slices + other)
            if (waited > PATIENCE or not awake) and atomic_advance(turns, 1 + other, step):
                atomic_store(turns, 1 + slices + other, 0)
                return step, other
        waited += 1
        if waited > SPINS:
            give_way()
        else:
            pause()


@jit
def end_turn(turns):
    """turns (1+2*slices,8): the slice that `next_turn` gave is done"""
    atomic_add(turns, 0, 1)


@jit
def wait_for(flags, row):
    """flags (N,8) -> whether flags[row, 0] was set within ROUNDS, offering the core to others after each"""
    for _ in range(ROUNDS):
        for _ in range(LOOKS):
            if atomic_load(flags, row) != 0:
                return True
            pause()
        give_way()
    return False
