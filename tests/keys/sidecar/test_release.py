"""A vault that answers a release with one thing wrong, or in another of Azure's ways."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from cryptography.hazmat.primitives import keywrap
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from sealserve.attestation.simulated import Machine
from sealserve.keys.answer import WRAP_HASHES
from sealserve.keys.body import Body
from sealserve.keys.refused import Refused
from sealserve.keys.sidecar.allowed import Allowed, Options
from sealserve.keys.sidecar.service import Sidecar
from support.keys_sidecar import Events
from support.keys_vault import SimulatedVault, b64url, json_bytes, pkcs8, uint, unb64url

Edit = Callable[[dict[str, Any]], dict[str, Any]]
CURVE = ec.generate_private_key(ec.SECP256R1())


class Asked:
    """A sidecar with one vault, which may do to its answers what it likes."""

    def __init__(self, vault: SimulatedVault, policy: bytes, sidecar: Sidecar) -> None:
        self.vault = vault
        self.sidecar = sidecar
        self.stored = vault.create("model", policy)
        self.to: rsa.RSAPublicKey | None = None
        vault.edit_claims = self._seen

    def _seen(self, claims: dict[str, Any]) -> dict[str, Any]:
        """Remember the key that answers have to be wrapped to."""
        jwk = claims["x-ms-runtime"]["keys"][0]
        e, n = (int.from_bytes(unb64url(jwk[part]), "big") for part in ("e", "n"))
        self.to = rsa.RSAPublicNumbers(e, n).public_key()
        return claims

    def wrapped(self, secret: bytes, enc: str = "RSA_AES_KEY_WRAP_256") -> str:
        assert self.to is not None
        kek, digest = os.urandom(32), WRAP_HASHES[enc]()
        head = self.to.encrypt(kek, padding.OAEP(padding.MGF1(digest), digest, None))
        sealed = head + keywrap.aes_key_wrap_with_padding(kek, secret)
        return b64url(json_bytes({"ciphertext": b64url(sealed)}))

    def release(self, kid: str = "model", **more: str) -> str:
        host = self.vault.host
        body = {"maa_endpoint": host, "akv_endpoint": host, "kid": kid, **more}
        return self.sidecar.release(Body(body, "the request"))["key"]


@pytest.fixture
def asked(vault: SimulatedVault, policy: bytes, machine: Machine) -> Iterator[Asked]:
    options = Options((f"trustd:{vault.host}",), (vault.ca.sha256,), (), ("model",))
    allowed = Allowed.of(options, machine.platform)
    with closing(Sidecar(machine, allowed, Events())) as sidecar:
        yield Asked(vault, policy, sidecar)


def bearers(vault: SimulatedVault) -> set[str]:
    """The credentials that releases came with; the first request of an SDK has none."""
    releases = (each for each in vault.server.requests if each.path.endswith("/release"))
    return {each.headers.get("authorization", "") for each in releases} - {""}


def test_a_callers_token_is_shown_to_the_vault_and_to_nobody_else(asked: Asked) -> None:
    asked.release(access_token="of.the-caller")
    assert bearers(asked.vault) == {"Bearer of.the-caller"}
    others = [each for each in asked.vault.server.requests if not each.path.startswith("/keys/")]
    assert others
    assert all("of.the-caller" not in str((each.headers, each.body)) for each in others)


def test_without_one_the_attestation_is_the_credential(asked: Asked) -> None:
    asked.release()
    assert bearers(asked.vault) == {"Bearer attested"}


def key_of(payload: dict[str, Any]) -> dict[str, Any]:
    key: dict[str, Any] = payload["response"]["key"]["key"]
    return key


@pytest.mark.parametrize("enc", WRAP_HASHES)
def test_azures_three_wraps_are_understood(enc: str, asked: Asked) -> None:
    def edit(payload: dict[str, Any]) -> dict[str, Any]:
        assert payload["request"]["enc"] == "RSA_AES_KEY_WRAP_256"  # what was asked for
        payload["request"]["enc"] = enc
        key_of(payload)["key_hsm"] = asked.wrapped(pkcs8(asked.stored.key), enc)
        return payload

    asked.vault.edit_payload = edit
    assert uint(asked.stored.key.private_numbers().d) in asked.release()


def test_a_key_on_a_curve(asked: Asked) -> None:
    def edit(payload: dict[str, Any]) -> dict[str, Any]:
        numbers = CURVE.public_key().public_numbers()
        public = {"kty": "EC-HSM", "crv": "P-256", "x": uint(numbers.x), "y": uint(numbers.y)}
        kept = {name: key_of(payload)[name] for name in ("kid", "key_ops")}
        secret = asked.wrapped(pkcs8(CURVE))
        payload["response"]["key"]["key"] = {**kept, **public, "key_hsm": secret}
        return payload

    asked.vault.edit_payload = edit
    assert '"kty":"EC","crv":"P-256"' in asked.release()


def other_version(kid: str) -> str:
    return kid[:-32] + "0" * 32


def other_name(kid: str) -> str:
    return kid.replace("/model/", "/other/")


def at(place: Callable[[dict[str, Any]], dict[str, Any]], name: str, change: Any) -> Edit:
    def edit(payload: dict[str, Any]) -> dict[str, Any]:
        found = place(payload)
        found[name] = change(found[name]) if callable(change) else change
        return payload

    return edit


def request_of(payload: dict[str, Any]) -> dict[str, Any]:
    request: dict[str, Any] = payload["request"]
    return request


def attributes_of(payload: dict[str, Any]) -> dict[str, Any]:
    attributes: dict[str, Any] = payload["response"]["key"]["attributes"]
    return attributes


WRONG: dict[str, tuple[Edit, str]] = {
    "the answer to another question": (at(request_of, "kid", other_name), "request.kid"),
    "another key": (at(key_of, "kid", other_name), "key.kid"),
    "a wrap nobody knows": (at(request_of, "enc", "RSA_AES_KEY_WRAP_512"), "request.enc"),
    "a type nobody knows": (at(key_of, "kty", "OKP"), "key.kty"),
    "another type": (at(key_of, "kty", "EC"), "wanted a key on a curve"),
    "another modulus": (at(key_of, "n", uint(3)), "beside it (n)"),
    "a disabled key": (at(attributes_of, "enabled", False), "not enabled"),
    "operations in words": (at(key_of, "key_ops", "all"), "key_ops"),
    "an empty secret": (at(key_of, "key_hsm", b64url(b"{}")), "ciphertext"),
}


@pytest.mark.parametrize("with_version", [False, True])
@pytest.mark.parametrize(("edit", "words"), WRONG.values(), ids=WRONG)
def test_nothing_is_released_from_a_wrong_answer(
    edit: Edit, words: str, with_version: bool, asked: Asked
) -> None:
    asked.vault.edit_payload = edit
    with pytest.raises(Refused) as caught:
        asked.release(f"model/{asked.stored.version}" if with_version else "model")
    assert caught.value.status == 403
    assert words in caught.value.message


@pytest.mark.parametrize("place", [request_of, key_of])
def test_another_version_than_was_asked_for(place: Any, asked: Asked) -> None:
    asked.vault.edit_payload = at(place, "kid", other_version)
    with pytest.raises(Refused, match=r"kid"):
        asked.release(f"model/{asked.stored.version}")
