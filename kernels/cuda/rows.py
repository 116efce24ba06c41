"""Between the arrays of a user, (B,T,F) or (T,B,F), and those inside, where step s of all sequences lies together.

Where only some steps run, a table says which row of the user's each one is; inside, what does not run is zero.
"""

import numpy as np
from numba import cuda

from fastgate.kernels.cuda import arrays, streams


class Schedule:
    """Which steps of which sequences run: all T of B sequences, or `counts` (B,) of each at its `times` (P,).

    Sequences may be pieces of the user's: `owners` (B,) says of which. Those of one kind are equal, and compare so.
    """

    recurs = False  # nothing that is made for a schedule is worth keeping: kernels are found by sizes

    def __init__(self, B, T, batch_first, counts=None, times=None, owners=None):
        self.batch_first, self.users_batch, self.users_steps = batch_first, B, T
        self.is_ragged, self.lengths, self.table = counts is not None, None, None
        self.batch, self.steps = B, T
        if counts is None:
            return
        self.batch = counts.size
        if times is None and owners is None:  # T stays: rows beyond lengths are there, and do not run
            times_of = None
        else:
            self.steps, times_of = int(counts.max(initial=0)), times
        self.lengths = arrays.from_host(counts.astype(np.int32))
        sequence = np.repeat(np.arange(counts.size), counts)
        step = np.arange(sequence.size) - np.repeat(np.cumsum(counts) - counts, counts)
        time = step if times_of is None else times_of
        owner = sequence if owners is None else owners[sequence]
        table = np.full((self.steps, self.batch), -1, np.int64)
        table[step, sequence] = owner * T + time if batch_first else time * B + owner
        self.table = arrays.from_host(table)
        self.places = arrays.from_host(np.stack([owner, time]).astype(np.int64)) if table.size else None

    @property
    def is_identity(self):
        """Whether the user's rows lie as those inside."""
        return self.table is None and (not self.batch_first or self.users_batch == 1 or self.users_steps == 1)


def take(x, schedule, dtype):
    """x, an array of Numba's of two axes and any strides: the user's rows (B*T,F) -> rows inside (S,B,F)"""
    width = x.shape[1]
    out = arrays.empty((schedule.steps, schedule.batch, width), dtype)
    if out.size:
        table, count = _table(schedule)
        streams.over(_take, out.size, x, table, count, schedule.users_batch, schedule.users_steps, out.flat, width)
    return out


def put(rows, schedule, out):
    """rows inside (S,B,F) -> out, flat, of the user's rows (B*T,F), zero where nothing runs"""
    width = rows.shape[2]
    if schedule.is_ragged:
        out[...] = 0
    if rows.size:
        table, count = _table(schedule)
        args = rows.flat, table, count, schedule.users_batch, schedule.users_steps, out.flat, width, rows.size
        streams.over(_put, rows.size, *args)


def _table(schedule):
    """The table and its size; one that stands for any, and 0, where rows are only permuted, or -1 where not even that."""
    if schedule.table is not None:
        return schedule.table.flat, schedule.table.size
    return arrays.one_integer().flat, -1 if schedule.is_identity else 0


@cuda.jit
def _take(x, table, count, B, T, out, width):
    """x (B*T,F)  table (S*B) -> out (S*B*F)"""
    for i in range(cuda.grid(1), out.shape[0], cuda.gridsize(1)):
        row, f = i // width, i % width
        if count > 0:
            row = table[row]
        elif count == 0:
            row = (row % B) * T + row // B
        if row < 0:
            out[i] = 0
        else:
            out[i] = x[row, f]


@cuda.jit
def _put(rows, table, count, B, T, out, width, size):
    """rows (S*B*F)  table (S*B) -> out (B*T*F)"""
    for i in range(cuda.grid(1), size, cuda.gridsize(1)):
        row, f = i // width, i % width
        if count > 0:
            row = table[row]
        elif count == 0:
            row = (row % B) * T + row // B
        if row >= 0:
            out[row * width + f] = rows[i]
