"""The operations of `kernels/arithmetic.py` in C."""

from collections.abc import Callable
from typing import Any

from fastgate._kernels import arithmetic

PRIMITIVES: dict[Callable[..., Any], str] = {
    arithmetic.fma: "FMA",
    arithmetic.complement: "complement",
    arithmetic.clip: "clip",
    arithmetic.choose: "choose",
    arithmetic.quotient: "quotient",
    arithmetic.magnitude: "magnitude",
    arithmetic.with_sign: "with_sign",
    arithmetic.power_of_two: "power_of_two",
}
# What each of them is, for a kind of numbers; `f` ends the names and literals of float.
TEXTS = {
    "FMA": """\
/* x * y + z, rounded once where the processor can do that in one instruction. */
#if defined(FP_FAST_FMA{F}) || defined(__FP_FAST_FMA{F}) || defined(__FMA__) || defined(__aarch64__)
#define FMA(x, y, z) fma{f}(x, y, z)
#else
#define FMA(x, y, z) ((x) * (y) + (z))
#endif
""",
    "complement": """\
static inline {real} complement({real} x)
{{
    return 1.0{f} - x;
}}
""",
    "clip": """\
/* NaN stays NaN. */
static inline {real} clip({real} x, {real} low, {real} high)
{{
    x = x < low ? low : x;
    return x > high ? high : x;
}}
""",
    "choose": """\
/* x where c > 0 (or NaN), else y. */
static inline {real} choose({real} c, {real} x, {real} y)
{{
    return c <= 0.0{f} ? y : x;
}}
""",
    "quotient": """\
static inline {real} quotient({real} x, {real} y)
{{
    return x / y;
}}
""",
    "magnitude": """\
static inline {real} magnitude({real} x)
{{
    return fabs{f}(x);
}}
""",
    "with_sign": """\
/* |x| with the sign of y. */
static inline {real} with_sign({real} x, {real} y)
{{
    return copysign{f}(x, y);
}}
""",
    "power_of_two": """\
/* 2**k of an integer k: the sum has it, and the bias of exponents, in its lowest bits. */
static inline {real} power_of_two({real} k)
{{
    {real} power = k + {rounder};
    {bits} bits;
    memcpy(&bits, &power, sizeof bits);
    bits <<= {digits};
    memcpy(&power, &bits, sizeof bits);
    return power;
}}
""",
}
FLOAT = {"f": "f", "F": "F", "bits": "uint32_t", "digits": 23, "rounder": "12583039.0f"}  # 1.5 * 2**23 + 127
DOUBLE = {"f": "", "F": "", "bits": "uint64_t", "digits": 52, "rounder": "6755399441056767.0"}  # 1.5 * 2**52 + 1023


def primitive(name: str, real: str) -> str:
    """Its text for float or double."""
    return TEXTS[name].format(real=real, **(FLOAT if real == "float" else DOUBLE))
