"""The stubs say what the compiled modules are: the same public names, with the same signatures.

A stub is Python too: run as a module it can be asked the same questions as the compiled one.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path
from types import GetSetDescriptorType, ModuleType

import pytest

from sealserve.native.secret import SecretBuffer

NATIVE = Path(__file__).resolve().parents[2] / "native"
MODULES = sorted(source.stem for source in NATIVE.glob("*.pyx"))
# What Python and Cython add to a class by themselves, and the name that the buffer protocol has in
# stubs (PEP 688) but in no class before Python 3.12.
NOT_DECLARED = {
    *dir(object),
    *("__module__", "__dict__", "__weakref__", "__annotations__"),
    *("__pyx_vtable__", "__reduce_cython__", "__setstate_cython__", "__setstate__"),
    "__buffer__",
}


def stub_of(name: str) -> ModuleType:
    path = NATIVE / f"{name}.pyi"
    stub = ModuleType(f"sealserve.native.{name}")
    exec(compile(path.read_text(), path, "exec"), vars(stub))
    return stub


def compiled(name: str) -> ModuleType:
    return importlib.import_module(f"sealserve.native.{name}")


def signature(function: object) -> str:
    assert callable(function)
    bare = inspect.signature(function)
    parameters = [p.replace(annotation=p.empty) for p in bare.parameters.values()]
    return str(bare.replace(parameters=parameters, return_annotation=bare.empty))


def described(name: str, member: object) -> str:
    if name.startswith("_"):
        return "a special name"  # a stub types the arguments of those more closely
    if isinstance(member, property | GetSetDescriptorType):
        return "a property"
    if isinstance(member, staticmethod):
        return f"static {signature(member.__func__)}"
    return signature(member)


def members(kind: type) -> dict[str, str]:
    own = {name: member for name, member in vars(kind).items() if name not in NOT_DECLARED}
    # What a stub only annotates is an attribute, which a type made in C has as a property.
    attributes = dict.fromkeys(inspect.get_annotations(kind), "a property")
    return attributes | {name: described(name, member) for name, member in own.items()}


def defined_in(module: ModuleType) -> dict[str, object]:
    """Public functions and classes that are not another module's."""
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    }


def functions(module: ModuleType) -> dict[str, str]:
    own = defined_in(module)
    return {name: signature(f) for name, f in own.items() if not isinstance(f, type)}


def classes(module: ModuleType) -> dict[str, dict[str, str]]:
    own = defined_in(module)
    return {name: members(kind) for name, kind in own.items() if isinstance(kind, type)}


def test_every_module_has_a_stub_and_every_stub_a_module() -> None:
    assert sorted(stub.stem for stub in NATIVE.glob("*.pyi")) == MODULES


@pytest.mark.parametrize("name", MODULES)
def test_functions(name: str) -> None:
    assert functions(stub_of(name)) == functions(compiled(name))


@pytest.mark.parametrize("name", MODULES)
def test_classes(name: str) -> None:
    assert classes(stub_of(name)) == classes(compiled(name))


@pytest.mark.parametrize("name", MODULES)
def test_constants(name: str) -> None:
    seen = {
        constant: type(value).__name__
        for constant, value in vars(compiled(name)).items()
        if not constant.startswith("_") and isinstance(value, int | str | bytes)
    }
    assert inspect.get_annotations(stub_of(name)) == seen


@pytest.mark.parametrize("name", MODULES)
def test_names_passed_on(name: str) -> None:
    """`import X as X` in a stub makes X a public name of the module."""
    tree = ast.parse((NATIVE / f"{name}.pyi").read_text())
    imports = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    passed_on = {alias.name for node in imports for alias in node.names if alias.asname}
    for alias in passed_on:
        assert getattr(compiled(name), alias) is getattr(stub_of(name), alias)


def test_the_one_constructor() -> None:
    """A type made in C does not tell its arguments."""
    assert signature(stub_of("secret").SecretBuffer) == "(size, *, inherited=False)"
    assert len(SecretBuffer(size=3, inherited=True)) == 3
