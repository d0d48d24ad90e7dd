"""A release answer, field by field: each one alone wrong, and each way of wrapping."""

from __future__ import annotations

import copy
import os
from contextlib import suppress
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes, keywrap
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, x25519
from hypothesis import given
from hypothesis import strategies as st

from sealserve.keys.answer import ENC, ReleasedKey
from sealserve.keys.keyid import KeyId
from sealserve.native.errors import ReleaseError
from support.keys_vault import b64url, json_bytes, pkcs8, uint, wrap_key

KID = "https://vault.example/keys/model/" + "ab" * 16
VAULT_KEY = rsa.generate_private_key(65537, 2048)
OTHER_KEY = rsa.generate_private_key(65537, 2048)
EPHEMERAL = rsa.generate_private_key(65537, 2048)
NUMBERS = VAULT_KEY.public_key().public_numbers()


def key_hsm(wrapped):
    return b64url(json_bytes({"schema_version": "1.0", "ciphertext": b64url(wrapped)}))


GOOD = {
    "request": {"api-version": "7.6", "enc": ENC, "kid": KID},
    "response": {
        "key": {
            "key": {
                "kid": KID,
                "kty": "RSA-HSM",
                "key_ops": ["wrapKey"],
                "n": uint(NUMBERS.n),
                "e": uint(NUMBERS.e),
                "key_hsm": key_hsm(wrap_key(pkcs8(VAULT_KEY), EPHEMERAL.public_key())),
            },
            "attributes": {"enabled": True, "exportable": True},
        }
    },
}
KEY = ("response", "key", "key")
GONE = object()


def edited(path, value):
    """The good payload with one member changed or gone."""
    payload = copy.deepcopy(GOOD)
    place = payload
    for name in path[:-1]:
        place = place[name]
    if value is GONE:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return payload


def taken(payload, ephemeral=EPHEMERAL):
    """All that a session does with a verified payload."""
    released = ReleasedKey.read(payload)
    released.check(KeyId.parse(KID))
    with released.unwrap(ephemeral) as secret:
        return released.rsa_key(secret)


def test_the_released_key_comes_out():
    assert taken(GOOD).private_numbers() == VAULT_KEY.private_numbers()


SHAPES = {
    "the type without its suffix, as a Managed HSM says it": edited((*KEY, "kty"), "RSA"),
    "no modulus": edited((*KEY, "n"), GONE),
    "no operations": edited((*KEY, "key_ops"), GONE),
    "a member we do not know": edited((*KEY, "newer"), {"a": [1]}),
}


@pytest.mark.parametrize("payload", SHAPES.values(), ids=SHAPES)
def test_both_services_shapes_are_read(payload):
    assert taken(payload).private_numbers() == VAULT_KEY.private_numbers()


OTHER_VERSION = KID[:-1] + "0"
WRONG = {
    "no request": (("request",), GONE, "no request"),
    "a request that is text": (("request",), "x", "no request"),
    "no request.kid": (("request", "kid"), GONE, "no kid"),
    "no request.enc": (("request", "enc"), GONE, "no enc"),
    "request.kid of another version": (("request", "kid"), OTHER_VERSION, "request.kid"),
    "request.kid without a version": (("request", "kid"), KID.rpartition("/")[0], "request.kid"),
    "request.kid of another vault": (
        ("request", "kid"),
        KID.replace("vault.", "evil."),
        "request.kid",
    ),
    "request.kid in capitals": (("request", "kid"), KID.upper(), "request.kid"),
    "another enc": (("request", "enc"), "RSA_AES_KEY_WRAP_384", "request.enc"),
    "the enc of SHA-1": (("request", "enc"), "CKM_RSA_AES_KEY_WRAP", "request.enc"),
    "an enc nobody knows": (("request", "enc"), "none", "request.enc"),
    "no response": (("response",), GONE, "no response"),
    "a response that is a list": (("response",), [], "no response"),
    "no bundle": (("response", "key"), GONE, "no key"),
    "no key": (KEY, GONE, "no key"),
    "no kid": ((*KEY, "kid"), GONE, "no kid"),
    "a kid that is a number": ((*KEY, "kid"), 7, "no kid"),
    "the kid of another version": ((*KEY, "kid"), OTHER_VERSION, "key.kid"),
    "the kid of another key": ((*KEY, "kid"), KID.replace("model", "other"), "key.kid"),
    "no kty": ((*KEY, "kty"), GONE, "no kty"),
    "a curve": ((*KEY, "kty"), "EC-HSM", "key.kty"),
    "a symmetric key": ((*KEY, "kty"), "oct-HSM", "key.kty"),
    "no key_hsm": ((*KEY, "key_hsm"), GONE, "key_hsm"),
    "key_hsm that is an object": ((*KEY, "key_hsm"), {}, "key_hsm"),
    "key_hsm that is no base64": ((*KEY, "key_hsm"), "!", "key_hsm"),
    "key_hsm that is no JSON": ((*KEY, "key_hsm"), b64url(b"{"), "key_hsm"),
    "key_hsm without ciphertext": ((*KEY, "key_hsm"), b64url(b"{}"), "ciphertext"),
    "n that is a number": ((*KEY, "n"), 7, "n of type int"),
    "no attributes": (("response", "key", "attributes"), GONE, "no attributes"),
    "nothing about enabled": (("response", "key", "attributes"), {}, "not enabled"),
    "disabled": (("response", "key", "attributes", "enabled"), False, "not enabled"),
    "enabled in words": (("response", "key", "attributes", "enabled"), "true", "not enabled"),
    "enabled as a number": (("response", "key", "attributes", "enabled"), 1, "not enabled"),
}


@pytest.mark.parametrize(("path", "value", "said"), WRONG.values(), ids=WRONG)
def test_each_field_alone(path, value, said):
    with pytest.raises(ReleaseError) as caught:
        taken(edited(path, value))
    assert said in caught.value.message


def wrapped_as(secret, *, oaep_hash=hashes.SHA256, mgf=None, kek_bytes=32, label=None):
    kek = os.urandom(kek_bytes)
    mask = padding.MGF1((mgf or oaep_hash)())
    head = EPHEMERAL.public_key().encrypt(kek, padding.OAEP(mask, oaep_hash(), label))
    if kek_bytes not in (16, 24, 32):
        return head + bytes(1240)
    return head + keywrap.aes_key_wrap_with_padding(kek, secret)


GOOD_WRAP = wrap_key(pkcs8(VAULT_KEY), EPHEMERAL.public_key())
SECRET = pkcs8(VAULT_KEY)
X25519 = pkcs8(x25519.X25519PrivateKey.generate())
UNKNOWN_KIND = SECRET.replace(
    bytes.fromhex("2a864886f70d010101"), bytes.fromhex("2a864886f70d01017f")
)
UNKNOWN_CURVE = pkcs8(ec.generate_private_key(ec.SECP256R1())).replace(
    bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2a8648ce3d03017f")
)
WRAPS = {
    "nothing": b"",
    "only the RSA part": GOOD_WRAP[:256],
    "a cut RSA part": GOOD_WRAP[:100],
    "a cut AES part": GOOD_WRAP[:-8],
    "eight bytes more": GOOD_WRAP + bytes(8),
    "a bit of the RSA part": bytes([GOOD_WRAP[0] ^ 1]) + GOOD_WRAP[1:],
    "a bit of the AES part": GOOD_WRAP[:-1] + bytes([GOOD_WRAP[-1] ^ 1]),
    "wrapped to another key": wrap_key(SECRET, OTHER_KEY.public_key()),
    "SHA-1 under the name of SHA-256": wrapped_as(SECRET, oaep_hash=hashes.SHA1),
    "SHA-1 for the mask": wrapped_as(SECRET, mgf=hashes.SHA1),
    "a label": wrapped_as(SECRET, label=b"x"),
    "an AES key of no AES": wrapped_as(SECRET, kek_bytes=20),
    "no PKCS #8 inside": wrapped_as(b"x" * 40),
    "a kind of key nobody knows": wrapped_as(UNKNOWN_KIND),
    "a curve nobody knows": wrapped_as(UNKNOWN_CURVE),
    "an X25519 key inside": wrapped_as(X25519),
    "another RSA key than the one beside it": wrapped_as(pkcs8(OTHER_KEY)),
    "bytes behind the key": wrapped_as(SECRET + b"\0" * 8),
}


@pytest.mark.parametrize("wrapped", WRAPS.values(), ids=WRAPS)
def test_a_wrap_that_does_not_hold_this_key(wrapped):
    with pytest.raises(ReleaseError) as caught:
        taken(edited((*KEY, "key_hsm"), key_hsm(wrapped)))
    assert caught.value.__cause__ is None
    assert "the vault's answer cannot be used" in caught.value.message


def test_another_ephemeral_key_does_not_open_it():
    with pytest.raises(ReleaseError, match="does not open"):
        taken(GOOD, OTHER_KEY)


@pytest.mark.parametrize(
    ("enc", "algorithm"),
    [
        ("CKM_RSA_AES_KEY_WRAP", hashes.SHA1),
        ("RSA_AES_KEY_WRAP_256", hashes.SHA256),
        ("RSA_AES_KEY_WRAP_384", hashes.SHA384),
    ],
)
@pytest.mark.parametrize("kek_bytes", [16, 24, 32])
def test_azures_three_wraps_are_known_when_asked_for(enc, algorithm, kek_bytes):
    wrapped = wrapped_as(SECRET, oaep_hash=algorithm, kek_bytes=kek_bytes)
    released = replace(ReleasedKey.read(GOOD), enc=enc, wrapped=wrapped)
    released.check(KeyId.parse(KID), (enc,))
    with released.unwrap(EPHEMERAL) as secret:
        assert released.rsa_key(secret).private_numbers() == VAULT_KEY.private_numbers()


NEWEST = KeyId.parse(KID.rpartition("/")[0])


@pytest.mark.parametrize("request_kid", [KID, NEWEST.url], ids=["as answered", "as asked"])
def test_who_names_no_version_gets_the_newest(request_kid):
    replace(ReleasedKey.read(GOOD), request_kid=request_kid).check(NEWEST)


NOT_NEWEST = {
    "another request": ({"request_kid": OTHER_VERSION}, "request.kid"),
    "another key asked": ({"request_kid": KID.replace("model", "other")}, "request.kid"),
    "another key": ({"kid": KID.replace("model", "other")}, "key.kid"),
    "another vault's": ({"kid": KID.replace("vault.", "evil.")}, "key.kid"),
    "no version": ({"kid": NEWEST.url}, "key.kid"),
    "a version of a version": ({"kid": f"{KID}/{'ab' * 16}"}, "key.kid"),
    "a version no vault writes": ({"kid": f"{NEWEST.url}/latest"}, "key.kid"),
}


@pytest.mark.parametrize(("changes", "said"), NOT_NEWEST.values(), ids=NOT_NEWEST)
def test_the_newest_is_still_a_version_of_that_key(changes, said):
    released = replace(ReleasedKey.read(GOOD), **{"request_kid": NEWEST.url, **changes})
    with pytest.raises(ReleaseError, match=said.replace(".", r"\.")):
        released.check(NEWEST)


def test_another_exponent_beside_the_key():
    with pytest.raises(ReleaseError, match=r"beside it \(e\)"):
        taken(edited((*KEY, "e"), uint(3)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["key", "kid", "enc", "attributes"]), inner, max_size=4)
    ),
    max_leaves=10,
)
PLACES = [("request",), ("response",), ("response", "key"), KEY, (*KEY, "key_hsm"), (*KEY, "n")]


@given(JSON, st.sampled_from(PLACES))
def test_any_payload_is_read_or_refused(value, path):
    with suppress(ReleaseError):
        taken(edited(path, value))


@given(st.binary(max_size=600))
def test_any_wrap_is_opened_or_refused(wrapped):
    with pytest.raises(ReleaseError):
        taken(edited((*KEY, "key_hsm"), key_hsm(wrapped)))
