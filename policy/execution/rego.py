"""Rego as far as it is data: what execution policies and fragments consist of, whoever wrote them.

    module  = "package" NAME {import} {rule}
    rule    = NAME (":=" | "=") value
    value   = JSON, with raw strings and a comma before a closing bracket
            | "data.framework." NAME | "parameter(" STRING ")"

Several layouts are in use (confcom's, compact and pretty; hcsshim's own tool's; by hand), and all
of them are this. Rules with a body, functions and operators are programs, which nothing here runs.
Shape of the language: Open Policy Agent, policy reference, grammar.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn

from sealserve.native.errors import ConfigError

MAX_MODULE_BYTES = 1024 * 1024  # as execution.text: a group of 60 containers has 300 KB
MAX_DEPTH = 32  # the deepest policy nests 6 levels
MAX_NUMBER_CHARS = 32
_MAX_SHOWN = 60  # characters of a stranger's text in a message

_TOKEN = re.compile(
    r"""(?P<blank>[ \t\r]+|\#[^\n]*+)
      | (?P<line>\n)
      | (?P<string>"(?:\\.|[^"\\\n])*+")
      | (?P<raw>`[^`]*+`)
      | (?P<number>-?[0-9]++(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+)
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*+(?:\.[A-Za-z_][A-Za-z0-9_]*+)*+)
      | (?P<mark>:=|[][{}(),:;=])
    """,
    re.VERBOSE,
)
_IMPORTS = re.compile(r"future\.keywords(?:\.[a-z]+)?|rego\.v1")
_WORDS: Mapping[str, object] = {"true": True, "false": False, "null": None}
_RESERVED = frozenset(
    {"as", "contains", "default", "else", "every", "false", "if", "import", "in", "not", "null"}
    | {"package", "some", "true", "with"}
)
_FRAMEWORK = "data.framework."

_NO_POLICY = "`sealserve policy generate` writes one"
_JSON = "values are written as JSON has them, text in double quotes"
OWN_RULES = (
    "only policies that are data and bind the framework's rules can be judged here, as confcom "
    "and hcsshim's tool write them; rules of one's own have to be run by the guest's own engine"
)


class OwnRulesError(ConfigError):
    """A module that is no data as we read it, though it may well be Rego."""


@dataclass(frozen=True)
class Binding:
    """`data.framework.NAME`: what the module built into the guest says."""

    name: str


@dataclass(frozen=True)
class Parameter:
    """`parameter("NAME")`: what whoever admits a fragment hands to it."""

    name: str


@dataclass(frozen=True)
class Rule:
    """One `NAME := value`. line: counted from 1."""

    value: object
    line: int


@dataclass(frozen=True)
class Module:
    """A package and its rules, in the order of the text."""

    package: str
    rules: Mapping[str, Rule]
    file: str = ""

    def error(self, name: str, message: str, *, hint: str = "") -> ConfigError:
        """For a rule that is data, but not what belongs there."""
        return ConfigError(message, file=self.file, line=self.rules[name].line, key=name, hint=hint)


def parse(data: bytes, *, file: str = "") -> Module:
    """Read one module. Raises ConfigError with file and line for everything that is not data."""
    if len(data) > MAX_MODULE_BYTES:
        raise ConfigError(
            f"{len(data)} bytes; at most {MAX_MODULE_BYTES} are read",
            file=file,
            hint="is this a policy at all? one of 60 containers has 300 KB",
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"is not UTF-8 text at byte {error.start}", file=file, hint=_NO_POLICY
        ) from error
    return _Reader(text, file).module()


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    line: int

    @property
    def shown(self) -> str:
        return "the end" if self.kind == "end" else repr(self.text[:_MAX_SHOWN])


class _Reader:
    """One token ahead, line ends told apart only where a statement ends."""

    def __init__(self, text: str, file: str) -> None:
        self._file = file
        self._tokens = self._scan(text)
        self._broken = True  # whether a line end or `;` stands before the next token
        self._next = _Token("start", "", 1)
        self._next = self._read()

    def module(self) -> Module:
        package = self._package()
        rules: dict[str, Rule] = {}
        while self._next.kind != "end":
            self._begin_statement()
            if self._next.text == "import":
                self._import()
                continue
            name, rule = self._rule()
            if name in rules:
                self._refuse(
                    f"{name} is set a second time; first in line {rules[name].line}",
                    hint="a guest refuses both: leave one of them",
                )
            rules[name] = rule
        return Module(package, rules, self._file)

    def _package(self) -> str:
        if self._next.text != "package":
            raise ConfigError(
                f"is not an execution policy: seen {self._next.shown}, wanted 'package'",
                file=self._file,
                hint=_NO_POLICY,
            )
        self._take()
        return self._named("the package's name").text

    def _import(self) -> None:
        self._take()
        path = self._named("what to import")
        if not _IMPORTS.fullmatch(path.text):
            self._program(f"imports {path.text[:_MAX_SHOWN]}", line=path.line)

    def _rule(self) -> tuple[str, Rule]:
        name = self._named("the name of a rule")
        if name.text in _RESERVED or "." in name.text:
            self._own_rule(name)
        if self._next.text not in (":=", "="):
            self._own_rule(name)
        self._take()
        rule = Rule(self._value(0), name.line)
        if not self._broken and self._next.kind != "end":
            self._own_rule(name)
        return name.text, rule

    def _own_rule(self, name: _Token) -> NoReturn:
        shown = name.text[:_MAX_SHOWN]
        self._program(
            f"{shown!r} is a rule of its own, not data: seen {self._next.shown}", line=name.line
        )

    def _begin_statement(self) -> None:
        if not self._broken:
            self._refuse(
                f"seen {self._next.shown}, wanted a line end", hint="each rule has its own line"
            )

    def _value(self, depth: int) -> object:
        if depth > MAX_DEPTH:
            self._refuse(
                f"nested deeper than {MAX_DEPTH} levels", hint="no part of a policy nests so deep"
            )
        token = self._take()
        if token.text == "[" and token.kind == "mark":
            return self._list(depth)
        if token.text == "{" and token.kind == "mark":
            return self._object(depth)
        if token.kind in ("string", "raw", "number"):
            return self._scalar(token)
        if token.kind == "name":
            return self._word(token)
        return self._refuse(f"seen {token.shown}, wanted a value", line=token.line, hint=_JSON)

    def _list(self, depth: int) -> list[object]:
        return [self._value(depth + 1) for _ in self._items("]")]

    def _object(self, depth: int) -> dict[str, object]:
        members: dict[str, object] = {}
        for _ in self._items("}"):
            token = self._take()
            if token.kind not in ("string", "raw"):
                self._program(f"seen {token.shown}, wanted the name of a member", line=token.line)
            name = str(self._scalar(token))
            if name in members:
                self._refuse(
                    f"member {name[:_MAX_SHOWN]!r} appears twice",
                    line=token.line,
                    hint="leave one of them: readers differ in which counts",
                )
            self._expect(":")
            members[name] = self._value(depth + 1)
        return members

    def _items(self, end: str) -> Iterator[None]:
        """Once per item up to `end`; commas between them, and one may follow the last."""
        while self._next.text != end:
            yield
            if self._next.text != end:
                self._expect(",")
        self._take()

    def _scalar(self, token: _Token) -> object:
        if token.kind == "raw":
            return token.text[1:-1]
        if len(token.text) > MAX_NUMBER_CHARS and token.kind == "number":
            self._refuse(f"a number of {len(token.text)} digits", line=token.line, hint=_JSON)
        try:
            value: object = json.loads(token.text)
            if isinstance(value, str):
                value.encode()  # UnicodeEncodeError: half a surrogate pair
        except ValueError:
            self._refuse(f"seen {token.shown}, which is no value", line=token.line, hint=_JSON)
        if value in (float("inf"), float("-inf")):
            self._refuse(f"{token.shown} is not a number we read", line=token.line, hint=_JSON)
        return value

    def _word(self, token: _Token) -> object:
        if token.text in _WORDS:
            return _WORDS[token.text]
        if token.text.startswith(_FRAMEWORK) and token.text.count(".") == 2:
            return Binding(token.text.removeprefix(_FRAMEWORK))
        if token.text == "parameter" and self._next.text == "(":
            return self._parameter()
        return self._program(
            f"refers to {token.text[:_MAX_SHOWN]}, which is not data", line=token.line
        )

    def _parameter(self) -> Parameter:
        self._expect("(")
        name = self._take()
        if name.kind not in ("string", "raw"):
            self._refuse(
                f"seen {name.shown}, wanted a parameter's name",
                line=name.line,
                hint='write parameter("NAME")',
            )
        self._expect(")")
        return Parameter(str(self._scalar(name)))

    def _named(self, what: str) -> _Token:
        token = self._take()
        if token.kind != "name":
            self._refuse(
                f"seen {token.shown}, wanted {what}",
                line=token.line,
                hint="a name is letters and _",
            )
        return token

    def _expect(self, mark: str) -> None:
        token = self._take()
        if token.kind != "mark" or token.text != mark:
            self._program(f"seen {token.shown}, wanted {mark!r}", line=token.line)

    def _take(self) -> _Token:
        token = self._next
        self._next = self._read()
        return token

    def _read(self) -> _Token:
        """The next token that means something."""
        self._broken = False
        for token in self._tokens:
            if token.kind == "line" or token.text == ";":
                self._broken = True
            elif token.kind != "blank":
                return token
        return _Token("end", "", 0)

    def _scan(self, text: str) -> Iterator[_Token]:
        at, line = 0, 1
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                self._program(f"seen {text[at : at + 20]!r}, which is not data", line=line)
            yield _Token(str(found.lastgroup), found[0], line)
            at = found.end()
            line += found[0].count("\n")

    def _program(self, message: str, *, line: int) -> NoReturn:
        raise OwnRulesError(message, file=self._file, line=line, hint=OWN_RULES)

    def _refuse(self, message: str, *, line: int = 0, hint: str) -> NoReturn:
        raise ConfigError(message, file=self._file, line=line or self._next.line, hint=hint)
