"""How many threads fastgate uses."""

import os

from fastgate import _errors
from fastgate._arrays import as_size
from fastgate._kernels import cpu


def set_num_threads(count: int) -> None:
    """Use up to `count` threads, from now on and in the whole process; results do not depend on it.

    Raises
    ------
    TypeError, ValueError
        If `count` is no integer, or below 1.
    """
    cpu.team.set_threads(as_size("count", count))


def get_num_threads() -> int:
    """The number of threads fastgate may use: `FASTGATE_NUM_THREADS` or the CPUs of this process, until it is set."""
    return int(cpu.team.get_threads())


def _start() -> None:
    wanted = os.environ.get("FASTGATE_NUM_THREADS", "")
    if not wanted:
        set_num_threads(cpu.team.available_cpus())
        return
    if not wanted.isdecimal() or int(wanted) < 1:
        raise _errors.wrong_value("FASTGATE_NUM_THREADS", "an integer of at least 1", wanted)
    set_num_threads(int(wanted))


_start()
