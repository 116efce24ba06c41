"""What the CPU that Numba compiles for can do, and the tile that follows from it."""

from numba.core.registry import cpu_target

TRIPLE, CPU_NAME, _features = cpu_target.target_context.codegen().magic_tuple()
FEATURES = frozenset(name[1:] for name in _features.split(",") if name.startswith("+"))
IS_ARM = TRIPLE.startswith(("aarch64", "arm64"))

if "avx512f" in FEATURES:
    INSTRUCTION_SET, VECTOR_BYTES, REGISTERS = "AVX-512", 64, 32
elif "avx" in FEATURES:
    INSTRUCTION_SET, VECTOR_BYTES, REGISTERS = "AVX2" if "avx2" in FEATURES else "AVX", 32, 16
elif IS_ARM:
    INSTRUCTION_SET, VECTOR_BYTES, REGISTERS = "NEON", 16, 32
else:
    INSTRUCTION_SET, VECTOR_BYTES, REGISTERS = "SSE2", 16, 16

# Without the instruction llvm.fma calls the C library for every element.
HAS_FMA = IS_ARM or bool({"fma", "avx512f"} & FEATURES)

# Accumulators, one vector of each column and one splat must fit in the registers.
TILE_COLUMNS = 4
TILE_ROWS = 6 if REGISTERS == 32 else 3


def lanes(dtype):
    """Elements of `dtype` in one vector."""
    return VECTOR_BYTES // dtype.itemsize


def padded(size, dtype):
    """`size` rounded up to whole vectors: the row length of every internal array."""
    width = lanes(dtype)
    return -(-size // width) * width
