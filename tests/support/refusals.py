"""The list of all that a caller can be told, as docs/refusals.md has it and as the code says it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "refusals.md"
# By the class of the error, as inference/server/calls.py has it.
STATUS = {
    "InputError": "INVALID_ARGUMENT",
    "UnknownModelError": "NOT_FOUND",
    "RootMismatchError": "FAILED_PRECONDITION",
    "BusyError": "RESOURCE_EXHAUSTED",
    "CallerError": "UNAUTHENTICATED",
    "UnavailableError": "UNAVAILABLE",
}
# Those that are raised while a server starts, or to the operator on a socket of his own.
NEVER_TO_CALLERS = {"commands.py", "control_socket.py", "port.py"}
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
    sources = [*(ROOT / "inference/wire").glob("*.py"), *(ROOT / "inference/server").glob("*.py")]
    return {
        found
        for source in sources
        if source.name not in NEVER_TO_CALLERS
        for found in _raised(ast.parse(source.read_text()))
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
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
            status = STATUS.get(node.func.id)
            if status:
                yield status, _words(node.args[0])


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
