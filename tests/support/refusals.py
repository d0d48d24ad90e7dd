"""The list of all that a caller can be told, as docs/refusals.md has it and as the code says it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from sealserve.inference.server import calls

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "refusals.md"
STATUS = {kind.__name__: code.name for kind, code in calls._STATUS}
STATUS["CompressionError"] = "INTERNAL"  # what else the transport says stands behind a status
# A server that cannot start says UnavailableError too, to whoever started it; calls are answered
# here.
ANSWERS_CALLS = {
    "admission.py", "batching.py", "callers.py", "calls.py", "door.py", "challenge.py", "peers.py",
    "predictions.py", "server.py", "service.py", "streaming.py",
}  # fmt: skip
OPERATORS_ALONE = "model_control.py"  # what it says is said on a socket that no caller reaches
_LINE = re.compile(r"([A-Z_]+) +(.+)")
_TELLING_CHARS = 4  # shorter pieces between what is filled in stand anywhere
_FILLED = re.compile(r"\{[^{}]*\}")


def listed() -> list[tuple[str, str]]:
    """Status and words of every line of the document's two blocks: ours, and gRPC's."""
    return [line for block in (of_ours(), of_grpc()) for line in block]


def of_ours() -> list[tuple[str, str]]:
    """What an error of ours says."""
    return _block(0)


def of_grpc() -> list[tuple[str, str]]:
    """What is said where no error of ours was raised."""
    return _block(1)


def _block(number: int) -> list[tuple[str, str]]:
    blocks = re.findall(r"^```text\n(.*?)^```$", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    lines = [_LINE.fullmatch(line) for line in blocks[number].splitlines()]
    return [(line[1], line[2]) for line in lines if line]


def written() -> set[tuple[str, str]]:
    """Status and words of every such error in the code, with what is filled in as it stands."""
    folders = ("wire", "transport", "server")
    sources = [each for name in folders for each in (ROOT / "inference" / name).glob("*.py")]
    return {
        found
        for source in sources
        if source.name != OPERATORS_ALONE
        for found in _raised(ast.parse(source.read_text()))
        if found[0] != "UNAVAILABLE" or source.name in ANSWERS_CALLS
    }


def is_listed(status: str, words: str) -> bool:
    """Whether a line of the document could have become these words."""
    whole = words.removesuffix("…")  # long ones are cut
    return any(
        status == code and (_matches(line, words) or (whole != words and _begins(line, whole)))
        for code, line in listed()
    )


def _raised(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in STATUS and node.args:
            yield STATUS[node.func.id], _words(node.args[0])
        yield from _said(node.args)


def _said(arguments: list[ast.expr]) -> Iterator[tuple[str, str]]:
    """Words that stand behind a status of gRPC's."""
    for status, words in pairwise(arguments):
        if ast.unparse(status).startswith("grpc.StatusCode.") and _is_text(words):
            yield ast.unparse(status).rpartition(".")[2], _words(words)


def _is_text(argument: ast.expr) -> bool:
    return isinstance(argument, ast.Constant | ast.JoinedStr)


def _words(argument: ast.expr) -> str:
    if isinstance(argument, ast.Constant):
        return str(argument.value)
    assert isinstance(argument, ast.JoinedStr), "a refusal's words stand where it is raised"
    return "".join(_piece(part) for part in argument.values)


def _piece(part: ast.expr) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    assert isinstance(part, ast.FormattedValue)
    conversion = "" if part.conversion == -1 else f"!{chr(part.conversion)}"
    return f"{{{ast.unparse(part.value)}{conversion}}}"


def _pattern(line: str) -> str:
    return ".*".join(re.escape(piece) for piece in _FILLED.split(line))


def _matches(line: str, words: str) -> bool:
    return re.fullmatch(_pattern(line), words, re.DOTALL) is not None


def _begins(line: str, words: str) -> bool:
    """For words that were cut: they end in something that was filled in."""
    pieces = _FILLED.split(line)
    telling = next(n for n, piece in enumerate(pieces) if len(piece) >= _TELLING_CHARS)
    return re.match(".*".join(map(re.escape, pieces[: telling + 1])), words) is not None
