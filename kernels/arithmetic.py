"""Operations that `+ - * /` lack, on whatever holds a number: a SIMD vector, a CUDA scalar, a Python number.

The Python bodies are the meaning; compiled code gets one or two instructions. NaN always passes.
"""

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.extending import lower_builtin, type_callable


def fma(x, y, z):
    """x * y + z, rounded once where the processor can"""
    return x * y + z


def complement(x):
    """1 - x in the precision of x: a literal 1 would widen a CUDA float32"""
    return 1 - x


def clip(x, low, high):
    if np.real(x) < low:
        return low
    return high if np.real(x) > high else x


def indicator(x):
    """0 where x <= 0, else 1 (for NaN too)"""
    return type(x)(not np.real(x) <= 0)


def choose(c, x, y):
    """x where c > 0 (or NaN), else y; in the precision of c"""
    return y if np.real(c) <= 0 else x


def like(x, value):
    """`value` as a number of the kind that x is"""
    return value


def quotient(x, y):
    """x / y; a GPU's float32 may be off in the last digit, and y must be from 2**-126 to 2**126 there"""
    return x / y


def magnitude(x):
    return abs(x)


def with_sign(x, y):
    """|x| with the sign of y"""
    return np.copysign(x, y)


def power_of_two(k):
    """2**k for a k that holds an integer from -1022 to 1023, or from -126 to 127 in float32"""
    return 2.0**k


def splat(builder, value, kind):
    """`value` in every lane when the LLVM type `kind` is a vector and it is not yet one."""
    if value.type == kind:
        return value
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count)
    return builder.shuffle_vector(first, undefined, zeros)


def constant(kind, value):
    return ir.Constant(kind, [value] * kind.count if isinstance(kind, ir.VectorType) else value)


def call_llvm(builder, name, *args):
    """The LLVM intrinsic `name` on arguments that are all of one type."""
    kind = args[0].type
    element = "f32" if "float" in str(kind) else "f64"
    suffix = f"v{kind.count}{element}" if isinstance(kind, ir.VectorType) else element
    function_type = ir.FunctionType(kind, [kind] * len(args))
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, f"llvm.{name}.{suffix}"), args)


def _emit_fma(builder, x, y, z):
    return call_llvm(builder, "fma", x, y, z)


def _emit_complement(builder, x):
    return builder.fsub(constant(x.type, 1.0), x)


def _emit_clip(builder, x, low, high):
    x = builder.select(builder.fcmp_ordered("<", x, low), low, x)
    return builder.select(builder.fcmp_ordered(">", x, high), high, x)


def _emit_indicator(builder, x):
    return builder.select(
        builder.fcmp_ordered("<=", x, constant(x.type, 0.0)), constant(x.type, 0.0), constant(x.type, 1.0)
    )


def _emit_choose(builder, c, x, y):
    return builder.select(builder.fcmp_ordered("<=", c, constant(c.type, 0.0)), y, x)


def _emit_like(builder, x, value):
    return value


def _emit_quotient(builder, x, y):
    if "nvptx" not in builder.module.triple or str(x.type) != "float":
        return builder.fdiv(x, y)
    # The division that is right for all numbers has branches, which keep a unit's gates from being computed at once.
    kind = ir.FunctionType(y.type, [y.type])
    reciprocal = builder.call(ir.InlineAsm(kind, "rcp.approx.ftz.f32 $0, $1;", "=f,f"), [y])
    found = builder.fmul(x, reciprocal)
    missing = _emit_fma(builder, builder.fsub(constant(y.type, -0.0), found), y, x)
    return _emit_fma(builder, missing, reciprocal, found)


def _integers(kind):
    """As many integers, and of how many bits, as `kind` has numbers."""
    size = 32 if "float" in str(kind) else 64
    integer = ir.IntType(size)
    return (ir.VectorType(integer, kind.count) if isinstance(kind, ir.VectorType) else integer), size


def _emit_magnitude(builder, x):
    # On bits: LLVM for NVIDIA's GPUs knows neither fabs nor copysign.
    integers, size = _integers(x.type)
    bits = builder.and_(builder.bitcast(x, integers), constant(integers, (1 << size - 1) - 1))
    return builder.bitcast(bits, x.type)


def _emit_with_sign(builder, x, y):
    integers, size = _integers(x.type)
    sign = builder.and_(builder.bitcast(y, integers), constant(integers, 1 << size - 1))
    bits = builder.or_(builder.bitcast(_emit_magnitude(builder, x), integers), sign)
    return builder.bitcast(bits, x.type)


def _emit_power_of_two(builder, k):
    # Adding 1.5 * 2**52 leaves the integer in the lowest bits, from where it is moved into the exponent.
    digits, bias = (23, 127.0) if "float" in str(k.type) else (52, 1023.0)
    shifted = builder.fadd(k, constant(k.type, 1.5 * 2.0**digits + bias))
    integers, _ = _integers(k.type)
    exponent = builder.shl(builder.bitcast(shifted, integers), constant(integers, digits))
    return builder.bitcast(exponent, k.type)


EMITTERS = {
    fma: (3, _emit_fma),
    complement: (1, _emit_complement),
    clip: (3, _emit_clip),
    indicator: (1, _emit_indicator),
    choose: (3, _emit_choose),
    like: (2, _emit_like),
    quotient: (2, _emit_quotient),
    magnitude: (1, _emit_magnitude),
    with_sign: (2, _emit_with_sign),
    power_of_two: (1, _emit_power_of_two),
}


def implement(function, kind, emit):
    """Let compiled code call `function` when its first argument is of the Numba type class `kind`."""

    def lower(context, builder, sig, args):
        result = context.get_value_type(sig.return_type)
        return emit(builder, *(splat(builder, value, result) for value in args))

    count, _ = EMITTERS[function]
    lower_builtin(function, kind, *[types.Any] * (count - 1))(lower)


def _infer(x):
    return x if isinstance(x, types.Float) or hasattr(x, "lanes") else None


# Numba reads the number of arguments off the typer's signature.
_TYPERS = {1: lambda x: _infer(x), 2: lambda x, y: _infer(x), 3: lambda x, y, z: _infer(x)}

for _function, (_count, _emit) in EMITTERS.items():
    type_callable(_function)(lambda context, _count=_count: _TYPERS[_count])
    implement(_function, types.Float, _emit)
