"""The unmodified azure-keyvault-keys SDK: every operation we have and every error, as it sees them.

What the SDK can do and this service cannot has a test as well: it is refused in plain words.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.keyvault.keys import JsonWebKey, KeyClient, KeyCurveName, KeyReleasePolicy
from azure.keyvault.keys.crypto import KeyWrapAlgorithm
from cryptography.hazmat.primitives import keywrap
from cryptography.hazmat.primitives.asymmetric import ec, padding

from sealserve.attestation.binding import ReleaseClaims
from sealserve.attestation.simulated import Machine, SimulatedRoot
from sealserve.keys.answer import WRAP_HASHES
from sealserve.keys.attest import AttestationService
from sealserve.keys.trustd import audit_reader, pkcs8
from sealserve.policy.release_build import build
from support.attestation_simulated import HOST_DATA, NOW
from support.keys_trustd import LocalTrustd, make, private_jwk, random_name, serving
from support.keys_vault import rsa_key, unb64url

MACHINE_KEY = rsa_key(3072, 3)
CURVES = {
    KeyCurveName.p_256: ec.SECP256R1,
    KeyCurveName.p_256_k: ec.SECP256K1,
    KeyCurveName.p_384: ec.SECP384R1,
    KeyCurveName.p_521: ec.SECP521R1,
}


class Static:
    """The simplest credential."""

    def __init__(self, token: str) -> None:
        self.token = token

    def get_token(self, *scopes: str, **options: object) -> AccessToken:
        return AccessToken(self.token, 2**40)


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, simulated_root: SimulatedRoot
) -> Iterator[LocalTrustd]:
    """A service of this file's own: its audit log is checked."""
    folder = tmp_path_factory.mktemp("conformance") / "vault"
    with serving(folder, make(folder, simulated_root)) as trustd:
        yield trustd


@pytest.fixture(scope="module")
def url(running: LocalTrustd) -> str:
    return f"https://{running.connection.address}"


@pytest.fixture(scope="module")
def client_of(running: LocalTrustd, url: str) -> Iterator[Callable[[str], KeyClient]]:
    opened: list[KeyClient] = []

    def make(token: str) -> KeyClient:
        client = KeyClient(
            url,
            Static(token),
            verify_challenge_resource=False,
            connection_verify=str(running.folder.ca),
            retry_total=0,
        )
        opened.append(client)
        return client

    yield make
    for each in opened:
        each.close()


@pytest.fixture(scope="module")
def client(client_of: Callable[[str], KeyClient], running: LocalTrustd) -> KeyClient:
    return client_of(running.owner)


@pytest.fixture(scope="module")
def policy(running: LocalTrustd) -> KeyReleasePolicy:
    return KeyReleasePolicy(build(running.issuer, HOST_DATA.hex(), simulated=True))


@pytest.fixture(scope="module")
def token(running: LocalTrustd, url: str, simulated_root: SimulatedRoot) -> str:
    """What the service attests, over the network."""
    evidence = Machine(simulated_root, HOST_DATA).evidence(
        ReleaseClaims.of(MACHINE_KEY.public_key()).encode()
    )
    service = AttestationService(url, tls=running.connection.authority().tls(), takes_crl=True)
    try:
        return service.attest(evidence)
    finally:
        service.close()


def error_of(caught: pytest.ExceptionInfo[HttpResponseError]) -> tuple[int | None, str, str]:
    told = json.loads(caught.value.response.text())["error"]  # type: ignore[union-attr]
    return caught.value.status_code, told["code"], told["message"]


# ---- making and importing


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("hardware", [True, False])
def test_ec_keys(curve: KeyCurveName, hardware: bool, client: KeyClient) -> None:
    key: Any = client.create_ec_key(random_name(), curve=curve, hardware_protected=hardware)
    assert (key.key_type, key.key.crv) == ("EC-HSM" if hardware else "EC", curve)
    x, y = (int.from_bytes(part, "big") for part in (key.key.x, key.key.y))
    ec.EllipticCurvePublicNumbers(x, y, CURVES[curve]()).public_key()  # on the curve


@pytest.mark.parametrize("curve", CURVES)
def test_an_ec_key_that_was_brought_is_released_as_it_was(
    curve: KeyCurveName,
    client: KeyClient,
    client_of: Callable[[str], KeyClient],
    policy: KeyReleasePolicy,
    token: str,
) -> None:
    own = ec.generate_private_key(CURVES[curve]())
    numbers, size = own.private_numbers(), (own.curve.key_size + 7) // 8
    public = numbers.public_numbers
    jwk = JsonWebKey(
        kty="EC-HSM",
        crv=curve,
        x=public.x.to_bytes(size, "big"),
        y=public.y.to_bytes(size, "big"),
        d=numbers.private_value.to_bytes(size, "big"),
    )
    made: Any = client.import_key(random_name(), jwk, exportable=True, release_policy=policy)
    assert (made.key.x, made.key.d) == (jwk.x, None)
    answer = client_of("attested").release_key(made.name, token, algorithm="RSA_AES_KEY_WRAP_256")
    released = pkcs8.decode(unwrapped(answer.value))
    assert isinstance(released, ec.EllipticCurvePrivateKey)
    assert released.private_numbers() == numbers


def unwrapped(answer: str) -> bytes:
    payload = json.loads(unb64url(answer.split(".")[1]))
    envelope = json.loads(unb64url(payload["response"]["key"]["key"]["key_hsm"]))
    sealed = unb64url(envelope["ciphertext"])
    digest = WRAP_HASHES[envelope["header"]["enc"]]()
    kek = MACHINE_KEY.decrypt(sealed[:384], padding.OAEP(padding.MGF1(digest), digest, None))
    return keywrap.aes_key_unwrap_with_padding(kek, sealed[384:])


def test_an_rsa_key_that_was_brought_is_released_as_it_was(
    client: KeyClient,
    client_of: Callable[[str], KeyClient],
    policy: KeyReleasePolicy,
    token: str,
) -> None:
    jwk = {name: unb64url(str(value)) for name, value in private_jwk().items() if name != "kty"}
    made = client.import_key(
        random_name(),
        JsonWebKey(kty="RSA", **jwk),
        hardware_protected=True,
        exportable=True,
        release_policy=policy,
    )
    answer = client_of("attested").release_key(made.name, token, version=made.properties.version)
    assert pkcs8.decode(unwrapped(answer.value)).private_numbers() == (  # type: ignore[union-attr]
        rsa_key(2048, 7).private_numbers()
    )


@pytest.mark.parametrize("size", [16, 24, 32, 64])
def test_an_oct_key_that_was_brought_is_released_as_it_was(
    size: int,
    client: KeyClient,
    client_of: Callable[[str], KeyClient],
    policy: KeyReleasePolicy,
    token: str,
) -> None:
    secret = bytes(range(size))
    jwk = JsonWebKey(kty="oct-HSM", k=secret)
    made = client.import_key(random_name(), jwk, exportable=True, release_policy=policy)
    answer = client_of("attested").release_key(made.name, token)
    assert unwrapped(answer.value) == secret


# ---- reading


def test_lists_go_over_pages(client: KeyClient, url: str) -> None:
    name = random_name()
    versions = [client.create_oct_key(name).properties.version for _ in range(28)]
    listed = client.list_properties_of_key_versions(name)
    assert [each.version for each in listed] == versions
    pages = [
        [each.name for each in page]
        for page in client.list_properties_of_keys(max_page_size=3).by_page()
    ]
    assert [len(page) for page in pages[:-1]] == [3] * (len(pages) - 1)
    names = [each for page in pages for each in page]
    assert names == sorted(set(names))
    assert name in names


def test_attributes_and_dates(client: KeyClient) -> None:
    name = random_name()
    made = client.create_oct_key(name, not_before=NOW, expires_on=NOW + timedelta(days=1))
    changed = client.update_key_properties(name, made.properties.version, enabled=False)
    properties = client.get_key(name).properties
    assert (properties.not_before, properties.expires_on) == (NOW, NOW + timedelta(days=1))
    assert changed.properties.enabled is properties.enabled is False
    assert (properties.recoverable_days, properties.recovery_level) == (
        90,
        "Recoverable+Purgeable",
    )
    again = client.update_key_properties(name, made.properties.version, enabled=True)
    assert again.properties.enabled is True


# ---- deleting


def test_delete_recover_and_purge(
    client: KeyClient,
    client_of: Callable[[str], KeyClient],
    policy: KeyReleasePolicy,
    token: str,
    running: LocalTrustd,
) -> None:
    name = random_name()
    made = client.create_oct_key(name, exportable=True, release_policy=policy)
    deleted: Any = client.begin_delete_key(name).result()
    assert deleted.id == made.id
    assert deleted.scheduled_purge_date - deleted.deleted_date == timedelta(days=90)
    assert deleted.recovery_id.endswith(f"/deletedkeys/{name}")
    assert client.get_deleted_key(name).id == made.id
    assert name in [each.name for each in client.list_deleted_keys()]
    assert name not in [each.name for each in client.list_properties_of_keys()]
    assert list(client.list_properties_of_key_versions(name)) == []
    for gone in (
        lambda: client.get_key(name),
        lambda: client.update_key_properties(name, enabled=False),
        lambda: client.begin_delete_key(name),
        lambda: client_of("attested").release_key(name, token),
    ):
        with pytest.raises(ResourceNotFoundError):
            gone()
    with pytest.raises(ResourceExistsError) as taken:
        client.create_oct_key(name)
    assert error_of(taken)[:2] == (409, "Conflict")
    recovered = client.begin_recover_deleted_key(name).result()
    assert recovered.id == made.id
    assert client_of("attested").release_key(name, token).value
    client.begin_delete_key(name).result()
    client.purge_deleted_key(name)
    for gone in (
        lambda: client.get_deleted_key(name),
        lambda: client.purge_deleted_key(name),
        lambda: client.begin_recover_deleted_key(name),
        lambda: client.get_key(name),
    ):
        with pytest.raises(ResourceNotFoundError):
            gone()
    anew = client.create_oct_key(name)
    assert anew.properties.version != made.properties.version
    audit_reader.verify(running.folder, None)


def test_what_nobody_recovers_in_time_is_gone(client: KeyClient, running: LocalTrustd) -> None:
    name = random_name()
    client.create_oct_key(name)
    client.begin_delete_key(name).result()
    running.now = NOW + timedelta(days=89)
    running.service.renew_keys(NOW)
    assert client.get_deleted_key(name)
    running.now = NOW + timedelta(days=90)
    running.service.renew_keys(NOW)
    running.now = NOW
    with pytest.raises(ResourceNotFoundError):
        client.get_deleted_key(name)
    audit_reader.verify(running.folder, None)


# ---- using


@pytest.mark.parametrize("bits", [128, 192, 256])
def test_wrapping_under_an_oct_key(bits: int, client: KeyClient, running: LocalTrustd) -> None:
    name = random_name()
    client.create_oct_key(name, size=bits, hardware_protected=True)
    crypto = client.get_cryptography_client(name)
    algorithm = getattr(KeyWrapAlgorithm, f"aes_{bits}")
    wrapped = crypto.wrap_key(algorithm, bytes(range(32)))
    record = running.records.find("key", name)
    assert record
    assert keywrap.aes_key_unwrap(record.secret, wrapped.encrypted_key) == bytes(range(32))
    with pytest.raises(HttpResponseError) as caught:
        crypto.unwrap_key(algorithm, wrapped.encrypted_key)
    assert error_of(caught)[:2] == (404, "NotFound")  # a vault key opens nothing in here


def test_wrapping_is_an_operation_that_a_key_can_lack(client: KeyClient) -> None:
    name = random_name()
    client.create_oct_key(name, key_operations=["export"], hardware_protected=True)
    answer = owner_post(client, f"/keys/{name}/1/wrapkey", {"alg": "A256KW", "value": "A" * 43})
    assert answer.status_code == 404
    version = client.get_key(name).properties.version
    answer = owner_post(
        client, f"/keys/{name}/{version}/wrapkey", {"alg": "A256KW", "value": "A" * 43}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "Forbidden")


def owner_post(client: KeyClient, path: str, body: dict[str, Any]) -> Any:
    """What the SDK checks beforehand, past it."""
    return client.send_request(_request(client, path, body))


def _request(client: KeyClient, path: str, body: dict[str, Any]) -> Any:
    from azure.core.rest import HttpRequest

    return HttpRequest("POST", f"{client.vault_url}{path}?api-version=7.4", json=body)


def test_random_bytes(client: KeyClient) -> None:
    assert len(client.get_random_bytes(count=8)) == 8
    assert client.get_random_bytes(count=128) != client.get_random_bytes(count=128)
    assert refused(lambda: client.get_random_bytes(count=129))[:2] == (400, "BadParameter")
    answer = owner_post(client, "/rng", {"count": 0})  # the SDK itself asks for one or more
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BadParameter")


# ---- errors, as Azure words them


def test_a_missing_and_a_wrong_token(
    client_of: Callable[[str], KeyClient], url: str, running: LocalTrustd
) -> None:
    with pytest.raises(ClientAuthenticationError) as caught:
        client_of("wrong").get_key("model")
    assert error_of(caught)[:2] == (401, "Unauthorized")
    tls = running.connection.authority().tls()
    answer = httpx.get(f"{url}/keys", verify=tls, trust_env=False)
    told = answer.json()["error"]
    assert (answer.status_code, told["code"]) == (401, "Unauthorized")
    assert told["message"].startswith("AKV10000: Request is missing a Bearer or PoP token")


def refused(call: Callable[[], object]) -> tuple[int | None, str, str]:
    with pytest.raises(HttpResponseError) as caught:
        call()
    return error_of(caught)


def test_policies_and_exportable_keys(client: KeyClient, policy: KeyReleasePolicy) -> None:
    def make(**options: Any) -> Callable[[], object]:
        return lambda: client.create_oct_key(random_name(), **options)

    status, code, told = refused(make(exportable=True))
    assert (status, code) == (400, "BadParameter")
    assert told.startswith("AKV.SKR.1004: Exportable keys must have release policy")
    status, code, told = refused(make(release_policy=policy))
    assert (status, code) == (400, "BadParameter")
    assert told.startswith("AKV.SKR.1005: Non-exportable keys must not have release policy")
    made = client.create_oct_key(random_name())
    status, code, told = refused(
        lambda: client._client.update_key(  # the SDK has no such option
            made.name, made.properties.version, {"attributes": {"exportable": True}}
        )
    )
    assert (status, code) == (400, "BadParameter")
    assert told.startswith("AKV.SKR.1014: ")


def test_a_policy_as_text_is_dropped_by_the_sdk_and_missed_here(client: KeyClient) -> None:
    policy: Any = KeyReleasePolicy(b"{}")
    policy.encoded_policy = None
    status, _, told = refused(
        lambda: client.create_oct_key(random_name(), exportable=True, release_policy=policy)
    )
    assert (status, "release_policy.data" in told) == (400, True)


def test_an_oct_key_that_is_too_large(client: KeyClient) -> None:
    jwk = JsonWebKey(kty="oct", k=bytes(65))
    assert refused(lambda: client.import_key(random_name(), jwk)) == (
        400,
        "BadParameter",
        "k property of oct key is too large, maximum size is 64",
    )


def test_a_key_that_is_not_there(client: KeyClient) -> None:
    with pytest.raises(ResourceNotFoundError) as caught:
        client.get_key("nobody")
    assert error_of(caught) == (
        404,
        "KeyNotFound",
        "A key with (name/id) nobody was not found in this key vault.",
    )


def test_a_release_that_the_policy_does_not_allow(
    client: KeyClient, client_of: Callable[[str], KeyClient], token: str, running: LocalTrustd
) -> None:
    other = KeyReleasePolicy(build(running.issuer, "5" * 64, simulated=True))
    made = client.create_oct_key(random_name(), exportable=True, release_policy=other)
    status, code, told = refused(lambda: client_of("attested").release_key(made.name, token))
    assert (status, code) == (403, "Forbidden")
    assert HOST_DATA.hex() in told
    tags = {"sealserve-release-role": "clinic"}
    policy = KeyReleasePolicy(build(running.issuer, HOST_DATA.hex(), simulated=True))
    made = client.create_oct_key(random_name(), exportable=True, release_policy=policy, tags=tags)
    status, code, told = refused(lambda: client_of("attested").release_key(made.name, token))
    assert (status, code) == (403, "Forbidden")
    assert "release role 'clinic'" in told


def test_pages_that_are_none(client: KeyClient, url: str, running: LocalTrustd) -> None:
    tls = running.connection.authority().tls()
    owner = {"Authorization": f"Bearer {running.owner}"}
    with httpx.Client(base_url=url, verify=tls, trust_env=False, headers=owner) as raw:
        for query in ("maxresults=0", "maxresults=26", "maxresults=x", "$skiptoken=a_b"):
            answer = raw.get(f"/keys?{query}")
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BadParameter")


NOT_HERE: dict[str, Callable[[KeyClient], object]] = {
    "backup": lambda client: client.backup_key("model"),
    "restore": lambda client: client.restore_key_backup(b"backup"),
    "rotate": lambda client: client.rotate_key("model"),
    "rotation policy": lambda client: client.get_key_rotation_policy("model"),
    "attestation of a key": lambda client: client.get_key_attestation("model", "1"),
}


@pytest.mark.parametrize("call", NOT_HERE.values(), ids=NOT_HERE)
def test_what_this_service_does_not_do(
    call: Callable[[KeyClient], object], client: KeyClient
) -> None:
    with pytest.raises(HttpResponseError) as caught:
        call(client)
    assert caught.value.status_code in (404, 405)
