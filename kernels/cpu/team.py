"""Threads: a pool for kernels that release the interpreter lock.

Tasks never wait for one another, so that any number of callers can share a pool of any size. The caller works too, and
takes back what no thread has started. Python's own pool is not used because Ctrl-C in the middle of handing over would
leave its locks taken for ever; a SimpleQueue has none.
"""

import os
from contextlib import contextmanager, suppress
from functools import partial
from queue import SimpleQueue
from threading import Thread, local
from time import sleep

import numpy as np

from fastgate.kernels.cpu.turns import wait_for

_threads = 1
_pool = None
_alone = local()  # `here` is set in a thread whose calls must not start others


def available_cpus():
    """CPUs this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_threads(count):
    global _threads, _pool
    _threads, old, _pool = count, _pool, None
    if old is not None:
        old.end()


def get_threads():
    return 1 if hasattr(_alone, "here") else _threads


@contextmanager
def one_thread():
    """Inside, what this thread calls runs in it alone: of a program that has parallel tasks of its own."""
    is_inner = hasattr(_alone, "here")
    _alone.here = True
    try:
        yield
    finally:
        if not is_inner:
            del _alone.here


class Pool:
    """Threads that call whatever is put into `queue`; they end with the process."""

    def __init__(self, count):
        self.queue, self.count = SimpleQueue(), count
        for n in range(count):
            with suppress(RuntimeError):  # the interpreter is shutting down: callers then do without
                Thread(target=self._work, name=f"fastgate_{n}", daemon=True).start()

    def _work(self):
        while (call := self.queue.get()) is not None:
            call()

    def end(self):
        for _ in range(self.count):
            self.queue.put(None)


def run(tasks):
    """Call every task, on as many threads as there are; an exception of any, or of the caller while it waits (Ctrl-C),
    is raised after all that have begun have ended: none of them writes into the caller's arrays any more.
    """
    global _pool
    threads, pool = _threads, _pool
    if threads == 1 or len(tasks) == 1:
        for task in tasks:
            task()
        return
    if pool is None:
        pool = _pool = Pool(threads - 1)
    work = _Work(tasks)
    try:
        for number in range(1, len(tasks)):
            pool.queue.put(lambda number=number: work.take(number, by_thread=True))
        for number in (0, *range(len(tasks) - 1, 0, -1)):
            if not work.take(number):
                work.wait(number)
    except BaseException:
        work.give_up()
        raise
    for error in work.errors:
        if error is not None:
            raise error


def run_kernel(kernel, calls):
    """`run` for a kernel and the arguments of each call."""
    if len(calls) == 1:
        kernel(*calls[0])
    else:
        run([partial(kernel, *arguments) for arguments in calls])


class _Work:
    """Tasks that are done once each, by whoever comes first."""

    def __init__(self, tasks):
        self.tasks, self.errors = tasks, [None] * len(tasks)
        self.tickets = [[number] for number in range(len(tasks))]  # who pops it does the task
        self.begun = [False] * len(tasks)  # by a thread of the pool, perhaps
        self.ended = np.zeros((len(tasks), 8), np.int64)  # a cache line to each
        self.news = SimpleQueue()

    def take(self, number, by_thread=False):
        """Do it unless somebody else does; whether it was done."""
        if by_thread:
            self.begun[number] = True
        try:
            self.tickets[number].pop()
        except IndexError:
            if by_thread:
                self.begun[number] = False
            return False
        try:
            self.tasks[number]()
        except BaseException as error:
            self.errors[number] = error
        self.ended[number, 0] = 1
        self.news.put(number)
        return True

    def wait(self, number):
        if not wait_for(self.ended, number):  # being woken takes as long as handing over
            while not self.ended[number, 0]:
                self.news.get()

    def give_up(self):
        """Nothing begins any more, and all that have begun have ended. Only the caller can be interrupted, and is."""
        finished = False
        while not finished:
            with suppress(BaseException):
                for ticket in self.tickets:
                    ticket.clear()
                while any(begun and not self.ended[n, 0] for n, begun in enumerate(self.begun)):
                    sleep(0.001)
                finished = True


def warm_up():
    """Compile what `run` needs with more than one thread."""
    assert wait_for(np.ones((1, 8), np.int64), 0)


def _after_fork():
    global _pool
    _pool = None  # its threads exist in the parent only


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
