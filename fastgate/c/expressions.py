"""Expressions of Python in C: arithmetic, constants, and calls of functions that are translated in their turn."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from fastgate._kernels import BY_PRECISION, arithmetic
from fastgate.c.literals import literal
from fastgate.c.primitives import PRIMITIVES

OPERATORS: dict[type, tuple[str, int]] = {ast.Add: ("+", 1), ast.Sub: ("-", 1), ast.Mult: ("*", 2), ast.Div: ("/", 2)}
UNARY, ATOM = 3, 4  # how tightly they bind


class Source(NamedTuple):
    """A Python function as it is written."""

    tree: ast.FunctionDef
    lines: list[str]
    namespace: dict[str, Any]  # what its free names are

    @property
    def arguments(self) -> list[str]:
        return [argument.arg for argument in self.tree.args.args]

    @property
    def results(self) -> list[ast.expr]:
        *_, last = self.tree.body
        assert isinstance(last, ast.Return)
        assert last.value is not None
        return list(last.value.elts) if isinstance(last.value, ast.Tuple) else [last.value]


def source_of(function: Callable[..., Any]) -> Source:
    lines = textwrap.dedent(inspect.getsource(function)).splitlines()
    (tree,) = ast.parse("\n".join(lines)).body
    assert isinstance(tree, ast.FunctionDef)
    return Source(tree, lines, {**function.__globals__, **inspect.getclosurevars(function).nonlocals})


def names_in(node: ast.AST) -> Iterator[str]:
    return (part.id for part in ast.walk(node) if isinstance(part, ast.Name))


class Called(Protocol):
    """Where functions of C are written."""

    dtype: np.dtype[Any]

    def name_of(self, function: Callable[..., Any], wanted: Sequence[int] = (0,)) -> str: ...
    def primitive(self, function: Callable[..., Any]) -> str: ...


class Expressions:
    """Those of one function; `variables` says what its own names are in C."""

    def __init__(self, functions: Called, source: Source, variables: Mapping[str, str]) -> None:
        self.functions, self.source, self.variables = functions, source, dict(variables)

    def constant(self, node: ast.expr) -> Any:
        """The value of an expression without variables."""
        return eval(compile(ast.Expression(node), "equation", "eval"), self.source.namespace)

    def text(self, node: ast.expr, binding: int = 0) -> str:
        """In C; in parentheses if it binds less than what it is part of."""
        text, own = self._bound(node)
        return f"({text})" if own < binding else text

    def _bound(self, node: ast.expr) -> tuple[str, int]:
        if not any(name in self.variables for name in names_in(node)):
            text = literal(self.constant(node), self.functions.dtype)
            return text, UNARY if text.startswith("-") else ATOM
        match node:
            case ast.Name():
                return self.variables[node.id], ATOM
            case ast.BinOp():
                sign, own = OPERATORS[type(node.op)]
                return f"{self.text(node.left, own)} {sign} {self.text(node.right, own + 1)}", own
            case ast.UnaryOp(op=ast.USub()):
                return f"-{self.text(node.operand, ATOM)}", UNARY
            case ast.IfExp():
                return self._bound(node.body if self.constant(node.test) else node.orelse)
            case ast.Call():
                return self._call(node), ATOM
        raise NotImplementedError(f"{ast.unparse(node)} has no meaning in C")

    def _call(self, node: ast.Call) -> str:
        function = self.constant(node.func)
        if function is arithmetic.like:
            return self.text(node.args[1])
        if function in PRIMITIVES:
            called = self.functions.primitive(function)
        elif (inner := self._inlined(function, node.args)) is not None:
            return inner
        else:
            called = self.functions.name_of(function)
        return f"{called}({', '.join(self.text(argument) for argument in node.args)})"

    def _inlined(self, function: Callable[..., Any], arguments: list[ast.expr]) -> str | None:
        """A term of a polynomial in a variable: an expression of that variable."""
        if function in BY_PRECISION or not all(isinstance(argument, ast.Name) for argument in arguments):
            return None
        source = source_of(function)
        if len(source.tree.body) > 1:
            return None
        variables = dict(zip(source.arguments, map(self.text, arguments), strict=True))
        return Expressions(self.functions, source, variables).text(source.results[0])
