"""The equations of the cells, which are plain Python, in C: the same statements under the same names.

Only what the wanted results need is written. A function that gives one result returns it; one that gives several writes
them to where its last arguments point.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastgate._kernels import BY_PRECISION
from fastgate.c.literals import REALS, literal
from fastgate.c.primitives import PRIMITIVES, primitive

Names = Mapping[str, str]  # of Python's variables in C
OPERATORS: dict[type, tuple[str, int]] = {ast.Add: ("+", 1), ast.Sub: ("-", 1), ast.Mult: ("*", 2), ast.Div: ("/", 2)}
UNARY, ATOM = 3, 4


class Source(NamedTuple):
    """A Python function as it is written."""

    tree: ast.FunctionDef
    lines: list[str]
    namespace: Mapping[str, Any]  # what its free names are

    @property
    def arguments(self) -> list[str]:
        return [argument.arg for argument in self.tree.args.args]

    @property
    def results(self) -> list[ast.expr]:
        *_, last = self.tree.body
        assert isinstance(last, ast.Return)
        assert last.value is not None
        return list(last.value.elts) if isinstance(last.value, ast.Tuple) else [last.value]


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
            self.texts.append(body.text(name))
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


def source_of(function: Callable[..., Any]) -> Source:
    lines = textwrap.dedent(inspect.getsource(function)).splitlines()
    (tree,) = ast.parse("\n".join(lines)).body
    assert isinstance(tree, ast.FunctionDef)
    free = inspect.getclosurevars(function)
    return Source(tree, lines, {**function.__globals__, **free.nonlocals})


def _is_equation(function: Callable[..., Any]) -> bool:
    return function.__module__.endswith(".equations")


def _plain_name(function: Callable[..., Any]) -> str:
    """`_tanh_float32`, and `function` inside of `_elu`, without what is private."""
    outer, *_ = function.__qualname__.split(".<locals>")
    return function.__name__ if _is_equation(function) else outer.strip("_")


def _names_in(node: ast.AST) -> Iterator[str]:
    return (part.id for part in ast.walk(node) if isinstance(part, ast.Name))


class _Body:
    """The body of one function, in C."""

    def __init__(self, functions: Functions, source: Source, wanted: Sequence[int]) -> None:
        self.functions, self.source = functions, source
        self.wanted = [source.results[place] for place in wanted]
        self.locals = dict(zip(source.arguments, source.arguments, strict=True))
        self.lines: list[str] = []
        if ast.get_docstring(source.tree):
            self._comment(" ".join((ast.get_docstring(source.tree) or "").split()))
        for statement, live in self._needed():
            self._remark(statement)
            self._assign(statement, live)
        self._remark(source.tree.body[-1])
        if len(self.wanted) == 1:
            self.lines.append(f"return {self._expression(self.wanted[0])};")
        else:
            self.lines += [f"*{self._expression(result)}_out = {self._expression(result)};" for result in self.wanted]

    def text(self, name: str) -> str:
        real, several = self.functions.real, len(self.wanted) > 1
        arguments = [f"{real} {argument}" for argument in self.source.arguments]
        arguments += [f"{real} *{self._expression(result)}_out" for result in self.wanted if several]
        body = "".join(f"    {line}\n" for line in self.lines)
        return f"static inline {'void' if several else real} {name}({', '.join(arguments)})\n{{\n{body}}}\n"

    def _needed(self) -> list[tuple[ast.Assign, set[str]]]:
        """Statements that the results depend on, and what is still to be read after each."""
        live = {name for result in self.wanted for name in _names_in(result)}
        needed = []
        for statement in reversed(self.source.tree.body[:-1]):
            if not isinstance(statement, ast.Assign):
                continue
            written = set(_names_in(statement.targets[0]))
            if written & live:
                needed.append((statement, set(live)))
                live = (live - written) | set(_names_in(statement.value))
        return needed[::-1]

    def _assign(self, statement: ast.Assign, live: set[str]) -> None:
        (target,) = statement.targets
        names = [target] if isinstance(target, ast.Name) else list(target.elts)  # type: ignore[attr-defined]
        places = [place for place, name in enumerate(names) if name.id in live]
        real, own = self.functions.real, [names[place].id for place in places]
        if isinstance(target, ast.Tuple):
            assert isinstance(statement.value, ast.Call)
            called = self.functions.name_of(self._constant(statement.value.func), places)
            arguments = [self._expression(argument) for argument in statement.value.args]
            if len(own) > 1:
                self.lines.append(f"{real} {', '.join(own)};")
                self.lines.append(f"{called}({', '.join(arguments + [f'&{name}' for name in own])});")
            else:
                self.lines.append(f"{real} {own[0]} = {called}({', '.join(arguments)});")
        else:
            kind = "" if own[0] in self.locals else f"{real} "
            self.lines.append(f"{kind}{own[0]} = {self._expression(statement.value)};")
        self.locals |= {name: name for name in own}

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

    def _constant(self, node: ast.expr) -> Any:
        """The value of an expression without variables."""
        return eval(compile(ast.Expression(node), "equation", "eval"), dict(self.source.namespace))

    def _expression(self, node: ast.expr, binding: int = 0) -> str:
        """In C; in parentheses if it binds less than what it is part of."""
        text, own = self._bound(node)
        return f"({text})" if own < binding else text

    def _bound(self, node: ast.expr) -> tuple[str, int]:
        if not any(name in self.locals for name in _names_in(node)):
            text = literal(self._constant(node), self.functions.dtype)
            return text, UNARY if text.startswith("-") else ATOM
        match node:
            case ast.Name():
                return self.locals[node.id], ATOM
            case ast.BinOp():
                sign, own = OPERATORS[type(node.op)]
                return f"{self._expression(node.left, own)} {sign} {self._expression(node.right, own + 1)}", own
            case ast.UnaryOp(op=ast.USub()):
                return f"-{self._expression(node.operand, ATOM)}", UNARY
            case ast.IfExp():
                return self._bound(node.body if self._constant(node.test) else node.orelse)
            case ast.Call():
                return self._call(node), ATOM
        raise NotImplementedError(f"{ast.unparse(node)} has no meaning in C")

    def _call(self, node: ast.Call) -> str:
        function = self._constant(node.func)
        if getattr(function, "__name__", "") == "like":
            return self._expression(node.args[1])
        if function in PRIMITIVES:
            called = self.functions.primitive(function)
        elif (inner := self._inlined(function, node.args)) is not None:
            return inner
        else:
            called = self.functions.name_of(function)
        return f"{called}({', '.join(self._expression(argument) for argument in node.args)})"

    def _inlined(self, function: Callable[..., Any], arguments: list[ast.expr]) -> str | None:
        """A term of a polynomial in a variable: an expression of that variable."""
        if function in BY_PRECISION or not all(isinstance(argument, ast.Name) for argument in arguments):
            return None
        source = source_of(function)
        if len(source.tree.body) > 1:
            return None
        inner = _Body.__new__(_Body)
        inner.functions, inner.source = self.functions, source
        inner.locals = dict(zip(source.arguments, map(self._expression, arguments), strict=True))
        return inner._expression(source.results[0])
