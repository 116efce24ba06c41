"""A simulator of kernels whose blocks wait for one another, which Numba's own cannot run: it runs one block at a time.

Every thread of the grid is a greenlet, and all of them are alive at once. A thread runs until it waits (at a barrier,
for its warp, for memory that others write); then chance, by a seed, says who runs next. What a missing barrier leaves
unwritten is NaN, since shared memory and registers start so; threads that meet at different places, or that wait for
ever, are errors.

Not simulated: the order in which writes become visible, types, registers, time. `offline.py` sees some of these.
"""

from simulator.scheduler import Deadlock, Divergence, launch

__all__ = ["Deadlock", "Divergence", "launch"]
