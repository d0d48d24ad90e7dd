"""The house keeps its order: imports point down, and every folder has one name only."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("native", "models", "attestation", "policy", "keys", "inference", "cli")
# A folder may import itself and these.
ALLOWED = {
    "native": set(),
    "models": {"native"},
    "attestation": {"native"},
    "policy": {"native", "attestation"},
    "keys": {"native", "attestation", "policy", "models"},
    "inference": {"native", "models", "attestation", "policy", "keys"},
    "inference.client": {"native", "attestation", "policy", "inference.wire"},
    "inference.proxy": {"native", "inference.client", "inference.wire", "keys.closed_log"},
    "inference.transport": {"native", "inference.wire"},
    "inference.wire": {"native"},
    "cli": {*FOLDERS},
    "sealserve": {"inference.client", "models", "policy", "keys", "native"},
}
# What a client's installation does not have; its folders must load without.
SERVER_ONLY = {
    "aiohttp",
    "azure",
    "fsspec",
    "httpx",
    "jwt",
    "onnx",
    "onnxruntime",
    "prometheus_client",
    "starlette",
    "uvicorn",
}
CLIENT_FOLDERS = ("native", "attestation", "policy", "inference/client", "inference/wire")
SOURCES = sorted(
    [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    + [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.pyx")]
    + list((ROOT / "src/sealserve").glob("*.py"))
)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def folder_of(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    if parts[0] == "src":
        return "sealserve"
    dotted = ".".join(parts[:2])
    return dotted if dotted in ALLOWED else parts[0]


def imported_modules(path: Path) -> set[str]:
    """Every module a file names in an import, wherever in the file that import stands."""
    if path.suffix == ".pyx":
        return cython_imports(path)
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def cython_imports(path: Path) -> set[str]:
    lines = [line.split() for line in path.read_text().splitlines()]
    return {w[1] for w in lines if len(w) > 1 and w[0] in ("from", "import", "cimport")}


def may_import(folder: str, module: str) -> bool:
    inside = module.removeprefix("sealserve.")
    if folder == "sealserve":
        allowed = ALLOWED[folder] | {"errors", "cli"}
    else:
        allowed = ALLOWED[folder] | {folder}
    return any(inside == name or inside.startswith(f"{name}.") for name in allowed)


@pytest.mark.parametrize("source", SOURCES, ids=name_of)
def test_imports_point_down(source):
    folder = folder_of(source)
    modules = {m for m in imported_modules(source) if m.startswith("sealserve.")}
    wrong = {m for m in modules if not may_import(folder, m)}
    assert not wrong, f"{name_of(source)} is in {folder}, which may not import {sorted(wrong)}"


@pytest.mark.parametrize("source", SOURCES, ids=name_of)
def test_no_folder_is_imported_by_its_bare_name(source):
    bare = {m for m in imported_modules(source) if m.split(".")[0] in FOLDERS}
    assert not bare, f"write sealserve.{min(bare)}"


def module_level_imports(path: Path) -> set[str]:
    """Imports that run when the module is loaded: those outside functions and type checking."""
    found: set[str] = set()
    pending: list[ast.AST] = [ast.parse(path.read_text())]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
        pending.extend(ast.iter_child_nodes(node))
    return found


@pytest.mark.parametrize("folder", CLIENT_FOLDERS)
def test_a_client_needs_nothing_of_a_server(folder):
    for path in (ROOT / folder).rglob("*.py"):
        assert not module_level_imports(path) & SERVER_ONLY, name_of(path)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_folder_is_linked_and_opens_with_a_readme(folder):
    link = ROOT / "src/sealserve" / folder
    assert link.is_symlink()
    assert link.readlink() == Path("../..") / folder
    readme = (ROOT / folder / "README.md").read_text()
    assert 5 < len(readme.splitlines()) <= 60


@pytest.mark.parametrize("folder", FOLDERS)
def test_bare_names_do_not_import(folder, tmp_path):
    code = f"import {folder}"
    ran = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert ran.returncode != 0
    assert f"No module named '{folder}'" in ran.stderr


def test_every_verb_has_its_module_and_no_module_lacks_its_verb():
    from sealserve.cli.main import VERBS

    helpers = {
        "__init__",
        "asking",
        "caller_token",
        "client_certificate",
        "deploy_commands",
        "deploy_folder",
        "deploy_lint",
        "differences",
        "files",
        "host_data",
        "judging",
        "key_check",
        "key_policy",
        "main",
        "output",
        "passphrase",
        "policy_diff",
        "policy_explain",
        "policy_generate",
        "policy_hash",
        "policy_input",
        "policy_lint",
        "policy_results",
        "policy_simulate",
        "policy_sources",
        "prerequisites",
        "release",
        "tee_start",
        "trust_new",
    }
    modules = {p.stem for p in (ROOT / "cli").glob("*.py")} - helpers
    assert modules == {verb.replace("-", "_") for verb in VERBS}


def test_the_public_names_all_load():
    import sealserve

    for name in sealserve.__all__:
        assert getattr(sealserve, name) is not None
    assert set(sealserve.__all__) <= set(dir(sealserve))


def test_an_unknown_public_name_is_an_attribute_error():
    import sealserve

    with pytest.raises(AttributeError, match="no attribute 'mystery'"):
        sealserve.mystery  # noqa: B018


@pytest.mark.parametrize(
    "package",
    [
        "sealserve",
        "sealserve.keys",
        "sealserve.native",
        "sealserve.inference.wire",
        "sealserve.attestation.simulated",
    ],
)
def test_no_name_that_loads_on_first_use_is_a_modules(package):
    """Importing the module would put it in the name's place."""
    module = importlib.import_module(package)
    beside = {each.name for each in pkgutil.iter_modules(module.__path__)}
    assert not beside & {*module._HOMES}
