"""What this machine can do at most, measured: multiply-adds of one core or more, and reading from each cache."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np

from fastgate._arrays import Array
from fastgate._kernels import cpu, memory

KiB, MiB = 1024, 1024 * 1024
BLOCK, BLOCKS = 0.01, 5  # seconds, of which the best counts
USUAL = {"L1": 32 * KiB, "L2": 1 * MiB, "L3": 32 * MiB}  # where the system does not tell


def peak(dtype: str, threads: int) -> float:
    """Floating-point operations per second, a multiply-add counting two."""
    kind = np.dtype(dtype)
    chains, width = int(cpu.roof.CHAINS), int(cpu.features.lanes(kind))
    values = [np.full((chains + 2, width), 0.5, kind) for _ in range(threads)]  # v -> v / 2 + 1 / 2 stays in range
    seconds = _at_once([partial(cpu.roof.multiply_and_add, each) for each in values])
    return 2.0 * threads * int(cpu.roof.multiply_adds_per_round(kind)) / seconds


def bandwidths(threads: int) -> dict[str, float]:
    """Bytes per second that all threads together read from each level, each from its own memory."""
    return {level: _bandwidth(size // threads if level == "L3" else size, threads) for level, size in sizes().items()}


def sizes() -> dict[str, int]:
    """Bytes that lie in one level for sure: half a cache of a core's own, a quarter of a shared one."""
    caches = USUAL | _caches()
    return {"L1": caches["L1"] // 2, "L2": caches["L2"] // 2, "L3": caches["L3"] // 4, "memory": 4 * caches["L3"]}


def _bandwidth(size: int, threads: int) -> float:
    chains, width = int(cpu.roof.CHAINS), int(cpu.features.lanes(np.dtype(np.float32)))
    rows = max(size // (4 * width * chains), 1) * chains
    arrays = [(_ones(rows, width), _ones(chains, width)) for _ in range(threads)]
    seconds = _at_once([partial(cpu.roof.read, *each) for each in arrays])
    return threads * 4.0 * rows * width / seconds


def _ones(rows: int, width: int) -> Array:
    """(rows,width), written and so in memory; a row lies in one cache line, because reading from two counts double."""
    array: Array = memory.empty((rows, width), np.dtype(np.float32))
    array[...] = 1
    return array


def _at_once(works: list[Callable[[int], object]]) -> float:
    """Seconds of a round when all do theirs at the same time: the best block."""
    for work in works:
        work(1)
    with ThreadPoolExecutor(len(works)) as pool:

        def block(rounds: int) -> float:
            begin = perf_counter()
            list(pool.map(lambda work: work(rounds), works))
            return perf_counter() - begin

        rounds = 1
        while (seconds := block(rounds)) < BLOCK:
            rounds *= 4 if seconds < BLOCK / 4 else 2
        best: float = min(block(rounds) for _ in range(BLOCKS))
        return best / rounds


def _caches() -> dict[str, int]:
    """The data caches of the first core, as Linux tells."""
    found = {}
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        with suppress(OSError, ValueError):
            kind, level, size = ((index / name).read_text().strip() for name in ("type", "level", "size"))
            if kind != "Instruction":
                found[f"L{level}"] = int(size.removesuffix("K")) * KiB
    return {level: size for level, size in found.items() if level in USUAL}
