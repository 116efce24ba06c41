"""The equations of the cells, which are plain Python, in C: the same statements under the same names.

Only what the wanted results need is written. A function that gives one result returns it; one that gives several writes
them to where its last arguments point.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastgate._kernels import BY_PRECISION
from fastgate.c.expressions import Expressions, Source, names_in, source_of
from fastgate.c.literals import REALS
from fastgate.c.primitives import PRIMITIVES, primitive


class Functions:
    """Functions of C in the order in which they call one another, each written once."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype, self.real = dtype, REALS[dtype.name]
        self.texts: list[str] = []
        self._names: dict[Any, str] = {}

    def name_of(self, function: Callable[..., Any], wanted: Sequence[int] = (0,)) -> str:
        """What it is called in C, where it gives those of its results that are `wanted`."""
        suffix = "" if _is_equation(function) else f"_{self.dtype.name}"  # as math.h has a tanh too
        function = BY_PRECISION.get(function, {}).get(self.dtype.name, function)
        key = function, tuple(wanted)
        if key not in self._names:
            body = _Body(self, source_of(function), wanted)
            name = self._unused(_plain_name(function).removesuffix(suffix) + suffix)
            self.texts.append(body.definition(name))
            self._names[key] = name
        return self._names[key]

    def primitive(self, function: Callable[..., Any]) -> str:
        """The name of an operation of `kernels/arithmetic.py`."""
        name = PRIMITIVES[function]
        if name not in self._names.values():
            self._names[function] = name
            self.texts.append(primitive(name, self.real))
        return name

    def _unused(self, name: str) -> str:
        taken, number, own = set(self._names.values()), 1, name
        while own in taken:
            number += 1
            own = f"{name}_{number}"
        return own


def _is_equation(function: Callable[..., Any]) -> bool:
    return function.__module__.endswith(".equations")


def _plain_name(function: Callable[..., Any]) -> str:
    """`_tanh_float32`, and `function` inside of `_elu`, without what is private."""
    outer, *_ = function.__qualname__.split(".<locals>")
    return function.__name__ if _is_equation(function) else outer.strip("_")


class _Body(Expressions):
    """The body of one function, in C."""

    def __init__(self, functions: Functions, source: Source, wanted: Sequence[int]) -> None:
        super().__init__(functions, source, dict(zip(source.arguments, source.arguments, strict=True)))
        self.real = functions.real
        self.wanted = [source.results[place] for place in wanted]
        self.lines: list[str] = []
        if ast.get_docstring(source.tree):
            self._comment(" ".join((ast.get_docstring(source.tree) or "").split()))
        for statement, live in self._needed():
            self._remark(statement)
            self._assign(statement, live)
        self._remark(source.tree.body[-1])
        if len(self.wanted) == 1:
            self.lines.append(f"return {self.text(self.wanted[0])};")
        else:
            self.lines += [f"*{self.text(result)}_out = {self.text(result)};" for result in self.wanted]

    def definition(self, name: str) -> str:
        real, several = self.real, len(self.wanted) > 1
        arguments = [f"{real} {argument}" for argument in self.source.arguments]
        arguments += [f"{real} *{self.text(result)}_out" for result in self.wanted if several]
        body = "".join(f"    {line}\n" for line in self.lines)
        return f"static inline {'void' if several else real} {name}({', '.join(arguments)})\n{{\n{body}}}\n"

    def _needed(self) -> list[tuple[ast.Assign, set[str]]]:
        """Statements that the results depend on, and what is still to be read after each."""
        live = {name for result in self.wanted for name in names_in(result)}
        needed = []
        for statement in reversed(self.source.tree.body[:-1]):
            if not isinstance(statement, ast.Assign):
                continue
            written = set(names_in(statement.targets[0]))
            if written & live:
                needed.append((statement, set(live)))
                live = (live - written) | set(names_in(statement.value))
        return needed[::-1]

    def _assign(self, statement: ast.Assign, live: set[str]) -> None:
        (target,) = statement.targets
        names = [target] if isinstance(target, ast.Name) else list(target.elts)  # type: ignore[attr-defined]
        places = [place for place, name in enumerate(names) if name.id in live]
        real, own = self.real, [names[place].id for place in places]
        if isinstance(target, ast.Tuple):
            assert isinstance(statement.value, ast.Call)
            called = self.functions.name_of(self.constant(statement.value.func), places)
            arguments = [self.text(argument) for argument in statement.value.args]
            if len(own) > 1:
                self.lines.append(f"{real} {', '.join(own)};")
                self.lines.append(f"{called}({', '.join(arguments + [f'&{name}' for name in own])});")
            else:
                self.lines.append(f"{real} {own[0]} = {called}({', '.join(arguments)});")
        else:
            kind = "" if own[0] in self.variables else f"{real} "
            self.lines.append(f"{kind}{own[0]} = {self.text(statement.value)};")
        self.variables |= {name: name for name in own}

    def _remark(self, statement: ast.stmt) -> None:
        """What stands about a statement in comments, above it and behind it."""
        first = statement.lineno - 1
        remarks: list[str] = []
        while (above := self.source.lines[first - 1].strip()).startswith("#"):
            remarks.insert(0, above)
            first -= 1
        _, behind, text = self.source.lines[(statement.end_lineno or 0) - 1].partition("  # ")
        remarks += [text] if behind else []
        if remarks:
            self._comment(" ".join(remark.removeprefix("#").strip() for remark in remarks))

    def _comment(self, text: str) -> None:
        self.lines += textwrap.wrap(f"/* {text} */", 100, subsequent_indent="   ", break_on_hyphens=False)
