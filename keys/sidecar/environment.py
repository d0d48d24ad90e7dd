"""The environment variables of Microsoft's sidecar, cut to what is safe.

    SkrSideCarArgs   standard base64 of {"certcache": {…}, "identity": {…}, "maaconfig": {…}}
    Port             where to listen on the loopback, if the command line does not say
    LogLevel         one of `events.LEVELS`
    LogFile          a file to which the log is appended
    ServerType       http; grpc only where the command line turned the key provider on
    AZURE_CLIENT_ID, AZURE_TENANT_ID, AZURE_FEDERATED_TOKEN_FILE
                     all three: the workload identity, instead of a managed one

Nobody measured it: nothing here chooses a vault, a service, a key or an authority. Certificates
come from where this machine's evidence does; `certcache` may name those places and Azure's cache,
as containers written for theirs do, and moves nothing.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sealserve.attestation.devices import host_service, kds
from sealserve.keys.azure_identity import MANAGED, VARIABLES, MachineIdentity, is_guid
from sealserve.keys.sidecar.events import DEFAULT_LEVEL, LEVELS
from sealserve.native.errors import ConfigError
from sealserve.policy import strict_json

NAMES: Final = ("SkrSideCarArgs", "Port", "LogLevel", "LogFile", "ServerType", *VARIABLES)
MAX_CHARACTERS: Final = 16 * 1024  # real ones have a few hundred
USER_AGENT: Final = "ConfidentialSkrContainer"  # what theirs says of itself

_ENDPOINT_TYPES: Final = ("AMD", "LocalTHIM", "AzCache")
_CERTIFICATE_HOSTS: Final = tuple(url.partition("//")[2] for url in (host_service.URL, kds.URL))
_AZURE_CACHE: Final = re.compile(r"[a-z0-9]+\.acccache\.azure\.net")  # asked by theirs only
_USER_AGENT: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,198}[\x21-\x7e])?")
_PORT: Final = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class Environment:
    """What was found. port: None if it says nothing. identity: as whom Azure is asked."""

    port: int | None = None
    log_level: str = DEFAULT_LEVEL
    log_file: str = ""
    grpc: bool = False
    user_agent: str = USER_AGENT
    identity: MachineIdentity = MANAGED

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Environment:
        """An empty variable counts as none. Raises ConfigError naming the variable."""
        arguments = _arguments(environ.get("SkrSideCarArgs", ""))
        _require_our_certificates(_object(arguments, "certcache"))
        return cls(
            port=_port(environ.get("Port", "")),
            log_level=_level(environ.get("LogLevel", "")),
            log_file=_log_file(environ.get("LogFile", "")),
            grpc=_grpc(environ.get("ServerType", "")),
            user_agent=_user_agent(_object(arguments, "maaconfig")),
            identity=MachineIdentity.of(environ, _client_id(_object(arguments, "identity"))),
        )


def _arguments(text: str) -> Mapping[str, object]:
    if len(text) > MAX_CHARACTERS:
        raise _wrong("SkrSideCarArgs", f"has more than {MAX_CHARACTERS} characters")
    try:
        decoded = base64.b64decode(text.strip(), validate=True).decode("utf-8")
        value = strict_json.loads(decoded) if decoded else {}
    except binascii.Error:
        raise _wrong("SkrSideCarArgs", "is not standard base64") from None
    except ValueError as error:
        raise _wrong("SkrSideCarArgs", f"is not JSON: {_shown(str(error))}") from None
    known = ("certcache", "identity", "maaconfig")
    return _closed("SkrSideCarArgs", value, known)


def _object(arguments: Mapping[str, object], name: str) -> Mapping[str, str]:
    members = {
        "certcache": ("endpoint_type", "endpoint", "tee_type", "api_version", "client_id"),
        "identity": ("client_id",),
        "maaconfig": ("user_agent",),
    }
    where = f"SkrSideCarArgs.{name}"
    value = _closed(where, arguments.get(name) or {}, members[name])
    texts = {key: text for key, text in value.items() if isinstance(text, str)}
    for key in value.keys() - texts.keys():
        raise _wrong(f"{where}.{key}", "is not a text")
    return texts


def _closed(where: str, value: object, known: tuple[str, ...]) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise _wrong(where, "is not an object")
    for name in value:
        if name not in known:
            raise _wrong(where, f"has a member {_shown(name)}; there are {', '.join(known)}")
    return value


def _require_our_certificates(certcache: Mapping[str, str]) -> None:
    kind = certcache.get("endpoint_type", "")
    if kind and kind not in _ENDPOINT_TYPES:
        raise _wrong(
            "SkrSideCarArgs.certcache.endpoint_type",
            f"is {_shown(kind)}; there are {', '.join(_ENDPOINT_TYPES)}",
        )
    host = certcache.get("endpoint", "").partition("/")[0]
    if host and host not in _CERTIFICATE_HOSTS and not _AZURE_CACHE.fullmatch(host):
        raise _wrong(
            "SkrSideCarArgs.certcache.endpoint",
            f"names {_shown(host)}; certificates come from {' and '.join(_CERTIFICATE_HOSTS)}",
            hint="the environment chooses no host; leave certcache out",
        )


def _user_agent(maaconfig: Mapping[str, str]) -> str:
    text = maaconfig.get("user_agent", "") or USER_AGENT
    if not _USER_AGENT.fullmatch(text):
        raise _wrong("SkrSideCarArgs.maaconfig.user_agent", "is not 1 to 200 characters of ASCII")
    return text


def _client_id(identity: Mapping[str, str]) -> str:
    text = identity.get("client_id", "")
    if text and not is_guid(text):
        raise _wrong("SkrSideCarArgs.identity.client_id", "is not a GUID")
    return text


def _port(text: str) -> int | None:
    if not text:
        return None
    if not (_PORT.fullmatch(text) and 0 < int(text) < 65536):
        raise _wrong("Port", f"is {_shown(text)}; wanted 1 to 65535")
    return int(text)


def _level(text: str) -> str:
    level = text.lower() or DEFAULT_LEVEL
    level = "warning" if level == "warn" else level  # their logging library takes both
    if level not in LEVELS:
        raise _wrong("LogLevel", f"is {_shown(text)}; there are {', '.join(LEVELS)}")
    return level


def _log_file(text: str) -> str:
    if "\0" in text or len(text) > 4096:
        raise _wrong("LogFile", "is no file name")
    return text


def _grpc(text: str) -> bool:
    if text not in ("", "http", "grpc"):
        raise _wrong("ServerType", f"is {_shown(text)}; there are http and grpc")
    return text == "grpc"


def _wrong(key: str, why: str, *, hint: str = "") -> ConfigError:
    return ConfigError(why, file="environment", key=key, hint=hint)


def _shown(text: str) -> str:
    return ascii(text)[:80]
