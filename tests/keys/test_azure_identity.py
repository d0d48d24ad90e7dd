"""As whom Azure is asked: the real `azure-identity`, against its endpoints' bytes at home.

Nothing here reaches Azure: connections to its names end at a server of the test, which answers
with the shapes of the real ones, and whose authority counts as a public one.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from urllib3.util import connection as urllib3_connection

from sealserve.keys import azure_identity
from sealserve.keys.azure_identity import CLIENT, TENANT, TOKEN_FILE, MachineIdentity
from sealserve.keys.owner import open_reference
from sealserve.keys.place import VaultOptions, find_place
from sealserve.keys.vault import Vault
from sealserve.native.errors import ConfigError, ReleaseError, UnavailableError
from support.keys_server import LocalServer, Reply, Request, serve, serve_plainly
from support.keys_tls import Ca
from support.keys_vault import failure, rsa_key, uint

HOST = "v.vault.azure.net"
LOGIN = "login.microsoftonline.com"
IMDS = "169.254.169.254"
GUID = "5f4c2c35-6a2d-4c8e-9a5b-0d8a3f1c7e11"
TENANT_ID = "0b9f3c6e-1d2a-4b7c-8e5f-6a7b8c9d0e1f"
ASSERTION = "header.of-kubernetes.signature"
WORKLOAD = {CLIENT: GUID, TENANT: TENANT_ID}
TOKENS = {"login": "entra-for-vault", "imds": "imds-for-vault", "az": "az-for-vault"}


@dataclass
class Azure:
    """Entra ID, the metadata service and one vault. asked: of the first two, in order.

    accepts: the bearer tokens the vault takes. up: which of them answer at all.
    """

    asked: list[Request] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    up: set[str] = field(default_factory=lambda: {HOST, LOGIN, IMDS})

    def answer(self, request: Request) -> Reply:
        host = request.headers["host"]
        if host == LOGIN:
            return self._login(request)
        if host == IMDS:
            return self._imds(request)
        return self._vault(request)

    def _login(self, request: Request) -> Reply:
        base = f"https://{LOGIN}/{TENANT_ID}"
        if request.path.endswith("/.well-known/openid-configuration"):
            return Reply.of({
                "issuer": f"{base}/v2.0",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
            })  # fmt: skip
        self.asked.append(request)
        return Reply.of(
            {"token_type": "Bearer", "expires_in": 3599, "access_token": TOKENS["login"]}
        )

    def _imds(self, request: Request) -> Reply:
        self.asked.append(request)
        if request.headers.get("metadata") != "true":
            return Reply(400)  # what a program that was tricked into asking would get
        return Reply.of({
            "access_token": TOKENS["imds"], "refresh_token": "", "token_type": "Bearer",
            "expires_in": "86399", "expires_on": "4102444800", "not_before": "1",
            "resource": "https://vault.azure.net",
        })  # fmt: skip

    def _vault(self, request: Request) -> Reply:
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        if bearer not in TOKENS.values():
            told = f'Bearer authorization="https://{LOGIN}/{TENANT_ID}", '
            return Reply.of(
                failure(401, "Unauthorized", "AKV10000").body.decode(), 401,
                **{"WWW-Authenticate": f'{told}resource="https://vault.azure.net"'},
            )  # fmt: skip
        self.seen.append(bearer)
        numbers = rsa_key(3072, 0).public_key().public_numbers()
        key = {"kid": f"https://{HOST}/keys/model/{'0' * 32}", "kty": "RSA-HSM",
               "n": uint(numbers.n), "e": uint(numbers.e)}  # fmt: skip
        return Reply.of({"key": key, "attributes": {"enabled": True}})


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ca: Ca) -> Iterator[Azure]:
    """Azure's names lead to the test, and the environment says nothing yet."""
    azure = Azure()
    azure_identity._credential.cache_clear()
    for name in os.environ:
        if name.startswith(("AZURE_", "IDENTITY_", "MSI_", "IMDS_", "REQUESTS_", "CURL_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "ca.pem").write_bytes(ca.pem)
    monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(tmp_path / "ca.pem"))
    with serve(azure.answer, ca, LOGIN, HOST) as secure, serve_plainly(azure.answer) as plain:
        monkeypatch.setattr(
            urllib3_connection, "create_connection", _leading_home(azure, secure, plain)
        )
        yield azure
    azure_identity._credential.cache_clear()


def _leading_home(
    azure: Azure, secure: LocalServer, plain: LocalServer
) -> Callable[..., socket.socket]:
    def connect(address: tuple[str, int], *_: Any, **__: Any) -> socket.socket:
        host, port = address
        if host not in azure.up:
            raise ConnectionRefusedError(111, f"nobody at {host} here")
        assert port == (80 if host == IMDS else 443)
        return socket.create_connection((plain if host == IMDS else secure).server_address[:2])

    return connect


def ask(who: MachineIdentity) -> None:
    """One question to the vault."""
    options = VaultOptions(HOST, "https://a.example", identity=who)
    place = find_place(options, "aci")
    vault = place.vault()
    assert vault.get("model").key_id.host == HOST
    vault.close()


# ---- a machine


@pytest.mark.parametrize("client_id", ["", GUID])
def test_a_machine_is_known_by_its_managed_identity(client_id: str, azure: Azure) -> None:
    """Path, parameters, and the header that no redirect adds (Azure Instance Metadata Service)."""
    for _ in range(2):
        ask(MachineIdentity(client_id))
    (asked,) = azure.asked  # the token lasts
    assert (asked.method, asked.path) == ("GET", "/metadata/identity/oauth2/token")
    wanted = {"api-version": ["2018-02-01"], "resource": ["https://vault.azure.net"]}
    assert parse_qs(asked.query) == wanted | ({"client_id": [client_id]} if client_id else {})
    assert azure.seen == [TOKENS["imds"]] * 2


def test_a_workload_is_known_by_what_kubernetes_signed(azure: Azure, tmp_path: Path) -> None:
    """The client assertion flow of Entra ID (RFC 7523 section 2.2)."""
    ask(workload(tmp_path))
    (asked,) = azure.asked
    assert (asked.method, asked.path) == ("POST", f"/{TENANT_ID}/oauth2/v2.0/token")
    sent = {name: value for name, (value,) in parse_qs(asked.body.decode()).items()}
    assert (
        sent.items()
        >= {
            "client_id": GUID,
            "client_assertion": ASSERTION,
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "grant_type": "client_credentials",
            "scope": "https://vault.azure.net/.default",
        }.items()
    )
    assert azure.seen == [TOKENS["login"]]


def test_the_environment_does_not_say_where_a_workload_shows_its_assertion(
    azure: Azure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", "evil.example")
    ask(workload(tmp_path))
    assert azure.seen == [TOKENS["login"]]


def workload(folder: Path) -> MachineIdentity:
    (folder / "token").write_text(ASSERTION)
    return MachineIdentity.of({**WORKLOAD, TOKEN_FILE: str(folder / "token")}, "another")


@pytest.mark.parametrize("missing", [CLIENT, TENANT, TOKEN_FILE])
def test_two_of_three_variables_are_no_workload(missing: str) -> None:
    given = {**WORKLOAD, TOKEN_FILE: "/token"}
    del given[missing]
    assert MachineIdentity.of(given, GUID) == MachineIdentity(GUID)


@pytest.mark.parametrize(
    ("name", "value"),
    [(CLIENT, "me"), (TENANT, f"{TENANT_ID}/../x"), (TENANT, "common"), (TOKEN_FILE, "x" * 5000)],
)
def test_a_variable_that_is_none(name: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        MachineIdentity.of({**WORKLOAD, TOKEN_FILE: "/token", name: value})
    assert (caught.value.file, caught.value.key) == ("environment", name)


def test_who_gives_out_tokens_may_be_away(azure: Azure, tmp_path: Path) -> None:
    azure.up.remove(LOGIN)
    with pytest.raises(UnavailableError, match="as whom we may ask v"):
        ask(workload(tmp_path))


def test_a_machine_nobody_knows_is_told_so(azure: Azure) -> None:
    azure.up.remove(IMDS)
    with pytest.raises(ReleaseError, match=f"no identity to ask {HOST} as: "):
        ask(MachineIdentity())


# ---- an owner


def owner_asks(folder: Path) -> None:
    owned = open_reference(f"azure:https://{HOST}/keys/model", folder / "connection.toml")
    assert owned.vault.get("model").key_id.name == "model"
    owned.close()


def test_an_owner_may_be_a_program_with_a_secret(
    azure: Azure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**WORKLOAD, "AZURE_CLIENT_SECRET": "of-a-pipeline"}.items():
        monkeypatch.setenv(name, value)
    owner_asks(tmp_path)
    (asked,) = azure.asked
    assert parse_qs(asked.body.decode())["client_secret"] == ["of-a-pipeline"]
    assert azure.seen == [TOKENS["login"]]


def test_an_owner_may_be_a_workload(
    azure: Azure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text(ASSERTION)
    for name, value in {**WORKLOAD, TOKEN_FILE: str(tmp_path / "token")}.items():
        monkeypatch.setenv(name, value)
    owner_asks(tmp_path)
    assert parse_qs(azure.asked[0].body.decode())["client_assertion"] == [ASSERTION]


def test_an_owner_may_be_a_machine(azure: Azure, tmp_path: Path) -> None:
    owner_asks(tmp_path)
    assert azure.seen == [TOKENS["imds"]]


AZ = """#!/bin/sh
echo "$@" > "$HOME/asked"
echo '{answer}'
"""


def test_an_owner_may_have_signed_in_with_az(azure: Azure, tmp_path: Path) -> None:
    azure.up.remove(IMDS)
    answer = {"accessToken": TOKENS["az"], "expiresOn": "2199-01-01 00:00:00.000000"}
    az = tmp_path / "bin" / "az"
    az.parent.mkdir()
    az.write_text(AZ.replace("{answer}", json.dumps(answer)))
    az.chmod(0o755)
    owner_asks(tmp_path)
    assert azure.seen == [TOKENS["az"]]
    asked = (tmp_path / "asked").read_text().split()
    assert asked[:2] == ["account", "get-access-token"]
    assert asked[asked.index("--resource") + 1] == "https://vault.azure.net"


def test_an_owner_nobody_knows_is_told_what_to_do(azure: Azure, tmp_path: Path) -> None:
    azure.up.remove(IMDS)
    with pytest.raises(ReleaseError, match="no identity to ask") as caught:
        owner_asks(tmp_path)
    assert "az login" in caught.value.hint
    assert azure.seen == []


def test_a_vault_that_does_not_take_the_identity_says_so_itself(
    azure: Azure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TOKENS, "imds", "of-somebody-without-a-role")
    refused = failure(401, "Unauthorized", "AKV10032: Invalid issuer.")
    monkeypatch.setattr(azure, "_vault", lambda request: Reply(
        401, refused.body, {"WWW-Authenticate": f'Bearer authorization="https://{LOGIN}/'
        f'{TENANT_ID}", resource="https://vault.azure.net"'}))  # fmt: skip
    vault = Vault(HOST, MachineIdentity().credential())
    with pytest.raises(ReleaseError, match="does not accept our credential") as caught:
        vault.get("model")
    vault.close()
    assert "AKV10032" in str(caught.value.denied)
