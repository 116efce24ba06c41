"""The most floating-point operations that one core does in a second, measured: the roof over every product of matrices.

It is made without fastgate, so that every release is held against the same roof.
"""

from time import perf_counter

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.extending import intrinsic
from numba.core.registry import cpu_target

CHAINS = 12  # a result takes some 4 cycles and two start in each; with 2 operands they still fit in 16 registers
ROUNDS = 20_000


def vector_bytes():
    features = cpu_target.target_context.codegen().magic_tuple()[2].split(",")
    return 64 if "+avx512f" in features else 32 if "+avx" in features else 16


@intrinsic
def multiply_add_chains(typingctx, rounds, factor, addend):
    """`rounds` times CHAINS fused multiply-adds of whole vectors, each on the result of its own chain."""
    lanes = vector_bytes() * 8 // factor.bitwidth

    def codegen(context, builder, sig, args):
        count, *numbers = args
        vector = ir.VectorType(numbers[0].type, lanes)
        name = f"llvm.fma.v{lanes}f{factor.bitwidth}"
        fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
        zero = ir.Constant(vector, None)
        a, b = (
            builder.shuffle_vector(
                builder.insert_element(zero, number, ir.Constant(ir.IntType(32), 0)),
                zero,
                ir.Constant(ir.VectorType(ir.IntType(32), lanes), None),
            )
            for number in numbers
        )
        chains = [cgutils.alloca_once_value(builder, b) for _ in range(CHAINS)]
        with cgutils.for_range(builder, count):
            for chain in chains:
                builder.store(builder.call(fma, [builder.load(chain), a, b]), chain)
        total = zero
        for chain in chains:
            total = builder.fadd(total, builder.load(chain))
        return builder.extract_element(total, ir.Constant(ir.IntType(32), 0))

    return factor(types.intp, factor, factor), codegen


@njit
def run(rounds, factor, addend):
    return multiply_add_chains(rounds, factor, addend)


def flops_per_second(dtype=np.float32):
    """A single short measurement: take the largest of several."""
    half = dtype(0.5)
    run(1, half, half)
    begin = perf_counter()
    run(ROUNDS, half, half)
    seconds = perf_counter() - begin
    return 2 * CHAINS * vector_bytes() // np.dtype(dtype).itemsize * ROUNDS / seconds
