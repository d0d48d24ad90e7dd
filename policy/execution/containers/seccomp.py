"""The hash of a seccomp profile, as the guest computes it.

The guest writes Go's form of the OCI structure as JSON and hashes that (hcsshim
pkg/securitypolicy/securitypolicy.go, MeasureSeccompProfile): members in a fixed order, what is
empty left out, `<`, `>`, `&` and the two line separators escaped. confcom keeps what is empty and
escapes all that is not ASCII, so that its hash can be one no guest ever computes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence

from sealserve.policy import strict_json

MAX_PROFILE_BYTES = 256 * 1024  # Docker's own has 12 KiB

_PROFILE = (
    "defaultAction",
    "defaultErrnoRet",
    "architectures",
    "flags",
    "listenerPath",
    "listenerMetadata",
    "syscalls",
)
_CALL = ("names", "action", "errnoRet", "args")
_ARGUMENT = ("index", "value", "valueTwo", "op")
# Present in Go's form whatever they hold, and what they hold when nothing was said.
_ALWAYS: Mapping[str, object] = {
    "defaultAction": "",
    "names": [],
    "action": "",
    "index": 0,
    "value": 0,
    "op": "",
}
_TEXTS = frozenset({"defaultAction", "listenerPath", "listenerMetadata", "action", "op"})
_NUMBERS = frozenset({"defaultErrnoRet", "errnoRet", "index", "value", "valueTwo"})
_LISTS_OF_TEXT = frozenset({"architectures", "flags", "names"})
_MAX_UINT64 = (1 << 64) - 1
_ESCAPED_BY_GO = re.compile("[<>&\u2028\u2029]")


class UnreadableError(ValueError):
    """Not a seccomp profile in base64; the caller says where it stands."""


def guest_sha256(text: str) -> str:
    """The hash for a profile in base64 as templates carry it. Raises UnreadableError."""
    profile = _read(text, strictly=True)
    written = json.dumps(_members(profile, _PROFILE), separators=(",", ":"), ensure_ascii=False)
    escaped = _ESCAPED_BY_GO.sub(lambda found: f"\\u{ord(found[0]):04x}", written)
    return hashlib.sha256(escaped.encode()).hexdigest()


def confcom_sha256(text: str) -> str:
    """The hash confcom 1.2.8 writes. Raises UnreadableError where it stops."""
    profile = _as_it_stands(_read(text, strictly=False), _PROFILE, ("defaultAction",))
    if "syscalls" in profile:
        calls = [
            _as_it_stands(call, _CALL, ("names", "action")) for call in _list(profile["syscalls"])
        ]
        for call in calls:
            if "args" in call:
                always = ("value", "op", "index")
                call["args"] = [
                    _as_it_stands(argument, _ARGUMENT, always) for argument in _list(call["args"])
                ]
        profile["syscalls"] = calls
    return hashlib.sha256(json.dumps(profile, separators=(",", ":")).encode()).hexdigest()


def _read(text: str, *, strictly: bool) -> object:
    if len(text) > MAX_PROFILE_BYTES:
        raise UnreadableError(f"{len(text)} characters; at most {MAX_PROFILE_BYTES} are read")
    try:
        data = base64.b64decode(text, validate=strictly)
        return strict_json.loads(data.decode("utf-8" if strictly else "ascii"))
    except UnicodeDecodeError:
        raise UnreadableError("base64 of something that is not text") from None
    except ValueError as error:
        raise UnreadableError(f"not base64 of JSON: {error}") from None


def _members(value: object, names: Sequence[str]) -> dict[str, object]:
    """The members Go's structure has, in its order, without what it leaves out."""
    members = _object(value)
    kept = {name: _member(name, members.get(name)) for name in names}
    return {
        name: found for name, found in kept.items() if name in _ALWAYS or _is_there(name, found)
    }


def _is_there(name: str, value: object) -> bool:
    """An errno is a pointer in Go: 0 is there, absent is not."""
    return value is not None if name.endswith("rrnoRet") else bool(value)


def _member(name: str, value: object) -> object:
    if value is None:
        return _ALWAYS.get(name)
    if name == "syscalls":
        return [_members(call, _CALL) for call in _list(value)]
    if name == "args":
        return [_members(argument, _ARGUMENT) for argument in _list(value)]
    if name in _TEXTS and isinstance(value, str):
        return value
    if name in _NUMBERS and type(value) is int and 0 <= value <= _MAX_UINT64:
        return value
    if name in _LISTS_OF_TEXT and all(isinstance(item, str) for item in _list(value)):
        return value
    raise UnreadableError(f"{name} is {json.dumps(value)[:60]}")


def _as_it_stands(value: object, names: Sequence[str], always: Sequence[str]) -> dict[str, object]:
    members = {**{name: _ALWAYS[name] for name in always}, **_object(value)}
    return {name: members[name] for name in names if name in members}


def _object(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise UnreadableError(f"{json.dumps(value)[:60]} where an object belongs")
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise UnreadableError(f"{json.dumps(value)[:60]} where a list belongs")
    return value
