"""What one process, compiling for one kind of CPU, computes; `test_instruction_sets.py` runs it for several.

Sizes: B sequences, T steps, I inputs, H units, of which neither B nor H is a multiple of anything.
"""

import numpy as np
from cases import draw, join, make, split
from kernel_tools import apply_unary, unary

from fastgate.kernels.activations import sigmoid, tanh
from fastgate.kernels.arithmetic import fma
from fastgate.kernels.cpu import features, matmul
from fastgate.kernels.cpu.simd import lanes_of, load, store
from fastgate.kernels.jit import jit

CASES = [("lstm", "float32"), ("lstm", "float64"), ("gru", "float32")]
B, T, I, H = 5, 4, 3, 19


def inputs(cell, dtype):
    """The same in every process."""
    layer = make(cell, I, H, dtype=dtype)
    rng = np.random.default_rng(3)
    x, start = draw(rng, layer, B, T)
    dy = rng.standard_normal((B, T, H)).astype(dtype)
    dstate = [rng.standard_normal(part.shape).astype(dtype) for part in start]
    return layer, x, start, dy, dstate


def run(cell, dtype):
    """name -> array: outputs and gradients"""
    layer, x, start, dy, dstate = inputs(cell, dtype)
    y, end, tape = layer.forward(x, join(start))
    gradients = layer.backward(tape, dy, join(dstate))
    found = {"y": y, "dx": gradients.x, "dparams": gradients.params.flat}
    found |= {f"end{n}": part for n, part in enumerate(split(end))}
    return found | {f"dstart{n}": part for n, part in enumerate(split(gradients.state))}


def same_bits_in_parts_and_steps(cell, dtype):
    """Whether sequences one by one, and steps one by one, give the bits of the whole batch."""
    layer, x, start, dy, dstate = inputs(cell, dtype)
    y, end, tape = layer.forward(x, join(start))
    dx = layer.backward(tape, dy, join(dstate)).x
    same = True
    for n in range(B):
        one = slice(n, n + 1)
        own_y, _, own_tape = layer.forward(x[one], join([part[:, one] for part in start]))
        own_dx = layer.backward(own_tape, dy[one], join([part[:, one] for part in dstate])).x
        same &= bool((own_y == y[one]).all() and (own_dx == dx[one]).all())
    state = join(start)
    for t in range(T):
        own_y, state = layer.step(x[:, t], state)
        same &= bool((own_y == y[:, t]).all())
    return same and all((a == b).all() for a, b in zip(split(state), split(end), strict=True))


@jit
def fuse(rows, out):
    """rows (3,N) -> out (1,N)"""
    for u in range(0, rows.shape[1], lanes_of(rows)):
        store(out, 0, u, fma(load(rows, 0, u), load(rows, 1, u), load(rows, 2, u)))


def fuses(dtype):
    """Whether x * y + z is rounded once: (1 + e)(1 - e) - 1 is -e**2, or 0 when the product is rounded first."""
    e = np.finfo(dtype).eps
    rows = np.repeat(np.array([[1 + e], [1 - e], [-1]], dtype), features.lanes(np.dtype(dtype)), 1)
    out = np.empty((1, rows.shape[1]), dtype)
    fuse(rows, out)
    return bool(out[0, 0] != 0)


def saturation(dtype):
    """tanh and sigmoid of numbers so large that nothing but 1, -1 and 0 is right"""
    x = np.concatenate([np.linspace(40, 80, 1000), 2.0 ** np.arange(7, 127), [np.inf]]).astype(dtype)
    values = [apply_unary(unary(tanh), x), apply_unary(unary(tanh), -x)]
    return np.array([*values, apply_unary(unary(sigmoid), x), apply_unary(unary(sigmoid), -x)])


def assembly():
    """Of the tiles and of tanh, in both precisions; only what this process has compiled itself can be read."""
    for dtype in (np.float32, np.float64):
        row = np.zeros((1, features.lanes(np.dtype(dtype))), dtype)
        matmul.project(row, 0, row, 0, row[None], row, 1)
        loop = unary(tanh)
        loop(row, row.copy())
        yield from loop.inspect_asm().values()
    yield from matmul._multiply.inspect_asm().values()


def save(path):
    results = {
        "instruction_set": features.INSTRUCTION_SET,
        "vector_bytes": features.VECTOR_BYTES,
        "has_fma": features.HAS_FMA,
        "tile_rows": features.TILE_ROWS,
    }
    for dtype in ("float32", "float64"):
        results[f"fuses_{dtype}"] = fuses(dtype)
        results[f"saturation_{dtype}"] = saturation(dtype)
    for cell, dtype in CASES:
        results |= {f"{cell}_{dtype}_{name}": array for name, array in run(cell, dtype).items()}
        results[f"{cell}_{dtype}_same_bits"] = same_bits_in_parts_and_steps(cell, dtype)
    np.savez(path, **results)
