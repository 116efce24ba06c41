"""What `plan.py` assumes of a GPU, measured on this one: `PYTHONPATH=. python tests/cuda/measure.py`. A minute or so.

hand over    microseconds until what a block publishes has come to all, for so many blocks
from L2      bytes per microsecond that come to one multiprocessor while all read the same
meet         microseconds of a cluster's barrier
steps        microseconds of a step of each kind of kernel, beside what the plan says
"""

import sys

import numpy as np
from numba import cuda, float32
from recurrence import Recurrence, Sizes, unwritten

from fastgate.kernels.cuda import plan
from fastgate.kernels.cuda.clustered import meet
from fastgate.kernels.cuda.device import device_name, elapsed
from fastgate.kernels.cuda.exchange import LIMIT
from fastgate.kernels.cuda.launch import Program
from fastgate.kernels.cuda.persistent import make_forward
from fastgate.kernels.cuda.persistent_backward import make_backward
from fastgate.kernels.cuda.prims import is_unset, poll16, publish16

THREADS, ROUNDS = 256, 1000


def hand_over(x, rounds):
    """x (rounds+1,blocks*4): in every round each block waits for the numbers of all, and publishes four."""
    v = cuda.local.array(4, float32)
    row, me = cuda.gridDim.x * 4, cuda.threadIdx.x
    for n in range(rounds):
        if me < cuda.gridDim.x:
            poll16(v, 0, x, n * row + me * 4)
            left = LIMIT
            while left > 0 and (is_unset(v[0]) or is_unset(v[1]) or is_unset(v[2]) or is_unset(v[3])):
                left -= 1
                poll16(v, 0, x, n * row + me * 4)
        cuda.syncthreads()
        if me == 0:
            publish16(x, (n + 1) * row + cuda.blockIdx.x * 4, v, 0)


def read_together(x, rounds):
    """x (N): all blocks read all of it, in every round."""
    v = cuda.local.array(16, float32)
    total = float32(0)
    for _ in range(rounds):
        for i in range(cuda.threadIdx.x * 4, x.size, cuda.blockDim.x * 16):
            for d in range(4):
                poll16(v, 4 * d, x, i + d * cuda.blockDim.x * 4)
            total += v[0] + v[4] + v[8] + v[12]
    if total == float32(-1):
        x[0] = total


def make_meetings(size):
    def meetings(x, rounds):
        for _ in range(rounds):
            meet()

    return meetings


def microseconds(program, grid, x, rounds):
    """Of a round: the least of some runs."""
    device = cuda.to_device(x)
    program.launch(grid, (device, 1))
    times = []
    for _ in range(5):
        device.copy_to_device(x)
        times.append(elapsed(lambda: program.launch(grid, (device, rounds))) * 1e3 / rounds)
    return min(times)


def primitives():
    for blocks in (16, 64, 128):
        x = unwritten((ROUNDS + 1, blocks * 4), "float32")
        x[0] = 1
        time = microseconds(Program(hand_over, THREADS), (blocks, 1, 1), x.ravel(), ROUNDS)
        yield f"hand over, {blocks} blocks", time, plan.HAND_OVER
    x = np.ones(1 << 18, np.float32)
    time = microseconds(Program(read_together, 512), (plan.Device.here().multiprocessors, 1, 1), x, 20)
    yield "bytes from L2", x.nbytes / time, plan.FROM_L2
    for size in (2, 4, 8):
        program = Program(make_meetings(size), THREADS, cluster=size, cooperative=False)
        time = microseconds(program, (size, 1, 1), np.zeros(4, np.float32), ROUNDS)
        yield f"meet, clusters of {size}", time, plan.MEET


def steps(name, H, B, precision, T=200):
    """Forward and backward by their plans."""
    case = Recurrence(name, Sizes(T=T, B=B, H=H, I=4))
    chosen = plan.plan_for(case.cell, H, B, precision=precision)
    for choice, make, run in (
        (chosen.forward, make_forward, case.run_forward),
        (chosen.backward, make_backward, case.run_backward),
    ):
        times = []

        def on_gpu(program, grid, arguments, times=times):
            """Arrays are new in every run, since nothing may be there before."""
            arrays = [cuda.to_device(a.reshape(-1)) if isinstance(a, np.ndarray) else a for a in arguments]
            times.append(elapsed(lambda: program.launch(grid, arrays)) * 1e3 / T)
            for a, there in zip(arguments, arrays, strict=True):
                if isinstance(a, np.ndarray):
                    a[...] = there.copy_to_host().reshape(a.shape)

        if choice.program is None:
            continue
        how = {"precision": "highest" if choice.block.streams else precision, "parts": choice.grid[1]}
        for _ in range(3):
            run(make, choice.block, on_gpu, **how)
        yield f"{name} H={H} B={B} {precision}: {choice.reason}", min(times), choice.microseconds


def main():
    say = sys.stdout.write
    say(f"{device_name()}\n{'measured':>9} {'assumed':>9}\n")
    rows = list(primitives())
    for H, B in ((64, 32), (128, 32), (256, 64), (512, 1), (512, 64), (1024, 1), (1024, 64), (2048, 1)):
        for precision in ("highest", "high", "medium"):
            rows += steps("lstm", H, B, precision)
    for name, measured, assumed in rows:
        say(f"{measured:9.2f} {assumed:9.2f}  {name}\n")


if __name__ == "__main__":
    sys.exit(main())
