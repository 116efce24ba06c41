"""Which kernel computes a recurrence, in blocks of which size: that for which a model of the GPU says the least time.

The model adds up what a step cannot do without: numbers that come from other blocks, multiplications, weights that do
not stay in registers, and the fixed times of handing over and of what is done unit by unit. Its constants are those of
an H200, from its data sheet and the literature; `tests/cuda/measure.py` measures them.
"""

from functools import cache
from itertools import product as combinations
from typing import Any, NamedTuple

from fastgate.kernels.cuda import driver
from fastgate.kernels.cuda.blocks import Block, grid_of
from fastgate.kernels.cuda.missing import missing
from fastgate.kernels.cuda.persistent import make_forward
from fastgate.kernels.cuda.persistent_backward import make_backward
from fastgate.kernels.cuda.prims import SIMULATED, width
from fastgate.kernels.cuda.tensor_products import PRECISIONS

CLOCK = 1980.0  # MHz


class Device(NamedTuple):
    multiprocessors: int = 132
    shared: int = 227 * 1024  # bytes of a block
    has_clusters: bool = True
    clock: float = CLOCK
    has_tensor_cores: bool = True
    number: int = 0

    @classmethod
    def here(cls):
        """The current one; an H200 where there is none."""
        if missing() is not None or SIMULATED:
            return cls()
        return cls.of(driver.device_number())

    @classmethod
    @cache
    def of(cls, number):
        return cls(*driver.facts_of(number), number)


# Per multiprocessor and microsecond: multiplications, by precision; bytes from memory common to all, or from a cluster.
RATES = {"highest": 128 * CLOCK / 1.25, "high": 0.62 * 2048 * CLOCK / 3, "medium": 0.62 * 1024 * CLOCK}
RATE_OF_16_BITS, RATE_OF_FLOAT64 = 0.62 * 2048 * CLOCK, 64 * CLOCK / 1.25
FROM_L2, FROM_DRAM, FROM_CLUSTER = 45e3, 32e3, 25e3
L2 = 45e6  # bytes
HAND_OVER, MEET, UNIT_BY_UNIT, PER_TILE = 0.9, 0.25, 0.25, 0.15  # microseconds
LAUNCH, PLAIN = 20.0, 0.02  # microseconds of a step's launches, and what of the rate its plain loops reach

MOST_WORDS = 128  # of W in a thread's registers, of which it has 255
WARPS = 8


HIGHEST_GRID = 65535  # of blocks in its second dimension

_at_once = {}  # device, size of a cluster -> blocks that run at once, where a launch has shown that they are fewer


def refuse(choice, at_once):
    """Only so many of its blocks run at once on the current device: plans keep to that from now on.

    Candidates are not tried one after the other, since each would be compiled first.
    """
    _at_once[Device.here().number, choice.program.cluster] = at_once
    plan_for.cache_clear()


class Choice(NamedTuple):
    """Of one direction of time."""

    kind: str  # "cluster", "persistent", "shared columns", "streamed", or "steps"
    microseconds: float  # of a step, as the model has it
    block: Any = None
    grid: Any = None
    program: Any = None

    @property
    def reason(self):
        """In words, for who wonders."""
        if self.program is None:
            return "a launch for every step: nothing else fits"
        of = f"{self.kind}, {self.grid[0]} x {self.grid[1]} x {self.grid[2]} blocks of {self.block.units} units"
        return f"{of} and {self.block.rows} sequences: at least {self.microseconds:.1f} us a step"


class Plan(NamedTuple):
    forward: Choice
    backward: Choice


@cache
def plan_for(cell, H, B, *, directions=1, dtype="float32", precision="highest", keeps=True, device=None):
    """The `Plan` of a `Cell` of H units for B sequences."""
    device = device or Device.here()
    precision = precision if dtype == "float32" and device.has_tensor_cores else "highest"
    size = (cell, H, B, directions, dtype, precision, device)
    return Plan(
        _best(*size, lambda block, own: make_forward(cell, H, block, dtype=dtype, precision=own, keeps=keeps), False),
        _best(*size, lambda block, own: make_backward(cell, H, block, dtype=dtype, precision=own), True),
    )


def _best(cell, H, B, directions, dtype, precision, device, make, backward):
    """The first of all choices, or steps where these are faster."""
    steps = Choice("steps", LAUNCH + B * H * H * cell.gates / (RATES["highest"] * PLAIN * device.multiprocessors))
    best = next(choices(cell, H, B, directions, dtype, precision, device, make, backward), steps)
    return best if best.microseconds < steps.microseconds else steps


def choices(cell, H, B, directions, dtype, precision, device, make, backward):
    """All that fit, from the fastest on; `make(block, precision)` gives a `Program`."""
    ways = [(*way, precision) for way in _candidates(H, B, directions, precision, device)]
    if precision != "highest":  # tensor cores have W in registers; where it does not fit, exactness costs nothing
        ways += [(*way, "highest") for way in _candidates(H, B, directions, "highest", device) if way[0].streams]
    times = [_time(cell, H, B, directions, dtype, own, device, block, parts, backward) for block, parts, own in ways]
    for time, (block, parts, own) in sorted(zip(times, ways, strict=True), key=lambda pair: pair[0]):
        if _fits(cell, H, block, dtype, own):
            program, grid = make(block, own), grid_of(H, B, block, parts, directions)
            is_possible = program.shared <= device.shared and program.words <= MOST_WORDS and grid[1] <= HIGHEST_GRID
            if is_possible and program.blocks_together(grid) <= _at_once.get((device.number, program.cluster), 1 << 31):
                yield Choice(_kind(block), time, block, grid, program)


def _kind(block):
    if block.together > 1:
        return "shared columns"
    return "cluster" if block.cluster > 1 else "streamed" if block.streams else "persistent"


def _candidates(H, B, directions, precision, device):
    """Blocks, and in how many parts the batch is."""
    tensor = precision != "highest"
    rows_of_all = (8, 16, 32) if tensor else (1, 2, 4, 8, 16, 32)
    units_of_all = (8, 16, 32) if tensor else (1, 2, 4, 8, 16, 32, 64)
    for units, rows in combinations(units_of_all, rows_of_all):
        if units * rows > WARPS * 32 or (rows >= 2 * B and rows > rows_of_all[0]):
            continue
        blocks = -(-H // units)
        cluster = 1 << (blocks - 1).bit_length()
        if device.has_clusters and 1 < cluster <= min(8, device.multiprocessors):
            yield Block(units, rows, WARPS, cluster=cluster), 1
        most_parts = device.multiprocessors // (blocks * directions)
        for parts in sorted({most_parts, most_parts // 2, 1}):
            if 1 <= parts <= B and blocks * parts * directions <= device.multiprocessors:
                yield Block(units, rows, WARPS), parts
                if not tensor:
                    yield Block(units, rows, WARPS, streams=True), parts
        for together in (2, 4, 8) if device.has_clusters else ():
            of_grid = -(-H // (units * together)) * together * directions
            parts = min(B, device.multiprocessors // together * together // of_grid)
            if parts and H % (4 * together) == 0:
                yield Block(units, rows, WARPS, together=together), parts


def _fits(cell, H, block, dtype, precision):
    """Whether what does not depend on the layout of a kernel is possible."""
    words = width("float32") if precision == "highest" else PRECISIONS[precision].words  # of four numbers
    of_w = block.units * cell.gates * H * words // width(dtype) // block.threads
    return (block.streams or of_w <= MOST_WORDS) and block.units * block.together * cell.gates <= 256


def _time(cell, H, B, directions, dtype, precision, device, block, parts, backward):
    size = 16 // width(dtype)
    gates = cell.gradients if backward else 1  # numbers of each unit that are exchanged
    K, N = H * (cell.gates if backward else 1), block.units * (1 if backward else cell.gates)
    rate = RATE_OF_FLOAT64 if dtype == "float64" else RATES.get(precision, RATE_OF_16_BITS)
    rate *= device.clock / CLOCK
    phases = len(cell.phases)
    if block.cluster > 1:
        grid = grid_of(H, B, block, parts, directions)
        at_once = device.multiprocessors // block.cluster * block.cluster
        rounds = -(-grid[0] * grid[1] * grid[2] // at_once)
        exchange = block.rows * block.units * gates * size * block.cluster / FROM_CLUSTER
        return rounds * (block.rows * N * K / rate + exchange + phases * (MEET + UNIT_BY_UNIT))
    rows = -(-B // parts)
    tiles = -(-rows // block.rows)
    padded = tiles * block.rows * (2 if precision != "highest" and block.rows == 8 else 1)
    done = rows if precision == "highest" else padded
    time = done * N * K / rate + rows * H * gates * size / FROM_L2 / block.together + tiles * phases * PER_TILE
    if block.together > 1:
        sums = rows * N * size * (block.together - 1)
        time += sums / FROM_CLUSTER + tiles * phases * MEET
    if block.streams:
        of_w = N * K * size
        time += tiles * of_w / (FROM_L2 if cell.gates * H * H * size * directions < L2 else FROM_DRAM)
    return time + phases * (HAND_OVER + UNIT_BY_UNIT)
