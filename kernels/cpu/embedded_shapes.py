"""What the arguments of an embedded cell must be: types when a caller is compiled, shapes when it runs.

Arrays may have any strides; where a batch is one row, its axis may be left out. Nothing is read or written where shapes
do not fit. An error then says which argument it is and what was expected, and with FASTGATE_CHECK=1 what came, too:
numbers in sentences make code that is compiled slower to compile and larger.
"""

from functools import reduce

from numba.core import cgutils, types
from numba.core.errors import TypingError
from numba.core.extending import intrinsic, overload, register_jitable

from fastgate.kernels.cpu.embedded import CHECKED, State, Tape, plan_of
from fastgate.kernels.jit import INLINED, equation, jit

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
    if spec is None or spec.checked != CHECKED:
        expected = f"what layer.jit() of this version of fastgate returned, with FASTGATE_CHECK={CHECKED:d}"
        raise TypingError(f"{name}: expected {expected}, got {cell}")
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


def require_gradient(kind, dtype):
    if kind != types.Array(getattr(types, dtype), 1, "C"):
        raise TypingError(f"gradient: expected what new_gradient of this cell returned, got {kind}")


def require_tuple(name, kind, expected, dtype):
    """A State or a Tape; arrays of three axes are views, of any strides."""
    axes = {State: (3, 3, 1), Tape: (2, 1)}[expected]
    arrays = kind.types if getattr(kind, "instance_class", None) is expected else [None] * len(axes)
    for n, array in zip(axes, arrays, strict=True):
        layout = array.layout if n == 3 and isinstance(array, types.Array) else "C"
        if array != types.Array(getattr(types, dtype), n, layout):
            maker = {State: "new_state", Tape: "new_tape"}[expected]
            raise TypingError(f"{name}: expected what {maker} of this cell returned, got {kind}")


def require_integer(name, kind):
    if not isinstance(kind, types.Integer) and not isinstance(kind, types.Omitted):
        raise TypingError(f"{name}: expected an integer, got {kind}")


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


@intrinsic
def index_of(typingctx, number):
    """An integer of any type as one with a sign: unsigned ones become floats in sums."""

    def codegen(context, builder, sig, args):
        return args[0]

    return types.intp(types.intp), codegen


def _unpacked(context, builder, sig, args):
    """Shape and strides of the first argument, as lists."""
    kind = sig.args[0]
    struct = cgutils.create_struct_proxy(kind)(context, builder, args[0])
    return [cgutils.unpack_tuple(builder, values, kind.ndim) for values in (struct.shape, struct.strides)]


def shape_check(sentence):
    """A function of an array and the shape that it is to have, which gives its strides, or says what was expected."""

    @thin
    def check(array, shape):
        if not fits(array, shape):
            if CHECKED:
                wrong_shape(sentence, shape, array.shape)
            raise ValueError(sentence)
        return strides_of(array, shape)

    return check


def last_axis_check(name, axes, size):
    """That of an argument whose last axis has this `size`, behind other `axes`."""
    return shape_check(f"{name}: expected shape ({axes}, {size})")


def gradient_check(size):
    check = shape_check(f"gradient: expected shape ({size},), that of layer.params.flat")
    return thin(lambda gradient: check(gradient, (size,)))


def rows_of(array):
    """A function of such an array: the batch, which is one row where it has no axis."""
    if array.ndim == 1:
        return thin(lambda array: 1)
    return thin(lambda array: array.shape[0])


@jit(allocates=True)
def wrong_shape(sentence, expected, got):
    """Words, a shape such as (B,K), and that of the array -> ValueError"""
    raise ValueError(sentence + ", which is " + tuple_text(expected) + "; got " + tuple_text(got))


@equation
def tuple_text(sizes):
    text = ""
    for size in sizes:
        text += ", " + str(size)
    return "(" + text[2:] + (",)" if len(sizes) == 1 else ")")
