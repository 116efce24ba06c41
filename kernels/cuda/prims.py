"""Instructions that Python has no word for, as inline PTX: all that knows numba-cuda from inside, but for
`launch.py`, `driver.py` and `cache.py`.

A primitive's Python body is its meaning, which simulators run; compiled code gets the instruction.
"""

from inspect import Signature

import numpy as np
from llvmlite import ir
from numba import cuda
from numba.core import config, types

SIMULATED = bool(config.ENABLE_CUDASIM)
HAS_NUMBA_CUDA = not SIMULATED and getattr(cuda, "implementation", "") == "NVIDIA"  # and not Numba's own target
BYTES = 16  # that one load or store moves
UNSET = -1  # all bits: a NaN that no arithmetic gives, so that memory filled with it is known to be not yet written
MEANINGS = {}  # of each primitive, the Python function: for simulators that bind it instead

if not SIMULATED:
    if not hasattr(np, "row_stack"):  # NumPy 2.5 dropped what numba-cuda 0.30 looks up when it first compiles
        np.row_stack = np.vstack  # noqa: NPY201
    from numba.cuda.extending import intrinsic

    try:
        from numba.cuda.typing import signature
    except ImportError:  # Numba's own target
        from numba.core.typing import signature

VOID, INT32, INT64 = ir.VoidType(), ir.IntType(32), ir.IntType(64)
FLOAT32, FLOAT64 = ir.FloatType(), ir.DoubleType()
CONSTRAINTS = {str(FLOAT32): "f", str(FLOAT64): "d", str(INT32): "r", str(INT64): "l"}


def width(dtype):
    """How many numbers one 16-byte load moves."""
    return BYTES // np.dtype(str(dtype)).itemsize


# --------------------------------------------------------------------------------------------- how a primitive is made


def primitive(emit, returns=types.void):
    """Compile what is decorated to what `emit(context, builder, types, values)` builds, of Numba's type `returns`."""

    def decorate(meaning):
        if SIMULATED:
            return meaning

        def define(typingctx, *arguments):
            integer = types.int64 if any(isinstance(kind, types.Array) for kind in arguments) else types.int32
            wanted = [integer if isinstance(kind, types.Integer) else kind for kind in arguments]

            def generate(context, builder, sig, values):
                made = emit(context, builder, sig.args, values)
                if isinstance(returns, types.UniTuple):
                    parts = [builder.extract_value(made, n) for n in range(returns.count)]
                    return context.make_tuple(builder, returns, parts)
                return context.get_dummy_value() if returns == types.void else made

            return signature(returns, *wanted), generate

        define.__name__, define.__doc__ = meaning.__name__, meaning.__doc__
        first, *_ = Signature.from_callable(define).parameters.values()
        define.__signature__ = Signature([first, *Signature.from_callable(meaning).parameters.values()])
        made = intrinsic(define)
        MEANINGS[made] = meaning
        return made

    return decorate


def _asm(builder, text, result, operands, *, effect, together=False):
    """Inline PTX: first the results, then the operands, constraints following from their types."""
    results = result.elements if isinstance(result, ir.LiteralStructType) else [result] * (result != VOID)
    constraints = [f"={CONSTRAINTS[str(kind)]}" for kind in results]
    constraints += [CONSTRAINTS[str(value.type)] for value in operands]
    constraints += ["~{memory}"] * effect
    kind = ir.FunctionType(result, [value.type for value in operands])
    call = builder.call(ir.InlineAsm(kind, text, ",".join(constraints), side_effect=effect), operands)
    if together:
        call.attributes.add("convergent")  # LLVM must not move it to where only some of the threads come
    return call


def instruction(text, result=VOID, *, effect=False, together=False):
    """What works on numbers alone; `together` if all threads of a warp must come to it at once."""

    def emit(context, builder, kinds, values):
        return _asm(builder, text, result, list(values), effect=effect, together=together)

    return emit


def _pointer(context, builder, kind, array, index):
    return builder.gep(context.make_array(kind)(context, builder, array).data, [index])


def _address(context, builder, kind, array, index):
    return builder.ptrtoint(_pointer(context, builder, kind, array, index), INT64)


def _element(kind):
    """LLVM's name of an array's numbers, and PTX's."""
    return (FLOAT32, "f32") if kind.dtype == types.float32 else (FLOAT64, "f64")


def _names(first, count):
    listed = ",".join(f"${first + n}" for n in range(count))
    return "{" + listed + "}" if count > 1 else listed


def _load(kind_of_load, whole):
    """16 bytes, or one number, of (array, i) to the registers (registers, j)."""

    def emit(context, builder, kinds, values):
        registers, j, array, i = values
        element, suffix = _element(kinds[2])
        count = width(kinds[2].dtype) if whole else 1
        if kind_of_load:
            result = ir.LiteralStructType([element] * count) if count > 1 else element
            text = f"{kind_of_load}.{f'v{count}.' * (count > 1)}{suffix} {_names(0, count)}, [${count}];"
            loaded = _asm(builder, text, result, [_address(context, builder, kinds[2], array, i)], effect=True)
            numbers = [builder.extract_value(loaded, e) for e in range(count)] if count > 1 else [loaded]
        else:
            source = _pointer(context, builder, kinds[2], array, i)
            vector = ir.PointerType(ir.VectorType(element, count), source.type.addrspace)
            loaded = builder.load(builder.bitcast(source, vector), align=BYTES)
            numbers = [builder.extract_element(loaded, INT32(e)) for e in range(count)]
        target = _pointer(context, builder, kinds[0], registers, j)
        for e, number in enumerate(numbers):
            builder.store(number, builder.gep(target, [INT64(e)]))

    return emit


def _store(kind_of_store, whole):
    """The same way back: (array, i) from (registers, j)."""

    def emit(context, builder, kinds, values):
        array, i, registers, j = values
        element, suffix = _element(kinds[0])
        count = width(kinds[0].dtype) if whole else 1
        source = _pointer(context, builder, kinds[2], registers, j)
        numbers = [builder.load(builder.gep(source, [INT64(e)])) for e in range(count)]
        if kind_of_store:
            text = f"{kind_of_store}.{f'v{count}.' * (count > 1)}{suffix} [$0], {_names(1, count)};"
            _asm(builder, text, VOID, [_address(context, builder, kinds[0], array, i), *numbers], effect=True)
        else:
            vector = ir.Constant(ir.VectorType(element, count), ir.Undefined)
            for e, number in enumerate(numbers):
                vector = builder.insert_element(vector, number, INT32(e))
            target = _pointer(context, builder, kinds[0], array, i)
            pointer = ir.PointerType(vector.type, target.type.addrspace)
            builder.store(vector, builder.bitcast(target, pointer), align=BYTES)

    return emit


def assert_aligned(memory, i):
    """Where 16 bytes are moved from or to must be a multiple of them: a GPU would stop."""
    assert (memory.__array_interface__["data"][0] + i * memory.itemsize) % BYTES == 0, "16 bytes that are not aligned"


def move16(to, first_to, source, first_source):
    """The Python of all moves of 16 bytes."""
    count = width(source.dtype)
    to[first_to : first_to + count] = source[first_source : first_source + count]


# ------------------------------------------------------------------ numbers between memory and registers, a local array


@primitive(_load("", whole=True))
def load16(registers, j, array, i):
    """16 bytes of `array`, from i on (a multiple of their number), into `registers` from j on."""
    assert_aligned(array, i)
    move16(registers, j, array, i)


@primitive(_store("", whole=True))
def store16(array, i, registers, j):
    """16 bytes of `registers`, from j on, into `array` from i on."""
    assert_aligned(array, i)
    move16(array, i, registers, j)


@primitive(_load("ld.relaxed.gpu.global", whole=True))
def poll16(registers, j, array, i):
    """`load16` of what other blocks write meanwhile: each number is old or new, whatever the others beside it are."""
    assert_aligned(array, i)
    move16(registers, j, array, i)


@primitive(_load("ld.relaxed.gpu.global", whole=False))
def poll1(registers, j, array, i):
    """`poll16` of one number."""
    registers[j] = array[i]


@primitive(_store("st.relaxed.gpu.global", whole=True))
def publish16(array, i, registers, j):
    """`store16` of what other blocks poll."""
    assert_aligned(array, i)
    move16(array, i, registers, j)


@primitive(_store("st.relaxed.gpu.global", whole=False))
def publish1(array, i, registers, j):
    """`publish16` of one number."""
    array[i] = registers[j]


def _emit_is_unset(context, builder, kinds, values):
    bits = INT32 if kinds[0] == types.float32 else INT64
    return builder.icmp_signed("==", builder.bitcast(values[0], bits), ir.Constant(bits, UNSET))


@primitive(_emit_is_unset, types.boolean)
def is_unset(x):
    """True of the one NaN that stands for: not yet written."""
    return bool(np.asarray(x).view(f"i{x.itemsize}") == UNSET)


# --------------------------------------------------------------------------------------------- clusters of blocks


def of_many_threads(*_):
    raise NotImplementedError("what many threads do together: tests/cuda/simulator has its meaning")


@primitive(instruction("barrier.cluster.arrive.release;", effect=True, together=True))
def cluster_arrive():
    """Say that this thread is here, and has written what it writes for others of its cluster."""
    of_many_threads()


@primitive(instruction("barrier.cluster.wait.acquire;", effect=True, together=True))
def cluster_wait():
    """Wait until all threads of the cluster have arrived."""
    of_many_threads()


@primitive(instruction("mov.u32 $0, %cluster_ctarank;", INT32), types.int32)
def cluster_rank():
    """This block's number in its cluster."""
    of_many_threads()


def _emit_store_remote(context, builder, kinds, values):
    shared, i, rank, value = values
    _, suffix = _element(kinds[0])
    text = (
        "{ .reg .u64 s; .reg .u32 here, there; cvta.to.shared.u64 s, $0; cvt.u32.u64 here, s; "
        f"mapa.shared::cluster.u32 there, here, $1; st.shared::cluster.{suffix} [there], $2; }}"
    )
    address = _address(context, builder, kinds[0], shared, i)
    _asm(builder, text, VOID, [address, builder.trunc(rank, INT32), value], effect=True)


@primitive(_emit_store_remote)
def store_remote(shared, i, rank, value):
    """`value` into shared[i] of the block `rank` of this cluster."""
    of_many_threads()
