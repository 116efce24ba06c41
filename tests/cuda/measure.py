"""What `plan.py` assumes of a GPU, measured on this one: `PYTHONPATH=. python tests/cuda/measure.py`. Some minutes.

First the constants of its model, each beside its value there; then products of whole sequences; then for some sizes
the kernel that the plan chooses, beside the next best ones by the model (`--most`; all of them with a large number):
where another is faster by more than noise, the model is wrong.
"""

import argparse
import sys
from itertools import islice

import numpy as np
from numba import cuda, float32, float64, int32
from recurrence import Recurrence, Sizes, unwritten

import fastgate as fg
from fastgate._errors import no_device
from fastgate.cuda import missing
from fastgate.kernels.arithmetic import fma
from fastgate.kernels.cuda import arrays, cublas, plan, recurrence
from fastgate.kernels.cuda.blocks import Block
from fastgate.kernels.cuda.clustered import meet
from fastgate.kernels.cuda.device import device_name, elapsed
from fastgate.kernels.cuda.exchange import LIMIT
from fastgate.kernels.cuda.launch import Program
from fastgate.kernels.cuda.persistent import make_forward
from fastgate.kernels.cuda.persistent_backward import make_backward
from fastgate.kernels.cuda.prims import is_unset, poll16, publish16, store_remote
from fastgate.kernels.cuda.products import product
from fastgate.kernels.cuda.streams import SIMULATED
from fastgate.kernels.cuda.tensor_products import PRECISIONS

THREADS, ROUNDS = 256, 1000
EACH = 1 << 20  # numbers that a block reads for itself
UNROLLED, SENT = 16, 8
COLUMNS_OF_MMA = {"high": 16 / 3, "medium": 8, "bfloat16": 16, "float16": 16}  # of which as many products count
SIZES = ((64, 32), (256, 64), (512, 1), (512, 64), (1024, 1), (1024, 64), (2048, 1))  # H and B


# ------------------------------------------------------------------------------------------ kernels (x, rounds)


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


def make_reading(apart):
    """x (N): all blocks read all of it, or each its own part, in every round."""

    def read(x, rounds):
        v = cuda.local.array(16, float32)
        total = float32(0)
        first = cuda.blockIdx.x * EACH if apart else 0
        end = first + EACH if apart else x.size
        for _ in range(rounds):
            for i in range(first + cuda.threadIdx.x * 4, end, cuda.blockDim.x * 16):
                for d in range(4):
                    poll16(v, 4 * d, x, i + d * cuda.blockDim.x * 4)
                for n in range(16):  # a number that nobody needs would not be loaded
                    total += v[n]
        if total == float32(-1):
            x[0] = total

    return read


def make_meetings(size):
    def meetings(x, rounds):
        for _ in range(rounds):
            meet()

    return meetings


def make_sending(size):
    """Every thread writes a number into each block of its cluster, some times in every round."""

    def send(x, rounds):
        shared = cuda.shared.array(0, float32)
        meet()
        for _ in range(rounds):
            for n in range(SENT):
                for rank in range(size):
                    store_remote(shared, n * THREADS + cuda.threadIdx.x, rank, x[0])
        meet()

    return send


def make_multiplying(number):
    """x (N): fused multiply-adds, eight at a time in every thread."""

    def multiply(x, rounds):
        a = cuda.local.array(8, number)
        v = number(x[cuda.threadIdx.x % 4])
        for n in range(8):
            a[n] = number(n)
        for _ in range(rounds):
            for _ in range(UNROLLED):
                for n in range(8):
                    a[n] = fma(v, v, a[n])
        for n in range(8):
            if a[n] == number(-1):
                x[n] = a[n]

    return multiply


def make_mma(precision):
    """x (N): products by tensor cores, four at a time in every warp."""
    mma = PRECISIONS[precision].mma

    def multiply(x, rounds):
        d = cuda.local.array(16, float32)
        w = int32(cuda.threadIdx.x)
        for n in range(16):
            d[n] = x[n % 4]
        for _ in range(rounds):
            for n in range(0, 16, 4):
                d[n], d[n + 1], d[n + 2], d[n + 3] = mma(w, w, w, w, w, w, d[n], d[n + 1], d[n + 2], d[n + 3])
        for n in range(16):
            if d[n] == float32(-1):
                x[0] = d[n]

    return multiply


# ------------------------------------------------------------------------------------------ the model's constants


def microseconds(program, grid, x, rounds):
    """Of a round: the least of some runs."""
    device = cuda.to_device(x)
    program.launch(grid, (device, 1))
    times = []
    for _ in range(5):
        device.copy_to_device(x)
        times.append(elapsed(lambda: program.launch(grid, (device, rounds))) * 1e3 / rounds)
    return min(times)


def constants():
    """Names, what is measured, what `plan.py` has."""
    all_blocks, few = (plan.Device.here().multiprocessors, 1, 1), np.ones(8, np.float32)
    for blocks in (16, 64, 128):
        x = unwritten((ROUNDS + 1, blocks * 4), "float32")
        x[0] = 1
        time = microseconds(Program(hand_over, THREADS), (blocks, 1, 1), x.ravel(), ROUNDS)
        yield f"HAND_OVER, {blocks} blocks", time, plan.HAND_OVER
    for name, apart, numbers in (("FROM_L2", False, 1 << 18), ("FROM_DRAM", True, EACH * all_blocks[0])):
        time = microseconds(Program(make_reading(apart), 512), all_blocks, np.ones(numbers, np.float32), 20)
        yield name, 4 * (EACH if apart else numbers) / time, getattr(plan, name)
    if plan.Device.here().has_clusters:
        for size in (2, 4, 8):
            options = {"cluster": size, "cooperative": False, "shared": 4 * SENT * THREADS}
            time = microseconds(Program(make_meetings(size), THREADS, **options), (size, 1, 1), few, ROUNDS)
            yield f"MEET, clusters of {size}", time, plan.MEET
            time = microseconds(Program(make_sending(size), THREADS, **options), (size, 1, 1), few, ROUNDS)
            yield f"FROM_CLUSTER, of {size}", 4 * SENT * THREADS * size / time, plan.FROM_CLUSTER
    for name, number, assumed in (
        ("highest", float32, plan.RATES["highest"]),
        ("float64", float64, plan.RATE_OF_FLOAT64),
    ):
        time = microseconds(Program(make_multiplying(number), THREADS), all_blocks, few, ROUNDS)
        yield f"rate of {name}", THREADS * UNROLLED * 8 / time, assumed
    for precision, columns in COLUMNS_OF_MMA.items():
        time = microseconds(Program(make_mma(precision), THREADS), all_blocks, few, ROUNDS)
        rate = THREADS // 32 * 4 * 16 * 8 * columns / time
        yield f"rate of {precision}", rate, plan.RATES.get(precision, plan.RATE_OF_16_BITS)
    yield from of_small_kernels()
    yield from of_steps()


def of_small_kernels():
    """Of what hardly multiplies: a tile after the first, and what follows a cluster's meeting."""
    one, eight = (time_of("lstm", 8, B, Block(8, 8, 8)) for B in (8, 64))
    yield "PER_TILE", (eight - one) / 7, plan.PER_TILE
    if plan.Device.here().has_clusters:
        time = time_of("lstm", 16, 8, Block(8, 8, 8, cluster=2))
        yield "MEET + UNIT_BY_UNIT", time, plan.MEET + plan.UNIT_BY_UNIT


def of_steps(T=20, H=512, B=64):
    """A launch for every step, of a layer that hardly multiplies and of a larger one."""
    before, recurrence.HAS_PLANS, times = recurrence.HAS_PLANS, False, []
    for units, batch in ((8, 1), (H, B)):
        layer = fg.LSTM(4, units, seed=0, device="cuda", batch_first=False)
        x = arrays.from_host(np.ones((T, batch, 4), np.float32))
        times.append(min(elapsed(lambda layer=layer, x=x: layer(x)) * 1e3 / T for _ in range(4)))
    recurrence.HAS_PLANS = before
    yield "LAUNCH", times[0], plan.LAUNCH
    rate = plan.RATES["highest"] * plan.Device.here().multiprocessors
    yield "PLAIN", 4 * H * H * B / (times[1] - times[0]) / rate, plan.PLAIN


def products_of_sequences(N=4096):
    """Names, and how many times 10**12 multiply-adds a second."""
    a, b, out = (arrays.from_host(np.ones((N, N), np.float32)).flat for _ in range(3))
    ways = dict(cublas.WAYS)
    cublas.WAYS["bfloat16, made before"] = cublas.Way(cublas.BFLOAT16, cublas.WAYS["highest"].compute)
    for precision in list(cublas.WAYS):
        run = lambda precision=precision: product(a, b, out, N, N, N, precision=precision)  # noqa: E731
        yield f"product, {precision}", N**3 / min(elapsed(run) for _ in range(5)) / 1e9
    cublas.WAYS.clear()
    cublas.WAYS.update(ways)


# ------------------------------------------------------------------------------------------ kernels to choose from


def on_gpu(times):
    """The GPU as the machine of a `Recurrence`, which notes milliseconds. Arrays are new in every run: nothing may be
    there before."""

    def machine(program, grid, arguments):
        there = [cuda.to_device(a.reshape(-1)) if isinstance(a, np.ndarray) else a for a in arguments]
        times.append(elapsed(lambda: program.launch(grid, there)))
        for a, own in zip(arguments, there, strict=True):
            if isinstance(a, np.ndarray):
                a[...] = own.copy_to_host().reshape(a.shape)

    return machine


def time_of(name, H, B, block, T=200):
    """Microseconds of a forward step."""
    times, case = [], Recurrence(name, Sizes(T=T, B=B, H=H, I=4))
    for _ in range(3):
        case.run_forward(make_forward, block, on_gpu(times))
    return min(times) * 1e3 / T


def candidates(name, H, B, precision, most, T=50):
    """Forward and backward: lines about each of the first choices, the fastest first, and how the model's own does."""
    case = Recurrence(name, Sizes(T=T, B=B, H=H, I=4))
    size = case.cell, H, B, 1, "float32", precision, plan.Device.here()
    for which, make, run in (
        ("forward", make_forward, case.run_forward),
        ("backward", make_backward, case.run_backward),
    ):

        def program(block, own, make=make):
            return make(case.cell, H, block, precision=own)

        found = []
        for choice in islice(plan.choices(*size, program, which == "backward"), most):
            times, how = [], {"parts": choice.grid[1], "precision": "highest" if choice.block.streams else precision}
            try:
                for _ in range(3):
                    run(make, choice.block, on_gpu(times), **how)
                found.append((min(times) * 1e3 / T, choice))
            except Exception as error:  # the others are measured all the same
                yield f"{'failed':>9} {choice.microseconds:9.2f}  {choice.reason}: {error}"
        if not found:
            continue
        (chosen, _), best = found[0], min(time for time, _ in found)
        yield f"{name} H={H} B={B} {precision}, {which}: the plan's takes {chosen / best:.2f} times as long as the best"
        for time, choice in sorted(found, key=lambda pair: pair[0]):
            yield f"{time:9.2f} {choice.microseconds:9.2f}  {choice.reason}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=6, help="kernels to measure for each size (default: 6)")
    parser.add_argument("--precisions", nargs="+", default=["highest", "high", "medium", "bfloat16"])
    options, say = parser.parse_args(), sys.stdout.write
    if lacking := "only Numba's simulator" if SIMULATED else missing():
        return str(no_device("cuda", lacking))
    say(f"{device_name()}\n{'measured':>9} {'plan.py':>9}\n")
    for name, measured, assumed in constants():
        say(f"{measured:9.4g} {assumed:9.4g}  {name}\n")
    for name, rate in products_of_sequences():
        say(f"{rate:9.4g} {'':9}  {name}, 10**12 multiply-adds a second\n")
    for H, B in SIZES:
        for precision in options.precisions:
            for line in candidates("lstm", H, B, precision, options.most):
                say(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
