"""The text of an execution policy, byte for byte as `az confcom acipolicygen` writes it.

HOST_DATA is the SHA-256 of these bytes, so there is one way to write a policy and one way to read
it: `parse` takes a text apart, writes it again and refuses any difference.

    package, imports, versions, fragments, containers, flags, bindings, reason

are eight paragraphs with one empty line between them, LF ends, ASCII only, no LF at the end
(Azure/azure-cli-extensions, src/confcom, versions 1.2.8 to 2.0.1).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sealserve.native.errors import ConfigError
from sealserve.policy import strict_json

API_VERSION = "0.10.0"  # what ACI's own documents and samples of 2025 and 2026 show
FRAMEWORK_VERSION = "0.2.3"

# A container is about 5 KB and a group holds at most 60 of them; the guest protocol's largest
# message is 64 KiB, which it does not enforce (hcsshim internal/gcs/prot/protocol.go).
MAX_POLICY_BYTES = 1024 * 1024

_HEAD = "package policy"
_IMPORTS = "import future.keywords.every\nimport future.keywords.in"
_REASON = 'reason := {"errors": data.framework.errors}'
_PARAGRAPHS = (
    "package",
    "import",
    "api_version",
    "fragments",
    "containers",
    "allow_properties_access",
    "mount_device",
    "reason",
)

NORMAL_FLAGS: Mapping[str, bool] = {
    "allow_properties_access": True,
    "allow_dump_stacks": False,
    "allow_runtime_logging": False,
    "allow_environment_variable_dropping": True,
    "allow_unencrypted_scratch": False,
    "allow_capability_dropping": True,
}
_BINDINGS = (
    "mount_device",
    "unmount_device",
    "mount_overlay",
    "unmount_overlay",
    "create_container",
    "exec_in_container",
    "exec_external",
    "shutdown_container",
    "signal_container_process",
    "plan9_mount",
    "plan9_unmount",
    "get_properties",
    "dump_stacks",
    "runtime_logging",
    "load_fragment",
    "scratch_mount",
    "scratch_unmount",
)
# Guests of API 0.11.0 ask for both; confcom binds the first alone, and they deny the second.
_RW_MOUNT, _RW_UNMOUNT = "rw_mount_device", "rw_unmount_device"
# What later versions of the tool bind after those, by the API version they write.
_LATER_BINDINGS: Mapping[str, tuple[str, ...]] = {
    "0.10.0": (),
    "0.11.0": (_RW_MOUNT,),
    "0.12.0": (_RW_MOUNT, "host_network", "load_transparency_trust_list"),
}
_LATER_FLAGS: Mapping[str, tuple[str, ...]] = {
    "0.10.0": (),
    "0.11.0": (),
    "0.12.0": ("allow_host_network",),
}

_VERSIONS = re.compile(
    r'api_version := "([0-9]+\.[0-9]+\.[0-9]+)"\nframework_version := "([0-9]+\.[0-9]+\.[0-9]+)"'
)
_FLAG = re.compile(r"(allow_[a-z0-9_]+) := (true|false)")

Fields = dict[str, object]


@dataclass(frozen=True)
class PolicyText:
    """What a policy says, for any list of containers; nothing here judges it.

    containers, fragments: JSON objects in the order of the text.
    flags: every `allow_…` of this API version, in any order. binds_rw_unmount: whether
    rw_unmount_device is bound beside rw_mount_device; without meaning where that is not.
    """

    containers: Sequence[Fields]
    fragments: Sequence[Fields] = ()
    flags: Mapping[str, bool] = field(default_factory=lambda: NORMAL_FLAGS)
    api_version: str = API_VERSION
    framework_version: str = FRAMEWORK_VERSION
    binds_rw_unmount: bool = False

    def encode(self) -> bytes:
        """The text. Raises ConfigError for an API version whose layout we do not know."""
        paragraphs = (
            _HEAD,
            _IMPORTS,
            f'api_version := "{self.api_version}"\nframework_version := "{self.framework_version}"',
            f"fragments := {_spread(self.fragments)}",
            f"containers := {_compact(self.containers)}",
            "\n".join(f"{name} := {_word(self.flags[name])}" for name in self._flag_names()),
            "\n".join(f"{name} := data.framework.{name}" for name in self._binding_names()),
            _REASON,
        )
        return "\n\n".join(paragraphs).encode("ascii")

    def encode_sidecar(self) -> bytes:
        """What confcom writes for helpers of the platform: no policy, and none a guest takes."""
        versions = f'api_version := "{self.api_version}"\nframework_version := '
        paragraphs = (
            "package microsoftcontainerinstance",
            f'{versions}"{self.framework_version}"',
            f"containers := {_compact(self.containers)}",
        )
        return "\n\n".join(paragraphs).encode("ascii")

    def _flag_names(self) -> tuple[str, ...]:
        return (*NORMAL_FLAGS, *_of_version(_LATER_FLAGS, self.api_version))

    def _binding_names(self) -> tuple[str, ...]:
        later = list(_of_version(_LATER_BINDINGS, self.api_version))
        if self.binds_rw_unmount and _RW_MOUNT in later:
            later.insert(later.index(_RW_MOUNT) + 1, _RW_UNMOUNT)
        return (*_BINDINGS, *later)


def parse(data: bytes, *, file: str = "") -> PolicyText:
    """Read a policy text; what comes back encodes to exactly `data`.

    Raises ConfigError with file, line and key for anything else, and for more than
    MAX_POLICY_BYTES.
    """
    if len(data) > MAX_POLICY_BYTES:
        raise ConfigError(
            f"a policy of {len(data)} bytes; at most {MAX_POLICY_BYTES} are read", file=file
        )
    paragraphs = _split(data, file)
    api_version, framework_version = _versions(paragraphs, file)
    text = PolicyText(
        fragments=_objects(paragraphs, "fragments", file),
        containers=_objects(paragraphs, "containers", file),
        flags=_flags(paragraphs, api_version, file),
        api_version=api_version,
        framework_version=framework_version,
        binds_rw_unmount=f"\n{_RW_UNMOUNT} := " in paragraphs[6],
    )
    _require_same(text, paragraphs, file)
    return text


def _split(data: bytes, file: str) -> list[str]:
    if not data.startswith(_HEAD.encode()):
        raise ConfigError(
            f"is not an execution policy: it does not begin with {_HEAD!r}",
            file=file,
            hint="`sealserve policy generate` writes one; a base64 policy has to be decoded first",
        )
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"byte 0x{data[error.start]:02x} is not ASCII",
            file=file,
            line=line,
            hint="a policy writes other characters as \\uXXXX",
        ) from None
    if text.endswith("\n"):
        raise ConfigError(
            "a line end after the last line; the policy ends without one",
            file=file,
            line=text.count("\n"),
            hint="HOST_DATA covers every byte; `sealserve policy generate` writes it without",
        )
    paragraphs = text.split("\n\n")
    if paragraphs[0] != _HEAD or len(paragraphs) != len(_PARAGRAPHS):
        raise ConfigError(
            f"not the layout confcom writes: it starts with {paragraphs[0][:40]!r} and has "
            f"{len(paragraphs)} paragraphs; expected {_HEAD!r} and {len(_PARAGRAPHS)}",
            file=file,
            line=1,
            key="package",
        )
    return paragraphs


def _versions(paragraphs: Sequence[str], file: str) -> tuple[str, str]:
    match = _VERSIONS.fullmatch(paragraphs[2])
    if match is None:
        raise _error(paragraphs, 2, file, "expected api_version and framework_version, x.y.z each")
    if match[1] not in _LATER_BINDINGS:
        known = ", ".join(_LATER_BINDINGS)
        raise _error(paragraphs, 2, file, f"api_version {match[1]}; layouts are known for {known}")
    return match[1], match[2]


def _objects(paragraphs: Sequence[str], key: str, file: str) -> tuple[Fields, ...]:
    index = _PARAGRAPHS.index(key)
    name, _, text = paragraphs[index].partition(" := ")
    if name != key:
        raise _error(paragraphs, index, file, f"seen {name[:40]!r} where {key} belongs")
    try:
        value = strict_json.loads(text)
    except ValueError as error:
        raise _error(paragraphs, index, file, f"not JSON: {error}") from None
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise _error(paragraphs, index, file, "expected a list of objects")
    return tuple(value)


def _flags(paragraphs: Sequence[str], api_version: str, file: str) -> dict[str, bool]:
    flags = {}
    for line in paragraphs[5].split("\n"):
        match = _FLAG.fullmatch(line)
        if match is None:
            raise _error(paragraphs, 5, file, f"seen {line[:60]!r}; expected allow_… := true|false")
        flags[match[1]] = match[2] == "true"
    wanted = {*NORMAL_FLAGS, *_LATER_FLAGS[api_version]}
    if set(flags) != wanted:
        odd = ", ".join(sorted(wanted ^ set(flags)))
        raise _error(paragraphs, 5, file, f"missing or unknown for API {api_version}: {odd}")
    return flags


def _require_same(text: PolicyText, paragraphs: Sequence[str], file: str) -> None:
    """One reading only: key order, blanks and escapes are part of the hash."""
    written = text.encode().decode("ascii").split("\n\n")
    for index, (seen, wanted) in enumerate(zip(paragraphs, written, strict=True)):
        if seen != wanted:
            at = next(
                (i for i, pair in enumerate(zip(seen, wanted, strict=False)) if len({*pair}) > 1),
                min(len(seen), len(wanted)),
            )
            raise _error(
                paragraphs,
                index,
                file,
                f"not the form confcom writes: seen {seen[at : at + 30]!r}, "
                f"wanted {wanted[at : at + 30]!r}",
            )


def _error(paragraphs: Sequence[str], index: int, file: str, message: str) -> ConfigError:
    line = 1 + sum(paragraph.count("\n") + 2 for paragraph in paragraphs[:index])
    return ConfigError(message, file=file, line=line, key=_PARAGRAPHS[index])


def _of_version(table: Mapping[str, tuple[str, ...]], api_version: str) -> tuple[str, ...]:
    if api_version not in table:
        known = ", ".join(table)
        raise ConfigError(f"{api_version!r}; layouts are known for {known}", key="api_version")
    return table[api_version]


def _word(flag: bool) -> str:
    return "true" if flag else "false"


def _spread(value: Sequence[Fields]) -> str:
    return json.dumps(list(value), sort_keys=True, indent=2)


def _compact(value: Sequence[Fields]) -> str:
    return json.dumps(list(value), sort_keys=True, separators=(",", ":"))
