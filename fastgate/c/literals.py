"""Numbers as C reads them: the shortest decimal text that gives the same bits again."""

from collections.abc import Sequence

import numpy as np

from fastgate._arrays import Array

REALS = {"float32": "float", "float64": "double"}
A_LINE = 100  # characters


def literals(values: Array) -> list[str]:
    """Those of a vector of float32 or float64."""
    suffix = "f" if values.dtype == np.float32 else ""
    return [_NOT_FINITE.get(text, text + suffix) for text in values.astype(str).tolist()]


_NOT_FINITE = {"inf": "INFINITY", "-inf": "-INFINITY", "nan": "NAN"}


def literal(value: float, dtype: np.dtype[np.floating]) -> str:
    return literals(np.array([value], dtype))[0]


def table(name: str, values: Array) -> str:
    """A constant array of all entries, row by row."""
    real = REALS[values.dtype.name]
    return f"static const {real} {name}[{values.size}] = {{\n{_lines(literals(values.reshape(-1)))}}};\n"


def _lines(words: Sequence[str]) -> str:
    whole, line = [], ""
    for word in words:
        if len(line) + len(word) > A_LINE:
            whole.append(line)
            line = ""
        line += f" {word},"
    return "".join(f"   {line}\n" for line in (*whole, line))
