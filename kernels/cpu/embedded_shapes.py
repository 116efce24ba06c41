"""What the arguments of an embedded cell must be: types when a caller is compiled, shapes when it runs.

Arrays may have any strides; where a batch is one row, its axis may be left out. Nothing is read or written where shapes
do not fit. An error then says which argument it is and what was expected, and with FASTGATE_CHECK=1 what came, too:
numbers in sentences make code that is compiled slower to compile and larger.
"""

from functools import reduce

from numba.core import cgutils, types
from numba.core.errors import TypingError
from numba.core.extending import intrinsic, overload, register_jitable

from fastgate.kernels.cpu.embedded import CHECKED, plan_of
from fastgate.kernels.jit import INLINED, jit

THIN = INLINED | {"_nrt": CHECKED}  # sentences with numbers in them need memory


def thin(function):
    """Compiled code that becomes part of its callers."""
    return register_jitable(**THIN)(function)


def compiles(function):
    """Of a function that makes the text of `function` for the types of its arguments."""
    return overload(function, jit_options=THIN, strict=False)


# ------------------------------------------------------------------------------------------------------------ types


def spec_of(cell, name="cell"):
    spec = getattr(getattr(cell, "instance_class", None), "spec", None)
    if spec is None:
        raise TypingError(f"{name}: expected what layer.jit() of this version of fastgate returned, got {cell}")
    return spec


def plan_for(cell, name="cell"):
    spec = spec_of(cell, name)
    if spec.kind == "linear":
        raise TypingError(f"{name}: expected that of a recurrent layer, got that of a Linear, which is for `linear`")
    return plan_of(spec)


def require_array(name, kind, dtype, axes, *, written=False):
    """An array with so many axes, or one fewer."""
    wanted = getattr(types, dtype)
    if not isinstance(kind, types.Array) or kind.dtype != wanted or kind.ndim not in (axes, axes - 1):
        expected = f"an array of {dtype} with {axes} axes, or {axes - 1} for a batch of one row"
        raise TypingError(f"{name}: expected {expected}, got {kind}")
    if written and not kind.mutable:
        raise TypingError(f"{name}: expected an array that can be written, got {kind}")
    if not kind.aligned:
        raise TypingError(f"{name}: expected an array whose elements are aligned, got {kind}")


def require_vector(name, kind, dtype):
    if not isinstance(kind, types.Array) or (kind.dtype, kind.ndim, kind.layout) != (getattr(types, dtype), 1, "C"):
        raise TypingError(f"{name}: expected a contiguous array of {dtype} with one axis, got {kind}")
    if not kind.mutable:
        raise TypingError(f"{name}: expected an array that can be written, got {kind}")


def require_tuple(name, kind, expected, maker, dtype):
    if getattr(kind, "instance_class", None) is not expected or kind.types[-1].dtype != getattr(types, dtype):
        raise TypingError(f"{name}: expected what {maker} of this cell returned, got {kind}")


def is_none(kind):
    return kind is None or isinstance(kind, types.NoneType) or (isinstance(kind, types.Omitted) and kind.value is None)


# ----------------------------------------------------------------------------------------------------------- shapes


@intrinsic
def fits(typingctx, array, shape):
    """Whether an array has this shape, or has it but for the axis of a batch of one row, the last but one"""

    def codegen(context, builder, sig, args):
        sizes, _ = _unpacked(context, builder, sig, args)
        wanted = cgutils.unpack_tuple(builder, args[1], shape.count)
        if array.ndim < shape.count:
            sizes.insert(shape.count - 2, context.get_constant(types.intp, 1))
        same = [builder.icmp_signed("==", *pair) for pair in zip(sizes, wanted, strict=True)]
        return reduce(builder.and_, same)

    return types.boolean(array, shape), codegen


@intrinsic
def strides_of(typingctx, array, shape):
    """The strides of an array, in elements, as if it had all axes of `shape`"""

    def codegen(context, builder, sig, args):
        itemsize = context.get_constant(types.intp, array.dtype.bitwidth // 8)
        _, strides = _unpacked(context, builder, sig, args)
        strides = [builder.sdiv(stride, itemsize) for stride in strides]
        if array.ndim < shape.count:
            strides.insert(shape.count - 2, context.get_constant(types.intp, 0))
        return context.make_tuple(builder, sig.return_type, strides)

    return types.UniTuple(types.intp, shape.count)(array, shape), codegen


def _unpacked(context, builder, sig, args):
    """Shape and strides of the first argument, as lists."""
    kind = sig.args[0]
    struct = cgutils.create_struct_proxy(kind)(context, builder, args[0])
    return [cgutils.unpack_tuple(builder, values, kind.ndim) for values in (struct.shape, struct.strides)]


def expected_shape(name, shape, size):
    """The sentence about an array whose last axis has this `size`."""
    return f"{name}: expected shape ({shape}, {size})"


def expected_gradient(size):
    return f"gradient: expected shape ({size},), that of layer.params.flat"


def rows_of(array):
    """A function of such an array: the batch, which is one row where it has no axis."""
    if array.ndim == 1:
        return thin(lambda array: 1)
    return thin(lambda array: array.shape[0])


@jit(allocates=True)
def wrong_shape(sentence, expected, got):
    """Words, a shape such as (B,K), and that of the array -> ValueError"""
    message = sentence + ", which is"
    for size in expected:
        message += " " + str(size)
    message += "; got"
    for size in got:
        message += " " + str(size)
    raise ValueError(message)
