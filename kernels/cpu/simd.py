"""A SIMD vector as a Numba value: `+ - * /` on it are one instruction each.

Vectors are read from and written to two-dimensional C-contiguous arrays by `load` and `store`.
"""

import operator

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.errors import TypingError
from numba.core.extending import intrinsic, lower_builtin, models, register_model
from numba.core.typing.templates import AbstractTemplate, infer_global, signature

from fastgate.kernels.arithmetic import EMITTERS, fma, implement, splat
from fastgate.kernels.cpu.features import HAS_FMA, VECTOR_BYTES


class VectorType(types.Type):
    """`lanes` numbers of type `dtype` in one register: as many as there is room for, unless it says how many."""

    def __init__(self, dtype, lanes=None):
        self.dtype = dtype
        self.lanes = lanes or VECTOR_BYTES * 8 // dtype.bitwidth
        super().__init__(name=f"vector({dtype}, {self.lanes})")


@register_model(VectorType)
class VectorModel(models.PrimitiveModel):
    def __init__(self, manager, vector_type):
        super().__init__(manager, vector_type, llvm_vector(vector_type.dtype, vector_type.lanes))


def llvm_vector(dtype, lanes=None):
    element = ir.FloatType() if dtype == types.float32 else ir.DoubleType()
    return ir.VectorType(element, lanes or VECTOR_BYTES * 8 // dtype.bitwidth)


def data_pointer(context, builder, kind, array):
    """Of an array, or of what `pointer_to` returned."""
    if isinstance(kind, types.CPointer):
        return array
    return cgutils.create_struct_proxy(kind)(context, builder, array).data


def load_at(builder, pointer, vector):
    """The vector at an element's address, which need not be aligned to more than one element."""
    return builder.load(builder.bitcast(pointer, vector.as_pointer()), align=element_bytes(vector))


def store_at(builder, value, pointer):
    vector = value.type
    builder.store(value, builder.bitcast(pointer, vector.as_pointer()), align=element_bytes(vector))


def element_bytes(vector):
    return 4 if vector.element == ir.FloatType() else 8


def element_pointer(context, builder, array_type, array, row, column):
    struct = cgutils.create_struct_proxy(array_type)(context, builder, array)
    columns = cgutils.unpack_tuple(builder, struct.shape, 2)[1]
    return builder.gep(struct.data, [builder.add(builder.mul(row, columns), column)])


def require_contiguous(*arrays):
    """Addresses are computed from shapes alone, so any other layout must not even compile."""
    for array in arrays:
        if not isinstance(array, types.CPointer) and array.layout != "C":
            raise TypingError(f"expected a C-contiguous array, got {array}")


@intrinsic
def load(typingctx, array, row, column):
    """array[row, column : column + lanes]"""
    require_contiguous(array)
    vector = VectorType(array.dtype)

    def codegen(context, builder, sig, args):
        pointer = element_pointer(context, builder, sig.args[0], *args)
        return load_at(builder, pointer, llvm_vector(array.dtype))

    return vector(array, types.intp, types.intp), codegen


@intrinsic
def store(typingctx, array, row, column, value):
    """array[row, column : column + lanes] = value"""
    require_contiguous(array)

    def codegen(context, builder, sig, args):
        store_at(builder, args[3], element_pointer(context, builder, sig.args[0], *args[:3]))

    return types.void(array, types.intp, types.intp, value), codegen


@intrinsic
def pointer_to(typingctx, array, offset):
    """The address of the element `offset` of a C-contiguous array: one word to pass on, where an array is ten."""
    require_contiguous(array)

    def codegen(context, builder, sig, args):
        return builder.gep(data_pointer(context, builder, sig.args[0], args[0]), [args[1]])

    return types.CPointer(array.dtype)(array, types.intp), codegen


@intrinsic
def lanes_of(typingctx, array):
    """How many elements of `array` one vector holds: a constant of the compiled code."""
    count = VectorType(array.dtype).lanes

    def codegen(context, builder, sig, args):
        return context.get_constant(types.intp, count)

    return types.intp(array), codegen


@intrinsic
def zero_of(typingctx, array):
    """A vector of zeros of the type that `array` holds."""
    vector = VectorType(array.dtype)

    def codegen(context, builder, sig, args):
        return ir.Constant(llvm_vector(array.dtype), None)

    return vector(array), codegen


def _define_operator(python_operator, instruction):
    @infer_global(python_operator)
    class Template(AbstractTemplate):
        def generic(self, args, kws):
            vectors = [a for a in args if isinstance(a, VectorType)]
            numbers = (VectorType, types.Float, types.Integer)
            if len(args) == 2 and vectors and all(isinstance(a, numbers) for a in args):
                vector = vectors[0]
                return signature(vector, *(a if a == vector else vector.dtype for a in args))

    def emit(context, builder, sig, args):
        vector = context.get_value_type(sig.return_type)
        return getattr(builder, instruction)(*(splat(builder, value, vector) for value in args))

    lower_builtin(python_operator, VectorType, VectorType)(emit)
    lower_builtin(python_operator, VectorType, types.Float)(emit)
    lower_builtin(python_operator, types.Float, VectorType)(emit)


for _operator, _instruction in {
    operator.add: "fadd",
    operator.sub: "fsub",
    operator.mul: "fmul",
    operator.truediv: "fdiv",
}.items():
    _define_operator(_operator, _instruction)


def multiply_add(builder, x, y, z):
    """x * y + z: fused where the CPU can; llvm.fma would call the C library where it cannot."""
    if HAS_FMA:
        return EMITTERS[fma][1](builder, x, y, z)
    return builder.fadd(builder.fmul(x, y), z)


for _function, (_, _emit) in EMITTERS.items():
    implement(_function, VectorType, multiply_add if _function is fma else _emit)
