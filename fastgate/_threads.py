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
    """The number of threads fastgate may use.

    Until it is set, that of the environment: `FASTGATE_NUM_THREADS`, or else Numba's own `NUMBA_NUM_THREADS`, which
    joblib sets in its workers so that all of them together use each core once; or the CPUs of this process.
    """
    return int(cpu.team.get_threads())


VARIABLES = "FASTGATE_NUM_THREADS", "NUMBA_NUM_THREADS"


def _start() -> None:
    for name in VARIABLES:
        if wanted := os.environ.get(name, ""):
            if not wanted.isdecimal() or int(wanted) < 1:
                raise _errors.wrong_value(name, "an integer of at least 1", wanted)
            set_num_threads(int(wanted))
            return
    set_num_threads(cpu.team.available_cpus())


_start()
