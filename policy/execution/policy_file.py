"""A policy in any file that carries one: as text, in base64, or inside a deployment.

    text      Rego, as it is hashed
    base64    of such a text, as a guest finds it in its security context and a template holds it
    template  ARM: resources of a container group, `confidentialComputeProperties.ccePolicy`
    pod       YAML: the annotation `microsoft.containerinstance.virtualnode.ccepolicy`

A template may have several groups with a policy each.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from sealserve.native.errors import ConfigError, printable
from sealserve.policy.execution.deployments import json_places
from sealserve.policy.execution.lines import cut
from sealserve.policy.execution.text import MAX_POLICY_BYTES

Form = Literal["text", "base64", "template", "pod"]

MAX_FILE_BYTES = 4 * 1024 * 1024  # a template with a policy of each of several groups, in base64

# Microsoft.ContainerInstance, REST API: names count in any case.
_GROUPS = (
    "microsoft.containerinstance/containergroups",
    "microsoft.containerinstance/containergroupprofiles",
)
_ANNOTATION = re.compile(
    rb"^[ \t]*[\"']?microsoft\.containerinstance\.virtualnode\.ccepolicy[\"']?:[ \t]*"
    rb"[\"']?([A-Za-z0-9+/]+=*)[\"']?[ \t]*\r?$",
    re.MULTILINE,
)
_JSON_BEGINS = (b"{", b"//", b"/*")  # with a comment in front, as Azure's tools take it
_BASE64 = re.compile(rb"\s*[A-Za-z0-9+/\s]+=*\s*")
_BEGINS = re.compile(rb"\s*(?:#[^\n]*\n\s*)*package\s")


@dataclass(frozen=True)
class PolicyFile:
    """One policy and where it was found. text: the bytes that are hashed. group: "" outside one."""

    text: bytes
    form: Form
    file: str
    group: str = ""

    @property
    def sha256(self) -> bytes:
        """What HOST_DATA is under this policy: 32 bytes."""
        return hashlib.sha256(self.text).digest()

    @property
    def where(self) -> str:
        """The file, and the group in it."""
        return f"{self.file}, group {self.group}" if self.group else self.file


def read_all(data: bytes, *, file: str = "") -> list[PolicyFile]:
    """Every policy that a file carries; bytes of no known form are taken for the text itself.

    Raises ConfigError for a template or a pod without one, or with one that is not base64.
    """
    if data.removeprefix(codecs.BOM_UTF8).lstrip().startswith(_JSON_BEGINS):
        return list(_of_template(data, file))
    found = _ANNOTATION.findall(data)
    if found:
        return [PolicyFile(_decoded(each, file, "the annotation"), "pod", file) for each in found]
    decoded = _as_base64(data)
    if decoded is not None:
        return [PolicyFile(decoded, "base64", file)]
    return [PolicyFile(data, "text", file)]


def read_one(data: bytes, *, file: str = "", group: str = "") -> PolicyFile:
    """The policy of a file, of this group where it has groups.

    Raises ConfigError as `read_all`, and where it is not clear which one is meant.
    """
    carried = read_all(data, file=file)
    found = [each for each in carried if not each.group or group in ("", each.group)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(each.group or "?" for each in carried)
    if group:
        raise ConfigError(
            f"has no group {group!r} with a policy; it has {names}",
            file=file,
            hint="choose one of them with --group, or leave it out if there is one alone",
        )
    raise ConfigError(
        f"has {len(found)} policies, of the groups {names}", file=file, hint="choose with --group"
    )


def _as_base64(data: bytes) -> bytes | None:
    """The decoded text if it is a policy in base64; its bytes could mean anything else."""
    if len(data) > 2 * MAX_POLICY_BYTES or not _BASE64.fullmatch(data):
        return None
    try:
        decoded = base64.b64decode(b"".join(data.split()), validate=True)
    except binascii.Error:
        return None
    return decoded if _BEGINS.match(decoded) else None


def _of_template(data: bytes, file: str) -> Iterator[PolicyFile]:
    groups = list(_groups(json_places.read(data, file=file)))
    if not groups:
        raise ConfigError(
            "is JSON without a container group",
            file=file,
            hint="expected an ARM template with Microsoft.ContainerInstance/containerGroups",
        )
    for resource in groups:
        yield _of_group(resource, file)


def _groups(value: object) -> Iterator[dict[str, object]]:
    """Container groups, wherever a template has them: resources nest."""
    if isinstance(value, dict):
        if str(_member(value, "type")).lower() in _GROUPS:
            yield value
            return
        for inner in value.values():
            yield from _groups(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _groups(inner)


def _of_group(resource: dict[str, object], file: str) -> PolicyFile:
    name = printable(str(_member(resource, "name") or "?"))
    properties = _member(resource, "properties")
    policy = _member(_member(properties, "confidentialComputeProperties"), "ccePolicy")
    if not isinstance(policy, str) or not policy:
        raise ConfigError(
            f"group {cut(name)} carries no policy",
            file=file,
            key="ccePolicy",
            hint="`sealserve policy generate` writes one into it",
        )
    text = _decoded(policy.encode("utf-8", "replace"), file, f"the policy of group {cut(name)}")
    return PolicyFile(text, "template", file, name)


def _member(value: object, name: str) -> object:
    """A member by its name in any case, None where there is none."""
    if not isinstance(value, dict):
        return None
    return next((value[key] for key in value if str(key).lower() == name.lower()), None)


def _decoded(text: bytes, file: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        shown = printable(text[:40].decode("utf-8", "replace"))
        raise ConfigError(
            f"{what} is not base64: it begins with {shown!r}",
            file=file,
            key="ccePolicy",
            hint="a policy stands there in base64, on one line",
        ) from None
