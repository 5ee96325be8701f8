"""The single changes that are tried: each replaces one expression or statement of a module's source by another."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from itertools import accumulate
from typing import Final


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """One change: the bytes of a module from `start` to `end` become `new`; `old` is what stands there, on one line."""

    module: str
    start: int
    end: int
    kind: str
    new: str
    line: int
    old: str
    text: str
    """The source line in which it begins, without the blanks around it."""

    def applied(self, source: bytes) -> bytes:
        """Return the module's source with the change in it."""
        return source[: self.start] + self.new.encode() + source[self.end :]

    def __str__(self) -> str:
        return f"passthrough/{self.module}:{self.line}  {self.old}  →  {self.new}"


COMPARISONS: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
"""Orders change at the edge, the others turn round."""

ARITHMETIC: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
"""Operators, also those of assignments such as `+=`."""

NAMES: Final = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "startswith": "endswith",
    "endswith": "startswith",
    "find": "rfind",
    "rfind": "find",
    "partition": "rpartition",
    "rpartition": "partition",
    "lstrip": "rstrip",
    "rstrip": "lstrip",
}
"""Functions and methods that take the same arguments."""

_COMMUTE: Final = {"min", "max", "isinstance", "issubclass", "getattr", "hasattr", "cast", "zip"}
_DECLARED: Final = {"__all__", "__slots__"}
_BARE: Final = (ast.Constant, ast.Name, ast.Call, ast.Attribute, ast.Subscript)
_TEXT: Final = (str, bytes)


def changes(module: str, source: bytes) -> list[Change]:
    """Return every change of a module's source, in the order in which they stand there; `module` is its path in the package."""
    starts = (0, *accumulate(map(len, source.splitlines(keepends=True))))
    lines = source.decode().splitlines()
    found = set()
    for node, kind, new in _walk(ast.parse(source)):
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start, end = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
        old = " ".join(source[start:end].decode().split())
        found.add(Change(module, start, end, kind, new, node.lineno, old, lines[node.lineno - 1].strip()))
    return sorted(found)


_Place = ast.expr | ast.stmt
_Found = Iterator[tuple[_Place, str, str]]


def _walk(node: ast.AST) -> _Found:
    """Yield each change below a node: what is replaced, the kind of change, and what by."""
    for name, value in ast.iter_fields(node):
        # Annotations are not evaluated, decorators declare, and the places of what stands in an f-string are not exact.
        if name in {"annotation", "returns", "decorator_list", "type_comment"}:
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(child, ast.JoinedStr | ast.Assert | ast.pattern) or _declares(child):
                continue
            if isinstance(child, ast.stmt):
                yield from _of_statement(child)
            elif isinstance(child, ast.expr):
                yield from _of_expression(child)
            yield from _walk(child)


def _declares(node: ast.AST) -> bool:
    """Tell whether a statement only declares: names of slots, what is imported for types, a union of types."""
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    if not isinstance(node, ast.Assign):
        return isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr) and _is_type(node.left) and _is_type(node.right)
    return any(isinstance(target, ast.Name) and target.id in _DECLARED for target in node.targets)


def _is_type(node: ast.expr) -> bool:
    """Tell whether an operand of `|` is a type by its looks."""
    if isinstance(node, ast.BinOp):
        return _is_type(node.left) and _is_type(node.right)
    name = node.value if isinstance(node, ast.Subscript) else node
    plain = {"int", "str", "bytes", "float", "bool", "dict", "list", "tuple", "set", "frozenset", "type", "bytearray"}
    last = name.id if isinstance(name, ast.Name) else name.attr if isinstance(name, ast.Attribute) else ""
    return last in plain or (last[:1].isupper() and not last.isupper()) or (isinstance(node, ast.Constant) and node.value is None)


def _text(node: ast.expr) -> str:
    """Return the source of an expression, in parentheses where its neighbours could tear it apart."""
    spelt = ast.unparse(node)
    return spelt if isinstance(node, _BARE) and not spelt.startswith("-") else f"({spelt})"


def _of_statement(node: ast.stmt) -> _Found:
    match node:
        case ast.Expr(value=ast.Call() | ast.Await()) | ast.Raise() | ast.Delete():
            yield node, "dropped", "pass"
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield node, "dropped", "pass"
        case ast.AugAssign():
            yield node, "dropped", "pass"
            if type(node.op) in ARITHMETIC:
                yield node, "arithmetic", ast.unparse(_with(node, op=ARITHMETIC[type(node.op)]()))
        case ast.Return(value=None) | ast.Continue():
            yield node, "dropped", "pass"
        case ast.Break():
            yield node, "dropped", "continue"
        case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
            yield node, "dropped", "return None"
        case ast.If(test=test) | ast.While(test=test) if not isinstance(test, ast.Constant):
            yield test, "negated", f"(not {_text(test)})"


def _of_expression(node: ast.expr) -> _Found:
    match node:
        case ast.Compare():
            for at, comparison in enumerate(node.ops):
                ops = [*node.ops[:at], COMPARISONS[type(comparison)](), *node.ops[at + 1 :]]
                yield node, "comparison", _text(_with(node, ops=ops))
        case ast.BoolOp():
            yield node, "boolean", _text(_with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And()))
            for at in range(len(node.values)):
                kept = [*node.values[:at], *node.values[at + 1 :]]
                yield node, "boolean", _text(kept[0] if len(kept) == 1 else _with(node, values=kept))
        case ast.BinOp(left=left, right=right):
            of_text = any(isinstance(side, ast.Constant) and isinstance(side.value, _TEXT) for side in (left, right))
            if type(node.op) in ARITHMETIC and not of_text and not isinstance(left, ast.JoinedStr):
                yield node, "arithmetic", _text(_with(node, op=ARITHMETIC[type(node.op)]()))
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield node, "boolean" if isinstance(node.op, ast.Not) else "arithmetic", _text(node.operand)
        case ast.Constant(value=bool() as value):
            yield node, "constant", str(not value)
        case ast.Constant(value=int() | float() as value):
            yield node, "constant", _text(ast.Constant(value + 1))
            yield node, "constant", _text(ast.Constant(value - 1))
        case ast.IfExp(test=test):
            yield test, "negated", f"(not {_text(test)})"
        case ast.ListComp(generators=generators) | ast.SetComp(generators=generators) | ast.GeneratorExp(generators=generators):
            yield from _of_filters(generators)
        case ast.DictComp(generators=generators):
            yield from _of_filters(generators)
        case ast.Call():
            yield from _of_call(node)


def _of_filters(generators: list[ast.comprehension]) -> _Found:
    for generator in generators:
        for test in generator.ifs:
            yield test, "dropped", "True"


def _of_call(node: ast.Call) -> _Found:
    name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr if isinstance(node.func, ast.Attribute) else ""
    if name in NAMES:
        other = _with(node.func, **{"id" if isinstance(node.func, ast.Name) else "attr": NAMES[name]})
        yield node.func, "name", ast.unparse(other)
    for at in range(len(node.args) - 1):
        one, two = node.args[at : at + 2]
        plain = not isinstance(one, ast.Starred | ast.GeneratorExp) and not isinstance(two, ast.Starred | ast.GeneratorExp)
        if name not in _COMMUTE and plain and ast.dump(one) != ast.dump(two):
            swapped = [*node.args[:at], two, one, *node.args[at + 2 :]]
            yield node, "swapped", _text(_with(node, args=swapped))


def _with(node: ast.AST, **parts: object) -> ast.AST:
    """Return a copy of a node with other parts."""
    other = copy(node)
    for name, part in parts.items():
        setattr(other, name, part)
    return other
