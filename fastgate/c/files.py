"""The files of an exported model: a header, the source, its weights, and a module for Fortran."""

from __future__ import annotations

import textwrap
from typing import Any

import fastgate
from fastgate.c.assembly import Assembled
from fastgate.c.fortran import fortran
from fastgate.c.pieces import ACCUMULATE

HEADER = """\
/* {name}: one time step of

{model}

   written by fastgate {version}. Compile {name}.c as C99 and link the mathematics library (-lm); nothing else is
   needed. There is no global state and no allocation: a state belongs to the caller, and any number of threads may
   each step their own.

   The order of operations is that of fastgate, and so are the bits of recurrent and linear layers where both use
   fused multiply-adds, or neither does. gcc and clang use them, and vectors, with -O3 -march=native (or -mfma, or on
   any ARM of 64 bits). A step takes some {stack} bytes of the stack. */

#ifndef {NAME}_H
#define {NAME}_H
{includes}
#ifdef __cplusplus
extern "C" {{
#endif

{sizes}

/* What is carried from step to step, laid out as in Python: (layers, units) for each recurrent layer. */
typedef struct {{
{members}}} {name}_state;

/* Start a sequence: all zeros. */
void {name}_init({name}_state *state);

{step_comment}
{step};

#ifdef __cplusplus
}}
#endif

#endif
"""

SOURCE = """\
/* {name}: see {name}.h. */

#include "{name}.h"

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "{name}_weights.h"

/* Sums are formed in the order that is written, even under -ffast-math; a product and a sum are rounded apart, unless
   FMA is written. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-fast-math", "fp-contract=off")
#elif defined(_MSC_VER)
#pragma float_control(precise, on)
#pragma fp_contract(off)
#else
#if defined(__clang_major__) && __clang_major__ > 11
#pragma clang fp reassociate(off)
#endif
#pragma STDC FP_CONTRACT OFF
#endif
#if FLT_EVAL_METHOD == 1 || FLT_EVAL_METHOD == 2
#error "operations must be rounded to their type; on x86 compile with -msse2 -mfpmath=sse"
#endif

{defines}
/* ------------------------------------------------------------------------------ equations of one unit */

{equations}
/* --------------------------------------------------------------------------------------------- layers */

{parts}
/* ---------------------------------------------------------------------------------------------- model */

void {name}_init({name}_state *state)
{{
    memset(state, 0, sizeof *state);
}}

{step}
{{
{body}}}
"""

STEP = "/* Advance `state` by one step: x[{I}] -> y[{O}], which do not overlap. */"
STEP_OF_NUMBER = """\
/* Advance `state` by one step: a number from 0 to {I} - 1 -> y[{O}]. Returns 0; or 1, having done
   nothing, if the number is out of range. */"""


def files(given: Any, name: str) -> dict[str, str]:
    """Name -> content."""
    found = Assembled(given)
    return {
        f"{name}.h": _header(found, name),
        f"{name}.c": _source(found, name),
        f"{name}_weights.h": f"/* Weights of {name}, each matrix row by row. */\n\n" + "\n".join(found.program.tables),
        f"{name}.f90": fortran(found, name),
    }


def _step(found: Assembled, name: str) -> str:
    real = found.program.real
    if found.takes_number:
        return f"int {name}_step({name}_state *state, int32_t number, {real} *y)"
    return f"void {name}_step({name}_state *state, const {real} *x, {real} *y)"


def _header(found: Assembled, name: str) -> str:
    NAME, real = name.upper(), found.program.real
    members = "".join(f"    {real} {kind}_{part.name}[{rows}][{size}];\n" for kind, part, rows, size in found.states)
    if found.takes_number:
        first, count = f"{NAME}_NUMBERS", found.parts[0].layer.num_embeddings
    else:
        first, count = f"{NAME}_INPUTS", found.inputs
    comment = STEP_OF_NUMBER if found.takes_number else STEP
    return HEADER.format(
        name=name,
        NAME=NAME,
        version=fastgate.__version__,
        model=textwrap.indent(repr(found.given), "     "),
        includes="\n#include <stdint.h>\n" if found.takes_number else "",
        sizes=f"#define {first} {count}\n#define {NAME}_OUTPUTS {found.outputs}",
        members=members or "    char nothing;\n",
        step_comment=comment.format(I=first, O=f"{NAME}_OUTPUTS"),
        stack=found.stack,
        step=_step(found, name),
    )


def _source(found: Assembled, name: str) -> str:
    program = found.program
    sizes = program.defines | ({"MOST_COLUMNS": program.most_columns} if program.most_columns else {})
    products = [ACCUMULATE.format(real=program.real)] if program.most_columns else []
    body = found.body()
    if not found.states:
        body = ["(void)state;", *body]
    if found.takes_number:
        largest = f"{name.upper()}_NUMBERS"
        body = [f"if (number < 0 || number >= {largest})", "    return 1;", *body, "return 0;"]
    return SOURCE.format(
        name=name,
        defines="".join(f"#define {size} {value}\n" for size, value in sizes.items()),
        equations="\n".join(program.functions.texts),
        parts="\n".join([*products, *program.parts]),
        step=_step(found, name),
        body="".join(f"    {line}\n" if line else "\n" for line in body),
    )
