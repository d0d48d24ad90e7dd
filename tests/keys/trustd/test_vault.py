"""The key vault in this process: every reason not to release a key alone, and what leaves it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from joserfc import jws as other_jws
from joserfc.jwk import RSAKey

from sealserve.attestation.binding import ReleaseClaims
from sealserve.attestation.token import CLOCK_SKEW_SECONDS, LIFETIME_SECONDS, MAX_TOKEN_BYTES
from sealserve.keys import jws
from sealserve.keys.refused import Refused
from sealserve.keys.trustd import pkcs8 as own_pkcs8
from sealserve.keys.trustd import vault
from sealserve.keys.trustd.pages import Page
from sealserve.keys.trustd.token_keys import TokenKey, TokenKeyRing
from sealserve.keys.trustd.tokens import Tokens
from sealserve.native.errors import IntegrityError, ReleaseError
from sealserve.policy.release_build import build
from support.attestation_simulated import HOST_DATA, NOW
from support.keys_trustd import (
    API_VERSION,
    LocalTrustd,
    body_of,
    payload_of,
    private_jwk,
    random_name,
    release_policy,
    told,
    wrapping_jwk,
)
from support.keys_vault import pkcs8, rsa_key, uint, unb64url

EXPORTABLE = {"exportable": True}
MACHINE_KEY = rsa_key(2048, 3)
ENC = "RSA_AES_KEY_WRAP_256"


@contextmanager
def refused(status: int, code: str, words: str) -> Iterator[None]:
    """Inside, the vault answers this."""
    with pytest.raises(Refused) as caught:
        yield
    assert (told(caught.value), words in caught.value.message) == ((status, code), True), str(
        caught.value
    )


@pytest.fixture
def policy(trustd: LocalTrustd) -> bytes:
    written: bytes = build(trustd.issuer, HOST_DATA.hex(), simulated=True)
    return written


@pytest.fixture
def claims() -> dict[str, Any]:
    """What a token says of a machine that the policy allows."""
    return {
        "x-ms-attestation-type": "sevsnpvm",
        "x-ms-compliance-status": "sealserve-simulated",
        "x-ms-runtime": {"keys": [wrapping_jwk(MACHINE_KEY)]},
        "x-ms-sevsnpvm-hostdata": HOST_DATA.hex(),
        "x-ms-sevsnpvm-is-debuggable": False,
        "x-ms-sevsnpvm-vmpl": 0,
    }


@dataclass
class Asked:
    """A release that is granted; a test changes one thing about it."""

    trustd: LocalTrustd
    name: str
    token: str
    version: str = ""
    enc: str | None = ENC

    def __call__(self) -> str:
        enc = {} if self.enc is None else {"enc": self.enc}
        answer: str = self.trustd.release(self.name, self.version, target=self.token, **enc)
        return answer


@pytest.fixture
def stored(trustd: LocalTrustd, policy: bytes) -> Any:
    """A key that may be released."""
    return add(trustd, policy)


def add(trustd: LocalTrustd, policy: bytes, *, kty: str = "oct", **attributes: object) -> Any:
    """A key in the vault: its bundle."""
    return trustd.create(
        random_name(),
        kty=kty,
        attributes={**EXPORTABLE, **attributes},
        release_policy=release_policy(policy),
    )


def signed(tokens: Tokens, claims: Mapping[str, object]) -> str:
    """A token of this issuer that says this."""
    token: str = tokens.sign(tokens.claims(claims, NOW))
    return token


def kid_of(bundle: Mapping[str, Any]) -> list[str]:
    """Name and version."""
    return str(bundle["key"]["kid"]).split("/")[4:]


@pytest.fixture
def ask(trustd: LocalTrustd, stored: Any, claims: dict[str, Any]) -> Asked:
    name, version = kid_of(stored)
    return Asked(trustd, name, trustd.token(claims), version)


# ---- what is released

HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "CKM_RSA_AES_KEY_WRAP": hashes.SHA1,
    "RSA_AES_KEY_WRAP_256": hashes.SHA256,
    "RSA_AES_KEY_WRAP_384": hashes.SHA384,
}


def opened(trustd: LocalTrustd, answer: str) -> dict[str, Any]:
    """The payload, verified under the service's CA by our own reader."""
    state = trustd.service.state
    payload: dict[str, Any] = jws.open_jws(
        answer, roots=[state.ca], host=state.address, now=trustd.now
    )
    return payload


def unwrapped(answer: str, enc: str, key: rsa.RSAPrivateKey = MACHINE_KEY) -> bytes:
    """The secret inside an answer, by nothing but the two standards."""
    bundle = payload_of(answer)["response"]["key"]["key"]
    sealed = json.loads(unb64url(bundle["key_hsm"]))
    assert sealed["schema_version"] == "1.0"
    assert sealed["header"] == {"kid": "of-the-machine", "alg": "dir", "enc": enc}
    ciphertext = unb64url(sealed["ciphertext"])
    digest = HASHES[enc]()
    kek = key.decrypt(
        ciphertext[: key.key_size // 8], padding.OAEP(padding.MGF1(digest), digest, None)
    )
    assert len(kek) == 32
    return keywrap.aes_key_unwrap_with_padding(kek, ciphertext[key.key_size // 8 :])


@pytest.mark.parametrize("enc", HASHES)
def test_a_key_comes_out_by_each_wrap(enc: str, ask: Asked) -> None:
    ask.enc = enc
    answer = ask()
    record = ask.trustd.records.find("key", ask.name)
    assert record
    assert unwrapped(answer, enc) == record.secret
    assert len(record.secret) == 32
    assert payload_of(answer)["request"]["enc"] == enc


def test_without_a_word_it_is_the_wrap_azure_takes(ask: Asked) -> None:
    ask.enc = None
    assert len(unwrapped(ask(), "CKM_RSA_AES_KEY_WRAP")) == 32
    ask.enc = ""
    assert len(unwrapped(ask(), "CKM_RSA_AES_KEY_WRAP")) == 32


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
def test_machines_may_have_keys_of_three_sizes(
    bits: int, ask: Asked, claims: dict[str, Any]
) -> None:
    machine_key = rsa_key(bits, 3)
    claims["x-ms-runtime"] = {"keys": [wrapping_jwk(machine_key)]}
    ask.token = ask.trustd.token(claims)
    assert len(unwrapped(ask(), ENC, machine_key)) == 32


def test_an_rsa_key_is_released_as_pkcs8(
    trustd: LocalTrustd, policy: bytes, claims: dict[str, Any]
) -> None:
    bundle = add(trustd, policy, kty="RSA-HSM")
    name, version = kid_of(bundle)
    key = serialization.load_der_private_key(
        unwrapped(Asked(trustd, name, trustd.token(claims), version)(), ENC), None
    )
    assert isinstance(key, rsa.RSAPrivateKey)
    assert uint(key.public_key().public_numbers().n) == bundle["key"]["n"]


def test_an_imported_key_comes_out_as_it_went_in(
    trustd: LocalTrustd, policy: bytes, claims: dict[str, Any]
) -> None:
    name = random_name()
    trustd.service.bring(trustd.owner, name, importing(policy, private_jwk()))
    key = unwrapped(Asked(trustd, name, trustd.token(claims))(), ENC)
    loaded = serialization.load_der_private_key(key, None)
    assert isinstance(loaded, rsa.RSAPrivateKey)
    assert loaded.private_numbers() == rsa_key(2048, 7).private_numbers()


def importing(policy: bytes, key: Mapping[str, object], **more: object) -> Any:
    body = {"key": key, "attributes": EXPORTABLE, "release_policy": release_policy(policy)}
    return body_of({**body, **more})


def test_each_release_is_wrapped_anew(ask: Asked) -> None:
    one, other = (payload_of(ask())["response"]["key"]["key"]["key_hsm"] for _ in range(2))
    assert one != other


def test_what_is_signed_is_what_azures_vaults_sign(ask: Asked, policy: bytes) -> None:
    payload = opened(ask.trustd, ask())
    url = f"https://{ask.trustd.connection.address}/keys/{ask.name}/{ask.version}"
    assert payload["request"] == {"api-version": API_VERSION, "enc": ENC, "kid": url}
    assert payload.keys() == {"request", "response"}
    bundle = payload["response"]["key"]
    assert bundle.keys() == {"attributes", "key", "release_policy"}
    assert bundle["key"].keys() == {"key_hsm", "key_ops", "kid", "kty"}
    assert (bundle["key"]["kid"], bundle["key"]["kty"]) == (url, "oct")
    assert bundle["attributes"] == {
        "created": int(NOW.timestamp()),
        "enabled": True,
        "exportable": True,
        "updated": int(NOW.timestamp()),
        "recoverableDays": 90,
        "recoveryLevel": "Recoverable+Purgeable",
    }
    assert bundle["release_policy"].keys() == {"data", "immutable"}
    assert unb64url(bundle["release_policy"]["data"]) == policy


def test_a_release_without_a_version_is_of_the_newest(
    trustd: LocalTrustd, policy: bytes, ask: Asked
) -> None:
    newer = trustd.create(
        ask.name, kty="oct", attributes=EXPORTABLE, release_policy=release_policy(policy)
    )
    ask.version = ""
    payload = payload_of(ask())
    assert payload["request"]["kid"].endswith(f"/keys/{ask.name}")
    assert payload["response"]["key"]["key"]["kid"] == newer["key"]["kid"]


def test_another_library_verifies_the_answer(ask: Asked) -> None:
    answer = ask()
    header = json.loads(unb64url(answer.split(".")[0]))
    leaf = ask.trustd.service.leaves.certificate()
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    key = RSAKey.import_key(leaf.public_key().public_bytes(serialization.Encoding.PEM, spki))
    registry = other_jws.JWSRegistry(algorithms=["RS256"])
    registry.max_header_length = 16 * 1024  # 512 bytes hold no certificate
    registry.max_payload_length = 16 * 1024
    read = other_jws.deserialize_compact(answer, key, registry=registry)
    assert json.loads(read.payload or b"") == opened(ask.trustd, answer)
    assert header["alg"] == "RS256"
    assert header["kid"] == leaf.fingerprint(hashes.SHA1()).hex().upper()
    assert unb64url(header["x5t#S256"]) == leaf.fingerprint(hashes.SHA256())
    assert len(header["x5c"]) == 2


def test_the_answer_of_another_service_is_not_believed(ask: Asked, real: LocalTrustd) -> None:
    with pytest.raises(ReleaseError, match="a certificate of"):
        opened(real, ask())


def test_from_evidence_to_key(trustd: LocalTrustd, machine: Any, policy: bytes) -> None:
    """With nothing made up between the report and the secret."""
    key = rsa_key(3072, 3)
    evidence = machine.evidence(ReleaseClaims.of(key.public_key()).encode())
    token = trustd.token(trustd.attest(evidence))
    name, version = kid_of(add(trustd, policy))
    answer = trustd.release(name, version, target=token, enc=ENC)
    bundle = opened(trustd, answer)["response"]["key"]["key"]
    sealed = json.loads(unb64url(bundle["key_hsm"]))
    assert sealed["header"]["kid"] == ReleaseClaims.of(key.public_key()).key_id


# ---- what is not released: the token


def claim(name: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda claims: claims.update({name: value})


def without(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda claims: claims.pop(name)


NOT_MET = {
    "another type": (claim("x-ms-attestation-type", "sgx"), "x-ms-attestation-type"),
    "another status": (
        claim("x-ms-compliance-status", "azure-compliant-uvm"),
        "x-ms-compliance-status",
    ),
    "other host data": (claim("x-ms-sevsnpvm-hostdata", "00" * 32), "x-ms-sevsnpvm-hostdata"),
    "no host data": (without("x-ms-sevsnpvm-hostdata"), "x-ms-sevsnpvm-hostdata: seen nothing"),
    "debug mode": (claim("x-ms-sevsnpvm-is-debuggable", True), "seen true; wanted"),
    "another VMPL": (claim("x-ms-sevsnpvm-vmpl", 1), "seen 1; wanted"),
}


@pytest.mark.parametrize(("edit", "words"), NOT_MET.values(), ids=NOT_MET)
def test_a_policy_that_is_not_met(
    edit: Callable[[dict[str, Any]], object], words: str, ask: Asked, claims: dict[str, Any]
) -> None:
    edit(claims)
    ask.token = ask.trustd.token(claims)
    with refused(403, "Forbidden", words):
        ask()


def jwk(**members: object) -> dict[str, object]:
    return wrapping_jwk(MACHINE_KEY, **members)


NUMBERS = rsa_key(2048, 3).public_key().public_numbers()
WRAPPING: dict[str, tuple[object, str]] = {
    "no runtime data": (None, "holds 0 keys"),
    "runtime data of another shape": ("keys", "holds 0 keys"),
    "no keys": ({}, "holds 0 keys"),
    "keys of another shape": ({"keys": {"0": jwk()}}, "holds 0 keys"),
    "an empty list": ({"keys": []}, "holds 0 keys"),
    "a key that is none": ({"keys": ["key"]}, "holds 0 keys"),
    "a key for signatures": ({"keys": [jwk(key_ops=["verify"])]}, "holds 0 keys"),
    "a key for signatures by use": ({"keys": [jwk(key_ops=None, use="sig")]}, "holds 0 keys"),
    "two keys": ({"keys": [jwk(), jwk(kid="other")]}, "holds 2 keys"),
    "the same key twice": ({"keys": [jwk(), jwk()]}, "holds 2 keys"),
    "a small key": ({"keys": [wrapping_jwk(rsa_key(1024, 3))]}, "has 1024 bits"),
    "an odd key": ({"keys": [wrapping_jwk(rsa_key(2056, 3))]}, "has 2056 bits"),
    "no modulus": ({"keys": [jwk(n=None)]}, "cannot be used"),
    "no exponent": ({"keys": [jwk(e=None)]}, "cannot be used"),
    "an exponent of one": ({"keys": [jwk(e=uint(1))]}, "cannot be used"),
    "an even exponent": ({"keys": [jwk(e=uint(65536))]}, "cannot be used"),
    "an even modulus": ({"keys": [jwk(n=uint(NUMBERS.n - 1))]}, "cannot be used"),
    "a modulus that is no base64": ({"keys": [jwk(n="!")]}, "cannot be used"),
    "a long modulus": ({"keys": [jwk(n="f" * 2000)]}, "cannot be used"),
    "another type of key": ({"keys": [jwk(kty="EC")]}, "cannot be used"),
    "another use": ({"keys": [jwk(use="sig")]}, "its use is not enc"),
    "no type of key": ({"keys": [jwk(kty=None)]}, "cannot be used"),
}


@pytest.mark.parametrize(("runtime", "words"), WRAPPING.values(), ids=WRAPPING)
def test_a_token_without_one_good_key_to_wrap_to(
    runtime: object, words: str, ask: Asked, claims: dict[str, Any]
) -> None:
    ask.token = ask.trustd.token({**claims, "x-ms-runtime": runtime})
    with refused(403, "Forbidden", words):
        ask()


GOOD_KEYS = {
    "by what it is for": [jwk()],
    "by use": [jwk(key_ops=None, use="enc")],
    "for more": [jwk(key_ops=["wrapKey", "encrypt"])],
    "beside one for signatures": [jwk(key_ops=["verify"], use="sig"), jwk()],
}


@pytest.mark.parametrize("keys", GOOD_KEYS.values(), ids=GOOD_KEYS)
def test_which_key_is_wrapped_to(keys: list[object], ask: Asked, claims: dict[str, Any]) -> None:
    ask.token = ask.trustd.token({**claims, "x-ms-runtime": {"keys": keys}})
    assert len(unwrapped(ask(), ENC)) == 32


@pytest.mark.parametrize(
    "enc", ["RSA_AES_KEY_WRAP_512", "rsa_aes_key_wrap_256", "RSA-OAEP-256", "x" * 10_000]
)
def test_an_unknown_wrap(enc: str, ask: Asked) -> None:
    ask.enc = enc
    with refused(400, "BadParameter", "enc: seen"):
        ask()


def test_a_token_that_has_expired(ask: Asked) -> None:
    lifetime = timedelta(seconds=LIFETIME_SECONDS + CLOCK_SKEW_SECONDS)
    ask.trustd.now = NOW + lifetime - timedelta(seconds=1)
    ask()
    ask.trustd.now = NOW + lifetime
    with refused(403, "Forbidden", "token_expired: "):
        ask()


def test_a_token_from_the_future(ask: Asked, claims: dict[str, Any]) -> None:
    ask.trustd.now = NOW + timedelta(hours=1)
    ask.token = ask.trustd.token(claims)
    ask.trustd.now = NOW
    with refused(403, "Forbidden", "token_not_yet: "):
        ask()


class Forged(TokenKeyRing):
    """The ring of a service, whose newest key signs with another one under the same name."""

    def newest(self) -> TokenKey:
        return replace(super().newest(), key=rsa_key(3072, 9))


def tokens_of(issuer: str, ring: TokenKeyRing) -> Tokens:
    return Tokens(issuer, ring, lambda: NOW)


def test_a_token_of_another_issuer_under_the_same_key(ask: Asked, claims: dict[str, Any]) -> None:
    ask.token = signed(tokens_of(ask.trustd.service.state.url, ask.trustd.service._ring), claims)
    with refused(403, "Forbidden", "token_issuer: "):
        ask()


def test_a_token_of_another_service(ask: Asked, real: LocalTrustd, claims: dict[str, Any]) -> None:
    ask.token = signed(real.service.tokens, {**claims, "iss": ask.trustd.issuer})
    with refused(403, "Forbidden", "token_key: "):
        ask()


def test_a_token_of_another_key_that_calls_itself_ours(ask: Asked, claims: dict[str, Any]) -> None:
    ring = Forged(ask.trustd.records, ask.trustd.service._audit)
    forger = tokens_of(ask.trustd.issuer, ring)
    assert forger.keys.keys.keys() == ask.trustd.service.tokens.keys.keys.keys()
    ask.token = signed(forger, claims)
    with refused(403, "Forbidden", "token_signature: "):
        ask()


def unsigned(token: str) -> str:
    header, payload, _ = token.split(".")
    return f"{header}.{payload}."


BROKEN: dict[str, tuple[Callable[[str], str], str]] = {
    "empty": (lambda token: "", "token_format"),
    "no token": (lambda token: "attested", "token_format"),
    "two parts": (lambda token: token.rpartition(".")[0], "token_format"),
    "not signed": (unsigned, "token_signature"),
    "not ASCII": (lambda token: token[:-4] + "üüü", "token_format"),
    "too long": (lambda token: token + "A" * MAX_TOKEN_BYTES, "token_format"),
}


@pytest.mark.parametrize(("change", "words"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_token(change: Callable[[str], str], words: str, ask: Asked) -> None:
    ask.token = change(ask.token)
    with refused(403, "Forbidden", words):
        ask()


@pytest.mark.parametrize("target", [None, 7, ["x"], {}])
def test_a_request_without_a_token(target: object, ask: Asked) -> None:
    with refused(400, "BadParameter", "target: seen"):
        ask.trustd.release(ask.name, target=target)
    with refused(400, "BadParameter", "enc: seen"):
        ask.trustd.release(ask.name, target=ask.token, enc=target or 0)


def test_somebody_without_any_word_is_told_what_to_bring(ask: Asked) -> None:
    with pytest.raises(Refused) as caught:
        ask.trustd.release(ask.name, bearer="", target=ask.token)
    assert told(caught.value) == (401, "Unauthorized")
    assert "resource=" in caught.value.headers["WWW-Authenticate"]


# ---- what is not released: the key

UNKNOWN = {
    "another name": lambda ask: replace(ask, name="other"),
    "a name in other letters": lambda ask: replace(ask, name=ask.name.upper()),
    "a name no key can have": lambda ask: replace(ask, name="a_b"),
    "another version": lambda ask: replace(ask, version="0" * 32),
    "a version in other letters": lambda ask: replace(ask, version=ask.version.upper() + "A"),
    "half a version": lambda ask: replace(ask, version=ask.version[:16]),
}


@pytest.mark.parametrize("change", UNKNOWN.values(), ids=UNKNOWN)
def test_a_key_that_is_not_there(change: Callable[[Asked], Asked], ask: Asked) -> None:
    with refused(404, "KeyNotFound", "was not found in this key vault"):
        change(ask)()


INSTANT = int(NOW.timestamp())
NOT_RELEASABLE = {
    "disabled": ({"enabled": False}, "is disabled"),
    "not valid yet": ({"nbf": INSTANT + 1}, "not valid now"),
    "not valid any more": ({"exp": INSTANT}, "not valid now"),
}


@pytest.mark.parametrize(("attributes", "words"), NOT_RELEASABLE.values(), ids=NOT_RELEASABLE)
def test_a_key_in_no_state_to_be_released(
    attributes: dict[str, Any],
    words: str,
    trustd: LocalTrustd,
    policy: bytes,
    claims: dict[str, Any],
) -> None:
    name, version = kid_of(add(trustd, policy, **attributes))
    with refused(403, "Forbidden", words):
        Asked(trustd, name, trustd.token(claims), version)()


@pytest.mark.parametrize("attributes", [{"nbf": INSTANT}, {"exp": INSTANT + 1}, {"nbf": None}])
def test_a_key_on_the_last_second(
    attributes: dict[str, Any], trustd: LocalTrustd, policy: bytes, claims: dict[str, Any]
) -> None:
    name, version = kid_of(add(trustd, policy, **attributes))
    Asked(trustd, name, trustd.token(claims), version)()


def test_a_key_that_is_not_exportable(trustd: LocalTrustd, claims: dict[str, Any]) -> None:
    name, version = kid_of(trustd.create(random_name(), kty="oct"))
    with refused(403, "Forbidden", "not exportable"):
        Asked(trustd, name, trustd.token(claims), version)()


def test_only_the_version_that_is_disabled_stays(
    trustd: LocalTrustd, policy: bytes, ask: Asked
) -> None:
    newer = {**EXPORTABLE, "enabled": False}
    trustd.create(ask.name, kty="oct", attributes=newer, release_policy=release_policy(policy))
    ask()
    with refused(403, "Forbidden", "is disabled"):
        replace(ask, version="")()


def test_a_record_that_was_altered_is_not_released(trustd: LocalTrustd, ask: Asked) -> None:
    database = trustd.records.database
    with database.transaction():
        database.execute("UPDATE records SET sealed = zeroblob(48) WHERE name = ?", (ask.name,))
    with pytest.raises(IntegrityError):
        ask()
    with database.transaction():
        database.execute("DELETE FROM records WHERE name = ?", (ask.name,))


# ---- what is kept


KINDS = {
    "RSA": ({"kty": "RSA"}, 2048),
    "RSA of an HSM": ({"kty": "RSA-HSM", "key_size": 3072}, 3072),
    "RSA, long": ({"kty": "RSA", "key_size": 4096}, 4096),
}


@pytest.mark.parametrize(("members", "bits"), KINDS.values(), ids=KINDS)
def test_rsa_keys_of_the_size_that_was_asked_for(
    members: dict[str, object], bits: int, trustd: LocalTrustd
) -> None:
    key = trustd.create(random_name(), **members)["key"]
    assert int.from_bytes(unb64url(key["n"]), "big").bit_length() == bits
    assert (key["kty"], key["e"]) == (members["kty"], "AQAB")
    assert key.keys() == {"e", "key_ops", "kid", "kty", "n"}


@pytest.mark.parametrize("kty", ["oct", "oct-HSM"])
@pytest.mark.parametrize(("size", "length"), [(None, 32), (128, 16), (192, 24), (256, 32)])
def test_oct_keys_of_the_size_that_was_asked_for(
    kty: str, size: int | None, length: int, trustd: LocalTrustd
) -> None:
    bundle = trustd.create(random_name(), kty=kty, key_size=size)
    assert bundle["key"].keys() == {"key_ops", "kid", "kty"}
    record = trustd.records.find("key", kid_of(bundle)[0])
    assert record
    assert len(record.secret) == length


def test_what_was_made_is_read_again(trustd: LocalTrustd, policy: bytes) -> None:
    name = random_name()
    attributes = {**EXPORTABLE, "nbf": 1, "exp": 2**40}
    made = trustd.create(
        name,
        kty="oct",
        attributes=attributes,
        key_ops=["wrapKey", "export"],
        release_policy=release_policy(policy, immutable=True),
        tags={"for": "tests"},
    )
    version = kid_of(made)[1]
    assert len(bytes.fromhex(version)) == 16
    assert made["attributes"].items() > attributes.items()
    assert made["key"]["key_ops"] == ["wrapKey", "export"]
    assert made["tags"] == {"for": "tests"}
    assert made["release_policy"]["immutable"] is True
    assert unb64url(made["release_policy"]["data"]) == policy
    assert trustd.service.get(trustd.owner, name, "") == made
    assert trustd.service.get(trustd.owner, name, version) == made


def test_lists(trustd: LocalTrustd) -> None:
    names = [f"zz-{letter}-{random_name()}" for letter in "ab"]
    made = [trustd.create(names[0], kty="oct") for _ in range(2)]
    trustd.create(names[1], kty="oct")
    told = trustd.service.names(trustd.owner, Page(after="zz-a"))
    urls = [f"https://{trustd.connection.address}/keys/{name}" for name in names]
    assert [each["kid"] for each in told["value"] if each["kid"] in urls] == urls
    versions = trustd.service.versions(trustd.owner, names[0], Page())["value"]
    assert [each["kid"] for each in versions] == [each["key"]["kid"] for each in made]
    assert trustd.service.versions(trustd.owner, "nobody", Page())["value"] == []


def test_a_key_has_a_last_version(trustd: LocalTrustd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault, "MAX_VERSIONS", 2)
    name = random_name()
    for _ in range(2):
        trustd.create(name, kty="oct")
    with refused(400, "BadParameter", "has 2 versions already"):
        trustd.create(name, kty="oct")


NOT_MADE: dict[str, tuple[dict[str, object], str]] = {
    "no type": ({"kty": None}, "kty: seen NoneType"),
    "another type": ({"kty": "OKP"}, "kty: seen 'OKP'"),
    "another curve": ({"kty": "EC", "crv": "P-224"}, "crv: seen 'P-224'"),
    "a type in other letters": ({"kty": "rsa"}, "kty: seen 'rsa'"),
    "a small RSA key": ({"kty": "RSA", "key_size": 1024}, "key_size: seen 1024"),
    "an RSA size as text": ({"kty": "RSA", "key_size": "2048"}, "key_size: seen str"),
    "an oct size in bytes": ({"key_size": 32}, "key_size: seen 32"),
    "an unknown operation": ({"key_ops": ["wrap"]}, "key_ops: seen 'wrap'"),
    "operations of another shape": ({"key_ops": "wrapKey"}, "key_ops: seen str"),
    "no list of operations": ({"key_ops": False}, "key_ops: seen bool"),
    "a number among operations": ({"key_ops": [7]}, "key_ops: seen list"),
    "attributes of another shape": ({"attributes": []}, "attributes: seen list"),
    "enabled as text": ({"attributes": {"enabled": "false"}}, "enabled: seen str"),
    "exportable as a number": ({"attributes": {"exportable": 1}}, "exportable: seen int"),
    "nbf as text": ({"attributes": {"nbf": "1"}}, "nbf: seen str"),
    "nbf before the epoch": ({"attributes": {"nbf": -1}}, "nbf: seen int"),
    "exp with a fraction": ({"attributes": {"exp": 1.5}}, "exp: seen float"),
    "tags of another shape": ({"tags": ["a"]}, "tags: seen list"),
    "a tag that is a number": ({"tags": {"a": 1}}, "tags.a: seen int"),
    "16 tags": ({"tags": {str(number): "" for number in range(16)}}, "at most 15"),
    "a long tag": ({"tags": {"a": "b" * 257}}, "256 characters"),
    "a tag with a long name": ({"tags": {"a" * 257: "b"}}, "256 characters"),
    "exportable without a policy": ({"attributes": EXPORTABLE}, "AKV.SKR.1004"),
}


@pytest.mark.parametrize(("members", "words"), NOT_MADE.values(), ids=NOT_MADE)
def test_a_key_that_is_not_made(
    members: dict[str, object], words: str, trustd: LocalTrustd
) -> None:
    name = random_name()
    with refused(400, "BadParameter", words):
        trustd.create(name, **{"kty": "oct", **members})
    assert trustd.service.versions(trustd.owner, name, Page())["value"] == []


@pytest.mark.parametrize("name", ["a_b", "a.b", "ä", "a" * 128, "", "a b", "a/b", "a\n"])
def test_a_name_that_no_key_can_have(name: str, trustd: LocalTrustd) -> None:
    with refused(400, "BadParameter", "the key name"):
        trustd.create(name, kty="oct")


def test_the_longest_name(trustd: LocalTrustd) -> None:
    assert kid_of(trustd.create("z" * 127, kty="oct"))[0] == "z" * 127


def test_a_policy_on_a_key_that_never_leaves(trustd: LocalTrustd, policy: bytes) -> None:
    with refused(400, "BadParameter", "AKV.SKR.1005"):
        trustd.create(random_name(), kty="oct", release_policy=release_policy(policy))


def policy_for(*authorities: str) -> bytes:
    conditions = [{"claim": "a", "equals": "b"}]
    blocks = [{"authority": each, "allOf": conditions} for each in authorities]
    return json.dumps({"version": "1.0.0", "anyOf": blocks}).encode()


def bad_policies(issuer: str) -> dict[str, tuple[object, str]]:
    return {
        "of another shape": ("policy", "release_policy: seen str"),
        "no data": ({}, "data: seen nothing"),
        "no base64": ({"data": "!"}, "wanted base64url"),
        "no JSON": (release_policy(b"policy"), "release_policy: "),
        "outside the grammar": (release_policy(b"{}"), "release_policy: "),
        "too long": (release_policy(policy_for(issuer) + b" " * 65536), "release_policy: "),
        "immutable as text": (
            release_policy(policy_for(issuer), immutable="true"),
            "immutable: seen str",
        ),
        "a foreign authority": (
            release_policy(policy_for("https://sharedneu.neu.attest.azure.net")),
            "issue no tokens that this service accepts",
        ),
        "the issuer of real machines": (
            release_policy(policy_for(issuer.removesuffix("/simulated"))),
            "issue no tokens that this service accepts",
        ),
    }


@pytest.mark.parametrize("which", bad_policies("https://x/simulated"))
def test_a_release_policy_that_is_not_kept(which: str, trustd: LocalTrustd) -> None:
    given, words = bad_policies(trustd.issuer)[which]
    with refused(400, "BadParameter", words):
        trustd.create(random_name(), kty="oct", attributes=EXPORTABLE, release_policy=given)


@pytest.mark.parametrize("also", [[], ["https://other.example"]])
def test_a_release_policy_names_us_perhaps_among_others(
    also: list[str], trustd: LocalTrustd, claims: dict[str, Any]
) -> None:
    policy = policy_for(*also, f"{trustd.issuer}/")  # policies in the field end in a slash
    name, version = kid_of(add(trustd, policy))
    Asked(trustd, name, trustd.token({**claims, "a": "b"}), version)()
    with refused(403, "Forbidden", "a: seen nothing"):
        Asked(trustd, name, trustd.token(claims), version)()


# ---- keys that are brought


def brought(trustd: LocalTrustd, key: Mapping[str, object], **more: object) -> dict[str, Any]:
    bundle: dict[str, Any] = trustd.service.bring(
        trustd.owner, random_name(), body_of({"key": key, **more})
    )
    return bundle


@pytest.mark.parametrize(
    ("members", "kty"),
    [({}, "oct"), ({"Hsm": True}, "oct-HSM"), ({"hsm": True}, "oct-HSM"), ({"Hsm": False}, "oct")],
)
def test_the_type_of_a_key_that_is_brought(
    members: dict[str, object], kty: str, trustd: LocalTrustd
) -> None:
    key = {"kty": "oct", "k": "A" * 43}
    assert brought(trustd, key, **members)["key"]["kty"] == kty
    assert brought(trustd, {**key, "kty": "oct-HSM"}, **members)["key"]["kty"] == "oct-HSM"


@pytest.mark.parametrize("length", [16, 32, 64])
def test_oct_keys_that_are_brought(length: int, trustd: LocalTrustd) -> None:
    secret = bytes(range(length))
    bundle = brought(trustd, {"kty": "oct", "k": uint(int.from_bytes(b"\1" + secret[1:], "big"))})
    assert "k" not in bundle["key"]


def rsa_members(**changes: object) -> dict[str, object]:
    return {**private_jwk(), **changes}


PRIVATE = rsa_key(2048, 7).private_numbers()
NOT_BROUGHT: dict[str, tuple[object, str]] = {
    "nothing": (None, "key.kty: seen nothing"),
    "of another shape": ("key", "key: seen str"),
    "another type": ({"kty": "OKP"}, "kty: seen 'OKP'"),
    "oct without k": ({"kty": "oct"}, "k: seen nothing"),
    "a short oct": ({"kty": "oct", "k": "A" * 20}, "k has 15 bytes"),
    "a long oct": ({"kty": "oct", "k": "A" * 87}, "maximum size is 64"),
    "an oct that is no base64": ({"kty": "oct", "k": "*" * 43}, "wanted base64url"),
    "a small RSA key": (private_jwk(1024), "1024 bits"),
    "an odd RSA key": (private_jwk(2056), "2056 bits"),
    **{
        f"RSA without {name}": (rsa_members(**{name: None}), f"{name}: seen NoneType")
        for name in ("n", "e", "d", "p", "q", "dp", "dq", "qi")
    },
    **{
        f"RSA with another {name}": (rsa_members(**{name: uint(value + 2)}), "no RSA key")
        for name, value in {
            "n": PRIVATE.public_numbers.n,
            "e": PRIVATE.public_numbers.e,
            "d": PRIVATE.d,
            "p": PRIVATE.p,
            "q": PRIVATE.q,
            "dp": PRIVATE.dmp1,
            "dq": PRIVATE.dmq1,
            "qi": PRIVATE.iqmp,
        }.items()
    },
    **{
        f"RSA with {name} of zero": (rsa_members(**{name: "AA"}), "no RSA key")
        for name in ("e", "d", "p", "q", "dp", "dq", "qi")
    },
    "RSA with an endless d": (rsa_members(d="f" * 100_000), "no RSA key"),
}


@pytest.mark.parametrize(("key", "words"), NOT_BROUGHT.values(), ids=NOT_BROUGHT)
def test_a_key_that_is_not_taken(key: Any, words: str, trustd: LocalTrustd) -> None:
    with refused(400, "BadParameter", words):
        brought(trustd, key)


def test_a_refusal_quotes_nothing_of_the_key(trustd: LocalTrustd) -> None:
    with pytest.raises(Refused) as caught:
        brought(trustd, rsa_members(d=uint(PRIVATE.d + 2)))
    message = str(caught.value)
    assert str(PRIVATE.d + 2) not in message
    assert caught.value.__cause__ is None
    assert len(message) < 100


def test_importing_asks_for_a_policy_as_making_does(trustd: LocalTrustd, policy: bytes) -> None:
    key = {"kty": "oct", "k": "A" * 43}
    with refused(400, "BadParameter", "AKV.SKR.1004"):
        brought(trustd, key, attributes=EXPORTABLE)
    with refused(400, "BadParameter", "AKV.SKR.1005"):
        brought(trustd, key, release_policy=release_policy(policy))


# ---- who may ask


OWNERS = {
    "create": lambda service, bearer: service.create(bearer, "model", body_of({"kty": "oct"})),
    "import": lambda service, bearer: service.bring(bearer, "model", body_of({})),
    "get": lambda service, bearer: service.get(bearer, "model", ""),
    "names": lambda service, bearer: service.names(bearer, Page()),
    "versions": lambda service, bearer: service.versions(bearer, "model", Page()),
}


@pytest.mark.parametrize("call", OWNERS.values(), ids=OWNERS)
def test_what_only_the_owner_may_do(
    call: Callable[[Any, str], object], trustd: LocalTrustd, real: LocalTrustd, ask: Asked
) -> None:
    wrong = ("", "attested", trustd.owner[:-1], trustd.owner + "A", real.owner, ask.token)
    for bearer in wrong:
        with pytest.raises(Refused) as caught:
            call(trustd.service, bearer)
        assert told(caught.value) == (401, "Unauthorized")
        assert trustd.owner not in str(caught.value.headers)


def test_the_owners_token_opens_no_release(ask: Asked) -> None:
    """Whoever owns the vault can make keys, and still gets none out of it."""
    with refused(403, "Forbidden", "token_format: "):
        ask.trustd.release(ask.name, bearer=ask.trustd.owner, target=ask.trustd.owner)


def test_pkcs8_is_what_azures_vaults_wrap() -> None:
    """The form of an RSA key inside a release, by its bytes."""
    key = rsa_key(2048, 7)
    assert own_pkcs8.encode(key) == pkcs8(key)
    decoded = own_pkcs8.decode(pkcs8(key))
    assert isinstance(decoded, rsa.RSAPrivateKey)
    assert decoded.private_numbers() == key.private_numbers()
