"""One release, step by step: each token, each answer, each order alone wrong."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from sealserve.attestation import ReleaseClaims
from sealserve.attestation.simulated import Machine
from sealserve.attestation.token import TokenKeys
from sealserve.keys.answer import ENC
from sealserve.keys.keyid import KeyId
from sealserve.keys.session import ReleaseConfig, ReleaseSession
from sealserve.keys.wrap import RsaRecipient
from sealserve.native.errors import ConfigError, EvidenceError, IntegrityError, ReleaseError
from sealserve.native.secret import SecretBuffer
from support.attestation_simulated import HOST_DATA
from support.keys_tls import NOW, Ca
from support.keys_vault import KID, SimulatedVault, b64url, pkcs8, wrap_key

KEY = bytes(range(100, 132))
GONE = object()


class Case:
    """A vault that nobody connects to, a slot of it, and a session that attested once."""

    def __init__(self, root, roots):
        self.ca = Ca()
        self.vault = SimulatedVault(self.ca, roots, now=lambda: NOW)
        self.vault.server.server_close()
        self.stored = self.vault.create("model", b"")
        key_id = KeyId.parse(self.vault.url("model", self.stored))
        with SecretBuffer.from_bytes(KEY) as key:
            self.slot = RsaRecipient(key_id, self.stored.key.public_key()).wrap(key, b"", b"")
        self.config = ReleaseConfig(self.vault.host, self.vault.issuer, (self.ca.certificate,))
        self.machine = Machine(root, HOST_DATA, now=NOW)
        self._attesting = ReleaseSession(self.slot, self.config)
        self._evidence = self.machine.evidence(self._attesting.claims())
        self.token = self.vault.token(self._evidence)
        self.told = jwt.decode(self.token, options={"verify_signature": False})

    def attesting(self):
        """A session that waits for its token."""
        return copy.copy(self._attesting)

    def releasing(self):
        """A session that waits for its answer."""
        session = self.attesting()
        session.accept_token(self.token, self.vault.token_keys, now=NOW)
        return session

    def signed(self, claims, *, key=None, kid=KID, alg="RS256"):
        """A token with these claims."""
        headers = {"kid": kid} if kid is not None else {}
        payload = json.dumps(claims).encode()  # not jwt.encode: it refuses what we want to say
        signer = jwt.PyJWS()
        return signer.encode(payload, key or self.vault.token_key, algorithm=alg, headers=headers)

    def told_with(self, name, value):
        """The good claims with one changed or gone."""
        claims = {**self.told, name: value}
        return {key: each for key, each in claims.items() if each is not GONE}

    def answer(self, edit=lambda payload: payload, signer=None):
        """A signed answer to the good token, its payload changed."""
        self.vault.edit_payload = edit
        good, self.vault.signer = self.vault.signer, signer or self.vault.signer
        try:
            return self.vault.answer("model", self.stored, self.told, ENC)
        finally:
            self.vault.signer = good


@pytest.fixture(scope="module")
def case(simulated_root, simulated_roots):
    return Case(simulated_root, simulated_roots)


def keeps_a_key(session):
    """Whether a private key is still somewhere in the session."""
    return any(isinstance(each, rsa.RSAPrivateKey) for each in vars(session).values())


def test_a_release_from_claims_to_key(case):
    session = ReleaseSession(case.slot, case.config)
    claims = session.claims()
    assert ReleaseClaims.parse(claims)
    told = case.vault.token(case.machine.evidence(claims))
    request = session.accept_token(told, case.vault.token_keys, now=NOW)
    assert (request.name, request.version, request.enc) == ("model", case.stored.version, ENC)
    assert request.target == told
    claimed = jwt.decode(told, options={"verify_signature": False})
    answer = case.vault.answer("model", case.stored, claimed, ENC)
    with session.accept_release(answer, now=NOW) as key:
        assert key.equals(KEY)
    assert not keeps_a_key(session)


def test_every_session_has_a_key_of_its_own(case):
    one, two = (ReleaseSession(case.slot, case.config).claims() for _ in range(2))
    assert json.loads(one)["keys"][0]["n"] != json.loads(two)["keys"][0]["n"]


def test_steps_have_one_order(case):
    fresh = ReleaseSession(case.slot, case.config)
    with pytest.raises(RuntimeError, match="NEW"):
        fresh.accept_token(case.token, case.vault.token_keys, now=NOW)
    with pytest.raises(RuntimeError, match="NEW"):
        fresh.accept_release("", now=NOW)
    attesting = case.attesting()
    with pytest.raises(RuntimeError, match="ATTESTING"):
        attesting.claims()
    with pytest.raises(RuntimeError, match="ATTESTING"):
        attesting.accept_release(case.answer(), now=NOW)
    releasing = case.releasing()
    with pytest.raises(RuntimeError, match="RELEASING"):
        releasing.claims()
    with pytest.raises(RuntimeError, match="RELEASING"):
        releasing.accept_token(case.token, case.vault.token_keys, now=NOW)
    releasing.accept_release(case.answer(), now=NOW).wipe()
    for step in (
        releasing.claims,
        lambda: releasing.accept_token(case.token, case.vault.token_keys, now=NOW),
        lambda: releasing.accept_release(case.answer(), now=NOW),
    ):
        with pytest.raises(RuntimeError, match="OVER"):
            step()


SLOTS = {
    "a person's": ({"kind": "hpke"}, ReleaseError),
    "another algorithm": ({"algorithm": "RSA-OAEP"}, ReleaseError),
    "another vault": (
        {"recipient": "https://evil.example/keys/model/" + "a" * 32},
        ReleaseError,
    ),
    "no version": ({"recipient": "HOST/keys/model"}, ReleaseError),
    "no URL": ({"recipient": "model"}, ConfigError),
}


@pytest.mark.parametrize(("changes", "error"), SLOTS.values(), ids=SLOTS)
def test_a_slot_of_somebody_else_begins_nothing(changes, error, case):
    recipient = changes.get("recipient", "").replace("HOST", f"https://{case.vault.host}")
    with pytest.raises(error):
        ReleaseSession(
            replace(case.slot, **({**changes, "recipient": recipient} if recipient else changes)),
            case.config,
        )


def test_another_port_is_another_vault(case):
    other = replace(case.config, vault="127.0.0.1:1")
    with pytest.raises(ReleaseError) as caught:
        ReleaseSession(case.slot, other)
    assert case.vault.host in caught.value.message
    assert "127.0.0.1:1" in caught.value.message
    assert "nothing was sent there" in caught.value.hint


CLAIMS = {
    "another issuer": ("iss", "https://evil.example/simulated", "token_issuer"),
    "the issuer of real machines": ("iss", "https://127.0.0.1", "token_issuer"),
    "no issuer": ("iss", GONE, "token_issuer"),
    "a list of issuers": ("iss", ["https://127.0.0.1"], "token_issuer"),
    "expired": ("exp", int(NOW.timestamp()) - 61, "token_expired"),
    "no end": ("exp", GONE, "token_format"),
    "an end in words": ("exp", "never", "token_format"),
    "of tomorrow": ("nbf", int(NOW.timestamp()) + 86400, "token_not_yet"),
    "another type": ("x-ms-attestation-type", "azurevm", "token_subject"),
    "no type": ("x-ms-attestation-type", GONE, "token_subject"),
    "another report": ("x-ms-sevsnpvm-reportdata", "00" * 64, "token_subject"),
    "a report with a tail": ("x-ms-sevsnpvm-reportdata", "TAIL", "token_subject"),
    "no report": ("x-ms-sevsnpvm-reportdata", GONE, "token_subject"),
    "no runtime claims": ("x-ms-runtime", GONE, "token_subject"),
    "runtime claims without a key": ("x-ms-runtime", {"keys": []}, "token_subject"),
    "runtime claims that are text": ("x-ms-runtime", "{}", "token_subject"),
}


@pytest.mark.parametrize(("name", "value", "code"), CLAIMS.values(), ids=CLAIMS)
def test_each_claim_alone(name, value, code, case):
    if value == "TAIL":
        value = case.told[name][:64] + "01" * 32
    session = case.attesting()
    with pytest.raises(EvidenceError) as caught:
        session.accept_token(
            case.signed(case.told_with(name, value)), case.vault.token_keys, now=NOW
        )
    assert caught.value.code == code
    assert not keeps_a_key(session)
    with pytest.raises(RuntimeError, match="OVER"):
        session.accept_token(case.token, case.vault.token_keys, now=NOW)


def other_key_first(told):
    """Runtime claims in which somebody else's key stands in front of ours."""
    numbers = rsa.generate_private_key(65537, 3072).public_key()
    theirs = json.loads(ReleaseClaims.of(numbers).encode())["keys"]
    return {**told["x-ms-runtime"], "keys": [*theirs, *told["x-ms-runtime"]["keys"]]}


def test_another_key_in_the_runtime_claims(case):
    told = case.told_with("x-ms-runtime", other_key_first(case.told))
    with pytest.raises(EvidenceError, match="other runtime claims"):
        case.attesting().accept_token(case.signed(told), case.vault.token_keys, now=NOW)


STRANGER = rsa.generate_private_key(65537, 2048)
SIGNATURES = {
    "another key under the same kid": ({"key": STRANGER}, "token_signature"),
    "a kid nobody has": ({"kid": "other"}, "token_key"),
    "no kid": ({"kid": None}, "token_format"),
    "PS256": ({"alg": "PS256"}, "token_algorithm"),
    "HS256 with a secret": ({"alg": "HS256", "key": "x" * 64}, "token_algorithm"),
}


@pytest.mark.parametrize(("changes", "code"), SIGNATURES.values(), ids=SIGNATURES)
def test_each_signature_alone(changes, code, case):
    session = case.attesting()
    with pytest.raises(EvidenceError) as caught:
        session.accept_token(case.signed(case.told, **changes), case.vault.token_keys, now=NOW)
    assert caught.value.code == code
    assert not keeps_a_key(session)


def test_an_unsigned_token(case):
    unsigned = jwt.encode(case.told, None, algorithm="none", headers={"kid": KID})
    with pytest.raises(EvidenceError, match="algorithm"):
        case.attesting().accept_token(unsigned, case.vault.token_keys, now=NOW)


def test_no_keys_at_all(case):
    with pytest.raises(EvidenceError) as caught:
        case.attesting().accept_token(case.token, TokenKeys({}), now=NOW)
    assert caught.value.code == "token_key"


def at(path, value):
    """An edit of one member of a payload."""

    def edit(payload):
        place = payload
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = value(place[path[-1]]) if callable(value) else value
        return payload

    return edit


KEY_PATH = ("response", "key", "key")
ANSWERS = {
    "another version asked": at(("request", "kid"), lambda kid: kid[:-32] + "0" * 32),
    "another enc": at(("request", "enc"), "CKM_RSA_AES_KEY_WRAP"),
    "another version given": at((*KEY_PATH, "kid"), lambda kid: kid[:-32] + "0" * 32),
    "the key of another vault": at((*KEY_PATH, "kid"), lambda kid: kid.replace("127", "126")),
    "a curve": at((*KEY_PATH, "kty"), "EC"),
    "disabled": at(("response", "key", "attributes", "enabled"), False),
    "no key in it": at((*KEY_PATH, "key_hsm"), b64url(b"{}")),
    "another modulus": at((*KEY_PATH, "n"), b64url(b"\x01" * 384)),
}


@pytest.mark.parametrize("edit", ANSWERS.values(), ids=ANSWERS)
def test_each_answer_alone(edit, case):
    session = case.releasing()
    with pytest.raises(ReleaseError, match="cannot be used"):
        session.accept_release(case.answer(edit), now=NOW)
    assert not keeps_a_key(session)
    with pytest.raises(RuntimeError, match="OVER"):
        session.accept_release(case.answer(), now=NOW)


def test_an_answer_signed_under_another_authority(case):
    theirs = Ca().issue("127.0.0.1", key=STRANGER)
    with pytest.raises(ReleaseError, match="a certificate of"):
        case.releasing().accept_release(case.answer(signer=theirs), now=NOW)


def test_an_answer_signed_for_another_host(case):
    theirs = case.ca.issue("evil.example", key=STRANGER)
    with pytest.raises(ReleaseError, match="one valid for 127"):
        case.releasing().accept_release(case.answer(signer=theirs), now=NOW)


def test_an_answer_to_another_session(case):
    other = ReleaseSession(case.slot, case.config)
    token = case.vault.token(case.machine.evidence(other.claims()))
    other.accept_token(token, case.vault.token_keys, now=NOW)
    with pytest.raises(ReleaseError, match="does not open"):
        other.accept_release(case.answer(), now=NOW)


def another_key_released(case):
    """The right names around a key that is not the slot's."""
    jwk = case.told["x-ms-runtime"]["keys"][0]
    n = int.from_bytes(jwt.utils.base64url_decode(jwk["n"]), "big")
    other = rsa.generate_private_key(65537, 3072)
    wrapped = wrap_key(pkcs8(other), rsa.RSAPublicNumbers(65537, n).public_key())

    def edit(payload):
        key = payload["response"]["key"]["key"]
        del key["n"]
        key["key_hsm"] = b64url(json.dumps({"ciphertext": b64url(wrapped)}).encode())
        return payload

    return edit


def test_a_key_that_does_not_open_the_slot(case):
    with pytest.raises(IntegrityError, match="does not open"):
        case.releasing().accept_release(case.answer(another_key_released(case)), now=NOW)


def test_a_slot_that_was_altered(case):
    session = case.releasing()
    session._slot = replace(case.slot, wrapped=case.slot.wrapped[:-1] + b"x")
    with pytest.raises(IntegrityError, match="rewrap"):
        session.accept_release(case.answer(), now=NOW)
