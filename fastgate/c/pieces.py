"""What a program in C is put together from: constants, functions, and parts that each make some of them."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np

from fastgate._arrays import Array
from fastgate._kernels import arithmetic
from fastgate.c.equations import Functions
from fastgate.c.literals import REALS, table

# Four inputs at a time: sums are read and written once for all of them, and compilers make vectors of the columns.
ACCUMULATE = """\
/* a[j] += sum over k of x[k] * W[k * columns + j], each sum in the order of k. */
static void accumulate(int columns, int depth, const {real} *W, const {real} *x, {real} *a)
{{
    {real} sum[MOST_COLUMNS];
    int j, k;

    for (j = 0; j < columns; j++)
        sum[j] = 0;
    for (k = 0; k + 4 <= depth; k += 4, W += 4 * columns)
        for (j = 0; j < columns; j++) {{
            {real} total = sum[j];
            total = FMA(x[k], W[j], total);
            total = FMA(x[k + 1], W[columns + j], total);
            total = FMA(x[k + 2], W[2 * columns + j], total);
            total = FMA(x[k + 3], W[3 * columns + j], total);
            sum[j] = total;
        }}
    for (; k < depth; k++, W += columns)
        for (j = 0; j < columns; j++)
            sum[j] = FMA(x[k], W[j], sum[j]);
    for (j = 0; j < columns; j++)
        a[j] += sum[j];
}}
"""


class Program:
    """The text as it grows."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype, self.real = dtype, REALS[dtype.name]
        self.functions = Functions(dtype)
        self.defines: dict[str, int] = {}
        self.tables: list[str] = []  # of weights
        self.parts: list[str] = []  # functions that call those of the equations
        self.most_columns = 0

    def define(self, name: str, value: int) -> None:
        self.defines[name] = value

    def constant(self, name: str, values: Array, shape: str = "") -> None:
        """Weights; `shape` is said beside the name."""
        self.tables.append((f"/* {shape} */\n" if shape else "") + table(name, values))
        if values.ndim == 2:
            self.most_columns = max(self.most_columns, values.shape[1])

    def accumulate(self, columns: str, depth: str, W: str, x: str, a: str) -> str:
        """A call that adds the product of x and the constant W."""
        self.functions.primitive(arithmetic.fma)
        return f"accumulate({columns}, {depth}, {W}, {x}, {a});"

    def function(self, comment: str, head: str, lines: list[str]) -> None:
        body = "".join(f"    {line}\n" if line else "\n" for line in lines)
        own = "\n".join(textwrap.wrap(f"/* {comment} */", 100, subsequent_indent="   "))
        self.parts.append(f"{own}\n{head}\n{{\n{body}}}\n")


class Part:
    """A layer in its place. Its functions are written when it is made."""

    outputs: int

    def __init__(self, program: Program, layer: Any, name: str) -> None:
        self.program, self.real, self.layer, self.name, self.upper = program, program.real, layer, name, name.upper()
        self.states: dict[str, tuple[int, int]] = {}  # h, and c if there is one -> (layers, units)
