"""The environment of Microsoft's sidecar: what it says is taken, what it would choose is not."""

from __future__ import annotations

import base64
import json

import pytest

from sealserve.keys.azure_identity import CLIENT as CLIENT_VARIABLE
from sealserve.keys.azure_identity import TENANT, TOKEN_FILE, MachineIdentity
from sealserve.keys.sidecar.environment import USER_AGENT, Environment
from sealserve.native.errors import ConfigError

CLIENT = "00000000-0000-4000-8000-00000000000a"
OTHER = "00000000-0000-4000-8000-00000000000b"


def arguments(value: object) -> dict[str, str]:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return {"SkrSideCarArgs": base64.b64encode(text).decode()}


def test_nothing_is_the_defaults() -> None:
    assert Environment.read({}) == Environment(
        None, "warning", "", False, USER_AGENT, MachineIdentity()
    )
    empty = dict.fromkeys(("SkrSideCarArgs", "Port", "LogLevel", "LogFile", "ServerType"), "")
    assert Environment.read(empty) == Environment.read(arguments({})) == Environment()
    nothing = {"certcache": {}, "identity": None, "maaconfig": {}}
    assert Environment.read(arguments(nothing)) == Environment()


def test_everything_there_is() -> None:
    told = {
        "certcache": {
            "endpoint_type": "LocalTHIM",
            "endpoint": "169.254.169.254/metadata/THIM/amd/certification",
            "tee_type": "SevSnpVM",
            "api_version": "",
            "client_id": "",
        },
        "identity": {"client_id": CLIENT},
        "maaconfig": {"user_agent": "of mine/1.0 (x)"},
    }
    more = {"Port": "9000", "LogLevel": "Debug", "LogFile": "/var/log/skr", "ServerType": "grpc"}
    assert Environment.read({**arguments(told), **more, "HOME": "/"}) == Environment(
        9000, "debug", "/var/log/skr", True, "of mine/1.0 (x)", MachineIdentity(CLIENT)
    )


@pytest.mark.parametrize(
    "certcache",
    [{"endpoint_type": "AMD", "endpoint": "kdsintf.amd.com/vcek/v1"}, {"endpoint_type": "AMD"},
     {"endpoint": "169.254.169.254"}, {"endpoint_type": "AzCache"},
     {"endpoint_type": "AzCache", "endpoint": "americas.acccache.azure.net/SevSnpVM/certificates"}],
)  # fmt: skip
def test_certificates_from_where_they_come_anyway(certcache: dict[str, str]) -> None:
    assert Environment.read(arguments({"certcache": certcache})) == Environment()


def test_a_workload_identity_comes_before_a_managed_one() -> None:
    """As theirs has it: where Kubernetes gave all three, `identity` is not looked at."""
    given = {CLIENT_VARIABLE: OTHER, TENANT: CLIENT, TOKEN_FILE: "/var/run/token"}
    told = arguments({"identity": {"client_id": CLIENT}})
    read = Environment.read({**told, **given})
    assert read.identity == MachineIdentity(OTHER, CLIENT, "/var/run/token")
    assert Environment.read({**told, CLIENT_VARIABLE: OTHER}).identity == MachineIdentity(CLIENT)


REFUSED: dict[str, tuple[dict[str, str], str]] = {
    "no base64": ({"SkrSideCarArgs": "{}"}, "SkrSideCarArgs: is not standard base64"),
    "base64url": ({"SkrSideCarArgs": "e30_"}, "SkrSideCarArgs: is not standard base64"),
    "no text": (arguments(b"\xff"), "SkrSideCarArgs: is not JSON"),
    "no JSON": (arguments(b"{"), "SkrSideCarArgs: is not JSON"),
    "a list": (arguments([]), "SkrSideCarArgs: is not an object"),
    "a member twice": (arguments(b'{"identity":{},"identity":{}}'), "twice"),
    "too long": (arguments(b" " * 20_000), "SkrSideCarArgs: has more than"),
    "a member nobody knows": (arguments({"akv": {}}), "a member 'akv'"),
    "a member below nobody knows": (
        arguments({"identity": {"tenant": "x"}}),
        "SkrSideCarArgs.identity: has a member 'tenant'",
    ),
    "identity as text": (arguments({"identity": "x"}), "identity: is not an object"),
    "a client that is a number": (
        arguments({"identity": {"client_id": 7}}),
        "identity.client_id: is not a text",
    ),
    "a client that is no GUID": (
        arguments({"identity": {"client_id": "x"}}),
        "identity.client_id: is not a GUID",
    ),
    "a client and more": (
        arguments({"identity": {"client_id": CLIENT + "&x=1"}}),
        "identity.client_id: is not a GUID",
    ),
    "an agent over two lines": (
        arguments({"maaconfig": {"user_agent": "a\r\nHost: b"}}),
        "user_agent: is not",
    ),
    "an agent that is long": (
        arguments({"maaconfig": {"user_agent": "a" * 201}}),
        "user_agent: is not",
    ),
    "a cache that is not Azure's": (
        arguments({"certcache": {"endpoint": "a.acccache.azure.net.evil.example"}}),
        "certificates come from",
    ),
    "a tenant in words": (
        {CLIENT_VARIABLE: OTHER, TENANT: "common", TOKEN_FILE: "/token"},
        "AZURE_TENANT_ID: is not a GUID",
    ),
    "certificates of a stranger": (
        arguments({"certcache": {"endpoint_type": "AMD", "endpoint": "evil.example/x"}}),
        "names 'evil.example'; certificates come from",
    ),
    "a stranger behind a user": (
        arguments({"certcache": {"endpoint": "169.254.169.254@evil.example"}}),
        "certificates come from",
    ),
    "a place nobody knows": (
        arguments({"certcache": {"endpoint_type": "Elsewhere"}}),
        "endpoint_type: is 'Elsewhere'",
    ),
    "a port in words": ({"Port": "http"}, "Port: is 'http'"),
    "port 0": ({"Port": "0"}, "Port: is '0'"),
    "a port too high": ({"Port": "65536"}, "Port: is '65536'"),
    "a port with a host": ({"Port": "0.0.0.0:8080"}, "Port: is"),
    "a level nobody has": ({"LogLevel": "loud"}, "LogLevel: is 'loud'"),
    "a file that is none": ({"LogFile": "a\0b"}, "LogFile: is no file name"),
    "a server of another type": ({"ServerType": "https"}, "ServerType: is 'https'"),
}


@pytest.mark.parametrize(("environ", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(environ: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Environment.read(environ)
    assert words in caught.value.message
    assert caught.value.message.startswith("environment, key ")
