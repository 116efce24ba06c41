"""Threads, what they wait for, and who runs next."""

import random
from collections import Counter
from typing import NamedTuple

import numpy as np
from greenlet import greenlet

from simulator.binding import bind
from simulator.namespace import Namespace

LANES = 32


class Deadlock(RuntimeError):
    """Threads wait for what never comes."""


class Divergence(RuntimeError):
    """Threads that should meet at one place are at different ones."""


class Index(NamedTuple):
    x: int
    y: int
    z: int

    @classmethod
    def of(cls, sizes):
        sizes = (sizes,) if np.isscalar(sizes) else tuple(sizes)
        return cls(*(*sizes, 1, 1)[:3])

    def all(self):
        return [Index(x, y, z) for z in range(self.z) for y in range(self.y) for x in range(self.x)]


class Group:
    """Threads that meet: those of a warp, a block, a cluster or the grid."""

    def __init__(self):
        self.members = 0
        self.waiting = []
        self.place = None

    def meet(self, thread, place, value=None):
        """Wait for all others; what each has brought, by lane."""
        if self.waiting and self.place != place:
            raise Divergence(f"{self.place} and {place} at once, in block {tuple(thread.block.index)}")
        self.place, thread.brought = place, value
        self.waiting.append(thread)
        thread.wait(self)
        return thread.found


class Brought(dict):
    """By lane; and what was made of it, once for all."""

    made = None


class Block:
    def __init__(self, index, number, shared, cluster):
        self.index, self.number, self.cluster = index, number, cluster
        self.group = Group()
        self.shared = np.full(shared, 0xFF, np.uint8)  # NaN in every float type
        cluster.blocks.append(self)


class Cluster:
    def __init__(self):
        self.blocks = []
        self.group = Group()


class Thread(greenlet):
    def __init__(self, run, block, index, lane, warp):
        super().__init__(run)
        self.block, self.index, self.lane, self.warp = block, index, lane, warp
        self.groups = (warp, block.group, block.cluster.group)
        self.brought = self.found = None
        for group in self.groups:
            group.members += 1

    def wait(self, group):
        self.parent.switch(group)


def launch(function, grid, threads, arguments, *, shared=0, cluster=1, seed=0, most_waits=300_000):
    """Run the plain function of a kernel on NumPy arrays, in place; returns how often threads waited in vain."""
    grid, size = Index.of(grid), Index.of(threads)
    bound = bind(function, Namespace(grid, size))
    everyone = []
    for number, index in enumerate(grid.all()):
        if number % cluster == 0:
            its_cluster = Cluster()
        block = Block(index, number % cluster, shared, its_cluster)
        for n, its_index in enumerate(size.all()):
            if n % LANES == 0:
                warp = Group()
            everyone.append(Thread(lambda: bound(*arguments), block, its_index, n % LANES, warp))
    with np.errstate(over="ignore", invalid="ignore"):
        return _run(everyone, random.Random(seed), most_waits)


def _run(everyone, chance, most_waits):
    ready, waits = list(everyone), 0
    chance.shuffle(ready)

    def let_go(group):
        if group.waiting and len(group.waiting) == group.members:
            found = Brought((thread.lane, thread.brought) for thread in group.waiting)
            for thread in group.waiting:
                thread.found = found
            chance.shuffle(group.waiting)
            ready.extend(group.waiting)
            group.waiting = []

    while ready:
        # Mostly depth first, so that some threads run far ahead of others.
        n = chance.randrange(len(ready)) if chance.random() < 0.3 else -1
        ready[n], ready[-1] = ready[-1], ready[n]
        thread = ready.pop()
        group = thread.switch()
        if thread.dead:
            for group in thread.groups:
                group.members -= 1
                let_go(group)
        elif group is None:  # it will look again
            waits += 1
            ready.insert(0, thread)
            if waits > most_waits:
                raise Deadlock("memory that nobody writes is waited for")
        else:
            let_go(group)
    stuck = Counter(tuple(thread.block.index) for thread in everyone if not thread.dead)
    if stuck:
        raise Deadlock(f"threads wait at a barrier, by block: {dict(stuck)}")
    return waits
