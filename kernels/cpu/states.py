"""Initial and final states: from the user's sequences to ranks (`schedule.py`) and back.

Only units [unit, unit + units), the slice of one worker; a cell without c has no rows of it.
"""

from fastgate.kernels.cpu.simd import lanes_of
from fastgate.kernels.jit import jit


@jit
def enter_state(start, place, order, first, last, unit, units, state):
    """start (N,B,H)[place, order[first:last]] -> state (S,Hp)[first:last], with zeros up to whole vectors"""
    if start.shape[0] == 0:
        return
    end = unit + units
    padded = -(-end // lanes_of(state)) * lanes_of(state)
    for rank in range(first, last):
        row = order[rank]
        for u in range(unit, end):
            state[rank, u] = start[place, row, u]
        for u in range(end, padded):
            state[rank, u] = 0.0


@jit
def leave_state(state, at, rank, order, unit, units, end, place):
    """state (S,Hp)[at] -> end (N,B,H)[place, order[rank]]"""
    if end.shape[0] == 0:
        return
    row = order[rank]
    for u in range(unit, unit + units):
        end[place, row, u] = state[at, u]
