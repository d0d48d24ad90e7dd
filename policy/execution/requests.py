"""The requests of a host, in a file: what to ask a policy, in order.

    {"data": {"defaultMounts": […], …}, "steps": [
      {"point": "mount_device", "input": {"target": "…", "deviceHash": "…"}, "note": "…"},
      {"point": "load_fragment", "fragment": "package …", "issuer": "…", "feed": "…",
       "header_svn": 2, "receipts": []}
    ]}

or the list of steps alone. `data` is what the guest brings along beside the policy; without it, it
is what a Linux guest has. Whatever else a step or the file says of itself is for people.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from sealserve.native.errors import ConfigError
from sealserve.policy import strict_json
from sealserve.policy.execution.framework.enforcer import LOAD_FRAGMENT, Fragment
from sealserve.policy.execution.framework.guest import DATA, Guest
from sealserve.policy.execution.framework.values import Fields
from sealserve.policy.execution.framework.versions import API_VERSION, FRAMEWORK_VERSION

MAX_REQUESTS_BYTES = 4 * 1024 * 1024  # a start is about 3 KB, a fragment at most 1 MiB
MAX_STEPS = 10_000
_SPLIT = "ask in several files, each from the guest's start on"
_MAX_SHOWN = 60  # characters of a stranger's text in a message

_FOR_PEOPLE = {"name", "about", "policy", "policy_sha256", "policy_base64_sha256"}
_GUEST: Mapping[str, str] = {
    "framework_version": FRAMEWORK_VERSION,
    "api_version": API_VERSION,
    "os": "linux",
}
_FILE = {"data", "steps", *_FOR_PEOPLE, *_GUEST}
_KINDS: Mapping[type, str] = {str: "text", list: "a list"}
_STEP = {"point", "note", "expect"}


@dataclass(frozen=True)
class Step:
    """One request. fragment: only for load_fragment, which has no input. expect: as it stands."""

    point: str
    request: Fields
    note: str = ""
    fragment: Fragment | None = None
    expect: object = None


@dataclass(frozen=True)
class Requests:
    """A file of requests, and the guest that gets them."""

    steps: tuple[Step, ...]
    guest: Guest


def parse(data: bytes, *, file: str = "") -> Requests:
    """Read a file of requests. Raises ConfigError that names file and key for anything else."""
    return _Reader(file).requests(data)


@dataclass(frozen=True)
class _Reader:
    file: str

    def requests(self, data: bytes) -> Requests:
        if len(data) > MAX_REQUESTS_BYTES:
            raise self._error(
                f"{len(data)} bytes; at most {MAX_REQUESTS_BYTES} are read", hint=_SPLIT
            )
        try:
            read = strict_json.loads(data.decode("utf-8"))
        except ValueError as error:
            hint = "a list of objects with point and input"
            raise self._error(f"is not a file of requests: {error}"[:200], hint=hint) from None
        if isinstance(read, list):
            read = {"steps": read}
        top = self._members(read, "", _FILE)
        self._check_guest(top)
        steps = self._entries(top.get("steps"), "steps")
        if len(steps) > MAX_STEPS:
            raise self._error(
                f"{len(steps)} steps; at most {MAX_STEPS} are read", "steps", hint=_SPLIT
            )
        return Requests(
            tuple(self._step(each, f"steps[{index}]") for index, each in enumerate(steps)),
            self._guest(top.get("data", {})),
        )

    def _check_guest(self, top: Fields) -> None:
        for name, ours in _GUEST.items():
            if top.get(name, ours) != ours:
                raise self._error(
                    f"seen {_shown(top[name])}; this is a guest of {ours!r}",
                    name,
                    hint="other guests are not known here: ask one of them",
                )

    def _guest(self, data: object) -> Guest:
        given = self._members(data, "data", set(DATA))
        made: dict[str, object] = {}
        for name, value in given.items():
            kind = str if name.endswith("Prefix") else list
            if not isinstance(value, kind) or value == "":
                raise self._error(
                    f"seen {_shown(value)}; expected {_KINDS[kind]}",
                    f"data.{name}",
                    hint="leave it out to have what a Linux guest has",
                )
            made[DATA[name]] = value
        return dataclasses.replace(Guest(), **made)  # type: ignore[arg-type]

    def _step(self, step: object, key: str) -> Step:
        point = self._text(self._members(step, key, None), "point", key)
        loads = point == LOAD_FRAGMENT
        allowed = {f.name for f in dataclasses.fields(Fragment)} - {"text"} | {"fragment"}
        read = self._members(step, key, {*_STEP, *(allowed if loads else {"input"})})
        return Step(
            point=point,
            request=self._members(read.get("input", {}), f"{key}.input", None),
            note=self._text(read, "note", key, ""),
            fragment=self._fragment(read, key) if loads else None,
            expect=read.get("expect"),
        )

    def _fragment(self, read: Fields, key: str) -> Fragment:
        svn = read.get("header_svn")
        if isinstance(svn, bool) or not isinstance(svn, int | None):
            raise self._error(
                f"seen {_shown(svn)}; expected a number, or null",
                f"{key}.header_svn",
                hint="null, or leaving it out, stands for a signed header without one",
            )
        return Fragment(
            text=self._text(read, "fragment", key),
            issuer=self._text(read, "issuer", key),
            feed=self._text(read, "feed", key),
            header_svn=svn,
            receipts=tuple(self._entries(read.get("receipts", []), f"{key}.receipts")),
        )

    def _members(self, value: object, key: str, allowed: set[str] | None) -> Fields:
        """An object with these members, or with any."""
        if not isinstance(value, dict):
            raise self._error(f"seen {_shown(value)}; expected an object", key, hint="write {…}")
        if allowed is not None and (odd := sorted(value.keys() - allowed)):
            known = ", ".join(sorted(allowed))
            raise self._error(
                f"unknown: {_shown(odd[0])}; known are {known}", key, hint="is it spelt so?"
            )
        return value

    def _entries(self, value: object, key: str) -> list[object]:
        """A list of anything."""
        if not isinstance(value, list):
            raise self._error(f"seen {_shown(value)}; expected a list", key, hint="write […]")
        return value

    def _text(self, read: Fields, name: str, key: str, default: str | None = None) -> str:
        """A member that is text."""
        value = read.get(name, default)
        if not isinstance(value, str):
            raise self._error(
                f"seen {_shown(value)}; expected text",
                f"{key}.{name}",
                hint="put it into quotes",
            )
        return value

    def _error(self, message: str, key: str = "", *, hint: str) -> ConfigError:
        return ConfigError(message, file=self.file, key=key, hint=hint)


def _shown(value: object) -> str:
    """A stranger's value in a message: short, and in ASCII."""
    told = ascii(value)
    return told if len(told) <= _MAX_SHOWN else f"{told[:_MAX_SHOWN]}…"
