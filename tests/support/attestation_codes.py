"""Every code that modules of checks can report, read off their source."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from types import ModuleType

# Who takes a code, and in which place.
_TAKES = {
    "EvidenceError": 0,
    "Finding": 0,
    "refuse": 0,
    "judge": 2,
    "require_signature": 3,
    "_refused": 0,
    "_signed_by": 0,
}


def codes_in(*modules: ModuleType) -> dict[re.Pattern[str], str]:
    """Patterns of all codes, and where each was found first.

    A code that is put together at run time is a pattern with gaps. What a function takes as its
    parameter `code` is looked for where it is called; codes of a table are its values.
    """
    found: dict[re.Pattern[str], str] = {}
    for module in modules:
        for pattern in _patterns(ast.parse(inspect.getsource(module)), module):
            found.setdefault(re.compile(pattern), module.__name__)
    return found


def _patterns(tree: ast.Module, module: ModuleType) -> Iterator[str]:
    prefix = _prefix(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = _name(node.func)
            place = _TAKES.get(name)
            if place is not None and len(node.args) > place:
                yield from _pattern(node.args[place], module, prefix if name == "_refused" else "")


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _pattern(code: ast.expr, module: ModuleType, prefix: str) -> Iterator[str]:
    match code:
        case ast.Constant(value=str(text)):
            yield prefix + re.escape(text)
        case ast.JoinedStr(values=parts):
            gaps = [re.escape(p.value) if isinstance(p, ast.Constant) else ".+" for p in parts]
            yield prefix + "".join(gaps)
        case ast.Subscript(value=ast.Name(id=table)):
            yield from map(re.escape, getattr(module, table).values())
        case ast.Name():
            return  # a parameter: looked for where the function is called
        case _:
            raise AssertionError(f"{module.__name__}: {ast.unparse(code)} is no code we can read")


def _prefix(tree: ast.Module) -> str:
    """What a module's `_refused` puts before the code it is given."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == "_refused":
            for call in ast.walk(node):
                if isinstance(call, ast.Call) and _name(call.func) == "EvidenceError":
                    first = call.args[0]
                    if isinstance(first, ast.JoinedStr) and isinstance(
                        first.values[0], ast.Constant
                    ):
                        return str(first.values[0].value)
    return ""
