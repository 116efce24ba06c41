"""Threads: a pool of Python threads for kernels that release the interpreter lock.

Tasks never wait for one another, so that any number of callers can share a pool of any size. The caller works too, and
takes back what no thread has started.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from fastgate.kernels.cpu.turns import wait_for

_threads = 1
_pool = None


def available_cpus():
    """CPUs this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_threads(count):
    global _threads, _pool
    _threads, old, _pool = count, _pool, None
    if old is not None:
        old.shutdown(wait=False)  # running tasks end as usual


def get_threads():
    return _threads


def run(tasks):
    """Call every task, on as many threads as there are; an exception of any is raised after all have ended."""
    global _pool
    threads, pool = _threads, _pool
    if threads == 1 or len(tasks) == 1:
        for task in tasks:
            task()
        return
    if pool is None:
        pool = _pool = ThreadPoolExecutor(threads - 1, thread_name_prefix="fastgate")
    errors, flags = [None] * len(tasks), np.zeros((len(tasks), 8), np.int64)  # a cache line to each

    def attempt(number):
        try:
            tasks[number]()
        except BaseException as error:
            errors[number] = error
        flags[number, 0] = 1

    waiting = [(number, _submit(pool, attempt, number)) for number in range(1, len(tasks))]
    attempt(0)
    for number, future in reversed(waiting):
        if future is None or future.cancel():
            attempt(number)
        elif not wait_for(flags, number):  # being woken takes as long as handing over
            future.result()
    for error in errors:
        if error is not None:
            raise error


def warm_up():
    """Compile what `run` needs with more than one thread."""
    assert wait_for(np.ones((1, 8), np.int64), 0)


def _submit(pool, *call):
    try:
        return pool.submit(*call)
    except RuntimeError:  # the pool was replaced, or the interpreter is shutting down
        return None


def _after_fork():
    global _pool
    _pool = None  # its threads exist in the parent only


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
