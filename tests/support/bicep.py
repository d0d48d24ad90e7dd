"""Reads the part of Bicep that our templates are written in, into what ARM's JSON says of the same.

    file     = {decorated param | resource | output | comment}
    param    = {"@" NAME "(" value ")"} "param" NAME NAME ["=" value]
    resource = "resource" NAME STRING "=" object
    output   = "output" NAME NAME "=" path
    value    = STRING | NUMBER | true | false | object | array | path

Members of objects and arrays stand on lines of their own. Everything else is a SyntaxError: this is
no compiler, but what it reads has one meaning. Language: Azure/bicep, docs/spec.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

_TOKEN = re.compile(
    r"""(?P<blank>[ \t]+|//[^\n]*)
      | (?P<line>\n)
      | (?P<string>'(?:\\.|[^'\\\n])*')
      | (?P<number>[0-9]+)
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<mark>[][{}()=:.@])
    """,
    re.VERBOSE,
)
_TYPES = {"string": "string", "int": "int"}
_WHOLE = re.compile(r"\$\{([A-Za-z]+)\}")


@dataclass
class _Reader:
    tokens: list[tuple[str, str]]
    parameters: dict[str, Any] = field(default_factory=dict)
    resources: list[dict[str, Any]] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    symbols: dict[str, dict[str, Any]] = field(default_factory=dict)
    at: int = 0

    def file(self) -> dict[str, Any]:
        while self.skip_lines()[0] != "end":
            decorators = self.decorators()
            statement = self.take("name")
            if statement == "param":
                self.param(decorators)
            elif statement == "resource" and not decorators:
                self.resource()
            elif statement == "output" and not decorators:
                self.output()
            else:
                raise SyntaxError(statement)
        return {
            "parameters": self.parameters,
            "resources": self.resources,
            "outputs": self.outputs,
        }

    def decorators(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while self.skip_lines() == ("mark", "@"):
            self.take("mark")
            name = self.take("name")
            self.take("mark", "(")
            found[name] = None if self.next == ("mark", ")") else self.value()
            self.take("mark", ")")
        return found

    def param(self, decorators: dict[str, Any]) -> None:
        name, kind = self.take("name"), _TYPES[self.take("name")]
        secure = "secure" in decorators
        declared: dict[str, Any] = {"type": f"secure{kind}" if secure else kind}
        self.parameters[name] = declared
        if self.next == ("mark", "="):
            self.take("mark")
            declared["defaultValue"] = self.value()
        for decorator in ("minLength", "maxLength"):
            if decorator in decorators:
                declared[decorator] = decorators.pop(decorator)
        declared["metadata"] = {"description": decorators.pop("description")}
        if decorators.keys() - {"secure"}:
            raise SyntaxError(f"{decorators}")

    def resource(self) -> None:
        symbol = self.take("name")
        kind, _, version = _text(self.take("string")).partition("@")
        self.take("mark", "=")
        resource = {"type": kind, "apiVersion": version, **self.object()}
        self.symbols[symbol] = resource
        self.resources.append(resource)

    def output(self) -> None:
        name, kind = self.take("name"), _TYPES[self.take("name")]
        self.take("mark", "=")
        symbol, *path = self.path()
        resource = self.symbols[symbol]
        if path[0] != "properties":
            raise SyntaxError(f"{path}")
        named = f"resourceId('{resource['type']}', {resource['name'][1:-1]})"
        value = f"[reference({named}).{'.'.join(path[1:])}]"
        self.outputs[name] = {"type": kind, "value": value}

    def value(self) -> Any:
        kind, text = self.next
        if text == "{":
            return self.object()
        if text == "[":
            return self.array()
        self.at += 1
        if kind == "string":
            return self.string(_text(text))
        if kind == "number":
            return int(text)
        if text in ("true", "false"):
            return text == "true"
        self.at -= 1
        return self.expression()

    def object(self) -> dict[str, Any]:
        self.take("mark", "{")
        members: dict[str, Any] = {}
        while self.skip_lines() != ("mark", "}"):
            kind, text = self.next
            self.at += 1
            key = self.string(_text(text)) if kind == "string" else text
            if kind not in ("string", "name") or key in members:
                raise SyntaxError(text)
            self.take("mark", ":")
            members[key] = self.value()
            self.take("line")
        self.take("mark", "}")
        return members

    def array(self) -> list[Any]:
        self.take("mark", "[")
        items = []
        while self.skip_lines() != ("mark", "]"):
            items.append(self.value())
            self.take("line")
        self.take("mark", "]")
        return items

    def expression(self) -> str:
        """A parameter, or a call without arguments and a member of what it gives."""
        first, *rest = self.path()
        if not rest:
            return self.parameter(first)
        if not first.endswith("()"):
            raise SyntaxError(first)
        return f"[{'.'.join([first, *rest])}]"

    def path(self) -> list[str]:
        steps = [self.take("name")]
        if self.next == ("mark", "("):
            self.take("mark")
            self.take("mark", ")")
            steps[0] += "()"
        while self.next == ("mark", "."):
            self.take("mark")
            steps.append(self.take("name"))
        return steps

    def string(self, text: str) -> str:
        whole = _WHOLE.fullmatch(text)
        if whole:
            return self.parameter(whole[1])
        if "${" in text or text.startswith("["):
            raise SyntaxError(text)
        return text

    def parameter(self, name: str) -> str:
        if name not in self.parameters:
            raise SyntaxError(f"{name} is not declared")
        return f"[parameters('{name}')]"

    @property
    def next(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "")

    def skip_lines(self) -> tuple[str, str]:
        while self.next[0] == "line":
            self.at += 1
        return self.next

    def take(self, kind: str, text: str = "") -> str:
        found = self.next
        if found[0] != kind or text not in ("", found[1]):
            raise SyntaxError(f"seen {found}, wanted {kind} {text}")
        self.at += 1
        return found[1]


def _text(quoted: str) -> str:
    return quoted[1:-1].replace("\\'", "'").replace("\\\\", "\\")


def read(text: str) -> dict[str, Any]:
    """Parameters, resources and outputs as a template in JSON has them."""
    tokens, at = [], 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise SyntaxError(text[at : at + 20])
        if found.lastgroup != "blank":
            tokens.append((str(found.lastgroup), found[0]))
        at = found.end()
    return _Reader(tokens).file()
