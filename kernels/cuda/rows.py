"""Between the arrays of a user, (B,T,F) or (T,B,F), and those inside, where step s of all sequences lies together.

Where only some steps run, a table says which row of the user's each one is; inside, what does not run is zero.
"""

from copy import copy
from functools import cached_property, lru_cache

import numpy as np
from numba import cuda

from fastgate.kernels.cuda import arrays, driver, streams
from fastgate.kernels.cuda.foreign import with_three_axes
from fastgate.kernels.jit import equation


class Schedule:
    """Which steps of which sequences run: all T of B sequences, or `counts` (B,) of each at its `times` (P,).

    Sequences may be pieces of the user's: `owners` (B,) says of which. Those of one kind are equal, and compare so.
    """

    is_piece = False  # of the steps of another one
    recurs = False  # nothing that is made for a schedule is worth keeping: kernels are found by sizes

    def __init__(self, B, T, batch_first, counts=None, times=None, owners=None):
        self.batch_first, self.users_batch, self.users_steps = batch_first, B, T
        self.is_ragged, self.table, self.batch, self.steps = counts is not None, None, B, T
        self._owners, self._given = owners, (counts, times, owners)
        if counts is None:
            self.lengths = _all_steps(B, T, driver.device_number())
            return
        self.batch, self.steps = counts.size, int(counts.max(initial=0))
        self.lengths = arrays.from_host(counts.astype(np.int32))
        sequence = np.repeat(np.arange(counts.size), counts)
        step = np.arange(sequence.size) - np.repeat(np.cumsum(counts) - counts, counts)
        time, owner = step if times is None else times, sequence if owners is None else owners[sequence]
        table = np.full((self.steps, self.batch), -1, np.int64)
        table[step, sequence] = owner * T + time if batch_first else time * B + owner
        self.table, self._rows = arrays.from_host(table), table[table >= 0]

    def piece(self, first, last):
        """Of these steps alone, for kernels: the user's rows are not known of it."""
        own = copy(self)
        own.is_piece, own.steps, own.lengths = True, last - first, self.lengths - first  # compared to, so they may be
        return own  # below 0 or above the number of steps

    def with_time_first(self):
        """The same, where the user's rows are those of (T,B,F)."""
        return Schedule(self.users_batch, self.users_steps, False, *self._given) if self.batch_first else self

    @property
    def is_cut(self):
        """Whether sequences are pieces of the user's."""
        return self._owners is not None

    @cached_property
    def sequences(self):
        """(batch,), of which of the user's each sequence is"""
        if self._owners is None:
            return _in_order(self.batch, driver.device_number())
        return arrays.from_host(self._owners.astype(np.int64))

    def valid(self, leading):
        """Which steps run, as the user's array is laid out; None for all."""
        if self.table is None:
            return None
        found = np.zeros(leading, bool)
        found.reshape(-1)[self._rows] = True
        return found

    @property
    def is_identity(self):
        """Whether the user's rows lie as those inside."""
        return self.table is None and (not self.batch_first or self.users_batch == 1 or self.users_steps == 1)


def take(x, schedule, dtype):
    """x, a `Memory` of any strides, the user's (B,T,F), (T,B,F) or (T,F) -> rows inside (S,B,F)

    It is x itself where that is the same.
    """
    shape = schedule.steps, schedule.batch, tuple(x.shape)[-1]
    if schedule.is_identity and x.dtype == dtype and x.flags["C_CONTIGUOUS"]:
        return arrays.DeviceArray(x.reshape(x.size), shape)
    out = arrays.empty(shape, dtype)
    if out.size:
        streams.over(_take, out.size, with_three_axes(x), *where(schedule), out.flat, shape[-1])
    return out


def put(rows, schedule, out):
    """rows inside (S,B,F) -> out, flat, of the user's rows (B*T,F), zero where nothing runs"""
    width = rows.shape[2]
    if schedule.is_ragged:
        out[...] = 0
    if rows.size:
        streams.over(_put, rows.size, rows.flat, *where(schedule), out.flat, width, rows.size)


@lru_cache
def _all_steps(B, T, device):
    return arrays.from_host(np.full(B, T, np.int32))


@lru_cache
def _in_order(B, device):
    return arrays.from_host(np.arange(B))


@lru_cache
def _no_table(device):
    return arrays.from_host(np.zeros(1, np.int64))


def where(schedule):
    """What `users_row` needs: a table and its size; 0 where rows are only permuted, or -1 where not even that."""
    if schedule.table is not None:
        return schedule.table.flat, schedule.table.size, schedule.users_batch, schedule.users_steps
    return (
        _no_table(driver.device_number()).flat,
        -1 if schedule.is_identity else 0,
        schedule.users_batch,
        schedule.users_steps,
    )


@equation
def users_row(row, table, count, B, T):
    """table (S*B) -> the user's row of a row inside, below 0 for none"""
    if count > 0:
        return table[row]
    if count == 0:
        return (row % B) * T + row // B
    return row


@cuda.jit
def _take(x, table, count, B, T, out, width):
    """x (M,N,F), of the user's rows  table (S*B) -> out (S*B*F)"""
    inner = x.shape[1]
    for i in range(cuda.grid(1), out.shape[0], cuda.gridsize(1)):
        row, f = users_row(i // width, table, count, B, T), i % width
        if row < 0:
            out[i] = 0
        else:
            out[i] = x[row // inner, row % inner, f]


@cuda.jit
def _put(rows, table, count, B, T, out, width, size):
    """rows (S*B*F)  table (S*B) -> out (B*T*F)"""
    for i in range(cuda.grid(1), size, cuda.gridsize(1)):
        row, f = users_row(i // width, table, count, B, T), i % width
        if row >= 0:
            out[row * width + f] = rows[i]
