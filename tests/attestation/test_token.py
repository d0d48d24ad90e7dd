"""Tokens of an attestation service: one algorithm, keys given beforehand, every defect alone."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey

from sealserve.attestation import asn1
from sealserve.attestation.token import (
    MAX_JWKS_BYTES,
    MAX_KEYS,
    MAX_TOKEN_BYTES,
    TokenKeys,
    verify_token,
)
from support.attestation_der import elements, replaced
from support.attestation_refusals import code_of, mutations, refused
from support.attestation_simulated import NOW
from support.keys_tls import Ca
from support.keys_vault import b64url, json_bytes, rsa_key, signed, uint, x5c

ISSUER = "https://service.example"
KID = "7ab000a3+/=="  # as the real service spells some: an opaque string
KEY, OTHER, WEAK = rsa_key(2048, 0), rsa_key(2048, 1), rsa.generate_private_key(65537, 1024)
CURVE = ec.generate_private_key(ec.SECP256R1())
CA = Ca()
CERTIFICATE = CA.issue("service.example", key=KEY).certificate
KEYS = TokenKeys({KID: KEY.public_key()})
SECONDS = int(NOW.timestamp())
CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "iat": SECONDS,
    "nbf": SECONDS,
    "exp": SECONDS + 28800,
    "x-ms-attestation-type": "sevsnpvm",
    "x-ms-runtime": {"é": ["\u2028", {}]},
}
HEADER: dict[str, Any] = {"alg": "RS256", "kid": KID, "typ": "JWT"}


def token(claims: object = CLAIMS, key: rsa.RSAPrivateKey = KEY, **header: Any) -> str:
    """A good token but for these members of its header; None takes one away."""
    members = {**HEADER, **header}
    payload = claims if isinstance(claims, bytes) else json_bytes(claims)
    return signed(payload, key, {name: v for name, v in members.items() if v is not None})


def verified(text: str, keys: TokenKeys = KEYS, issuer: str = ISSUER, late: int = 0) -> object:
    return verify_token(text, keys, issuer=issuer, now=NOW + timedelta(seconds=late))


def told(**changed: object) -> str:
    """A token with these claims changed; None takes one away."""
    claims = {**CLAIMS, **changed}
    return token({name: value for name, value in claims.items() if value is not None})


def part(index: int, change: Callable[[str], str]) -> str:
    parts = token().split(".")
    parts[index] = change(parts[index])
    return ".".join(parts)


def pss() -> str:
    text = token().rpartition(".")[0]
    scheme = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    return f"{text}.{b64url(KEY.sign(text.encode(), scheme, hashes.SHA256()))}"


# ---- tokens another library made


def jose(claims: dict[str, Any] = CLAIMS, key: Any = None, **header: str) -> str:
    made: str = jwt.encode(
        {**HEADER, **header},
        claims,
        key or RSAKey.import_key(KEY),
        algorithms=[header.get("alg", "RS256")],
    )
    return made


def test_a_token_of_another_library_is_read() -> None:
    assert verified(jose()) == CLAIMS


def test_keys_published_by_another_library_are_read() -> None:
    theirs = KeySet(
        [RSAKey.import_key(key, {"kid": kid}) for kid, key in ((KID, KEY), ("o", OTHER))]
    )
    keys = TokenKeys.parse(json_bytes(theirs.as_dict(private=False)))
    assert keys.keys.keys() == {KID, "o"}
    assert verified(jose(), keys) == CLAIMS
    assert verified(jose(key=RSAKey.import_key(OTHER), kid="o"), keys) == CLAIMS


PUBLIC_PEM = KEY.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)
FOREIGN = {
    "RS384": lambda: jose(alg="RS384"),
    "RS512": lambda: jose(alg="RS512"),
    "PS256": lambda: jose(alg="PS256"),
    "ES256": lambda: jose(alg="ES256", key=ECKey.import_key(CURVE)),
    "HS256": lambda: jose(alg="HS256", key=OctKey.import_key(b"s" * 64)),
    "none": lambda: token(alg="none"),
    "none without a signature": lambda: token(alg="none").rpartition(".")[0] + ".",
    "nothing": lambda: token(alg=None),
    "lower case": lambda: token(alg="rs256"),
    "a list": lambda: token(alg=["RS256"]),
}


@pytest.mark.parametrize("algorithm", FOREIGN)
def test_no_other_algorithm(algorithm: str) -> None:
    with refused("token_algorithm") as refusal:
        verified(FOREIGN[algorithm]())
    assert refusal.value.wanted == "RS256"


# ---- verification, one defect at a time


def flipped(text: str) -> str:
    return ("B" if text[0] == "A" else "A") + text[1:]


DEFECTS: dict[str, tuple[str, Callable[[], str]]] = {
    "empty": ("token_format", lambda: ""),
    "two parts": ("token_format", lambda: token().rpartition(".")[0]),
    "four parts": ("token_format", lambda: token() + ".x"),
    "five parts": ("token_format", lambda: "a.b.c.d.e"),
    "a line end": ("token_format", lambda: token() + "\n"),
    "a space in front": ("token_format", lambda: " " + token()),
    "a header in another alphabet": ("token_format", lambda: part(0, lambda text: "!" + text)),
    "a header beyond ASCII": ("token_format", lambda: part(0, lambda text: text + "é")),
    "a payload beyond ASCII": ("token_format", lambda: part(1, lambda text: text + "é")),
    "half a character in the payload": (
        "token_format",
        lambda: part(1, lambda text: text + "\ud800"),
    ),
    "half a character in the signature": (
        "token_format",
        lambda: part(2, lambda text: text + "\ud800"),
    ),
    "a signature in another alphabet": ("token_format", lambda: part(2, lambda text: "!" + text)),
    "a header that is no JSON": ("token_format", lambda: part(0, lambda _: b64url(b"{"))),
    "a header that is a list": ("token_format", lambda: part(0, lambda _: b64url(b"[]"))),
    "a header that is empty": ("token_format", lambda: part(0, lambda _: "")),
    "a header deeper than any stack": (
        "token_format",
        lambda: part(0, lambda _: b64url(b"[" * 40_000)),
    ),
    "a name twice in the header": (
        "token_format",
        lambda: part(0, lambda _: b64url(b'{"alg":"none",' + json_bytes(HEADER)[1:])),
    ),
    "a critical extension": ("token_format", lambda: token(crit=["exp"])),
    "an empty list of critical extensions": ("token_format", lambda: token(crit=[])),
    "a payload that is not encoded": ("token_format", lambda: token(b64=False, crit=["b64"])),
    "a payload said not to be encoded": ("token_format", lambda: token(b64=False)),
    "no kid": ("token_format", lambda: token(kid=None)),
    "a kid that is a number": ("token_format", lambda: token(kid=7)),
    "a kid nobody has": ("token_key", lambda: token(kid="other")),
    "a kid spelled with the other alphabet": ("token_key", lambda: token(kid="7ab000a3-_")),
    "a kid beyond printing": ("token_key", lambda: token(kid="\ud800\x1b[2J" * 2000)),
    "another key's": ("token_signature", lambda: token(key=OTHER)),
    "another key's, carried along": (
        "token_signature",
        lambda: token(
            key=OTHER,
            jku="https://evil.example/certs",
            jwk={"kty": "RSA", "n": uint(OTHER.public_key().public_numbers().n), "e": "AQAB"},
            x5c=x5c(CA.issue("service.example", key=OTHER).certificate),
        ),
    ),
    "PSS under RS256": ("token_signature", pss),
    "a bit of the signature": ("token_signature", lambda: part(2, flipped)),
    "no signature": ("token_signature", lambda: part(2, lambda _: "")),
    "a longer signature": ("token_signature", lambda: part(2, lambda text: text + "AAAA")),
    "another payload": ("token_signature", lambda: part(1, lambda _: b64url(b"{}"))),
    "another header": (
        "token_signature",
        lambda: part(0, lambda _: b64url(json_bytes({**HEADER, "typ": "x"}))),
    ),
    "a payload that is no JSON": ("token_format", lambda: token(b"{")),
    "a payload that is a list": ("token_format", lambda: token(b"[]")),
    "a payload that is not UTF-8": ("token_format", lambda: token(b'{"a":"\xff"}')),
    "a name twice in the payload": (
        "token_format",
        lambda: token(b'{"iss":"x",' + json_bytes(CLAIMS)[1:]),
    ),
    "a name twice inside the payload": (
        "token_format",
        lambda: token(b'{"x":{"a":1,"a":1},' + json_bytes(CLAIMS)[1:]),
    ),
    "a payload deeper than any stack": ("token_format", lambda: token(b'{"a":' + b"[" * 40_000)),
    "a number of 5000 digits": ("token_format", lambda: token(b'{"a":' + b"1" * 5000 + b"}")),
    "another issuer": ("token_issuer", lambda: told(iss="https://evil.example")),
    "an issuer with a slash": ("token_issuer", lambda: told(iss=ISSUER + "/")),
    "an issuer below": ("token_issuer", lambda: told(iss=ISSUER + "/tenant")),
    "an issuer in capitals": ("token_issuer", lambda: told(iss=ISSUER.upper())),
    "no issuer": ("token_issuer", lambda: told(iss=None)),
    "a list of issuers": ("token_issuer", lambda: told(iss=[ISSUER])),
    "an issuer beyond printing": ("token_issuer", lambda: told(iss="\ud800\x1b[2J" * 99)),
    "expired": ("token_expired", lambda: told(exp=SECONDS - 60)),
    "of tomorrow by nbf": ("token_not_yet", lambda: told(nbf=SECONDS + 61)),
    "of tomorrow by iat": ("token_not_yet", lambda: told(iat=SECONDS + 61)),
    "no end": ("token_format", lambda: told(exp=None)),
    "an end that is null": ("token_format", lambda: token({**CLAIMS, "exp": None})),
    "a beginning that is null": ("token_format", lambda: token({**CLAIMS, "nbf": None})),
    "an end that is no number": (
        "token_format",
        lambda: token(json_bytes(CLAIMS).replace(str(SECONDS + 28800).encode(), b"NaN")),
    ),
    "too long": ("token_format", lambda: "a" * (MAX_TOKEN_BYTES + 1)),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_alone_is_refused(defect: str) -> None:
    code, make = DEFECTS[defect]
    text = make()
    with refused(code) as refusal:
        verified(text)
    assert len(str(refusal.value)) < 600
    str(refusal.value).encode()  # printable, whatever a stranger wrote
    assert "\x1b" not in str(refusal.value)


@pytest.mark.parametrize("names", [["exp"], [], ["b64"], "exp", None])
def test_a_demand_for_an_extension_is_named(names: object) -> None:
    header = b64url(json_bytes({**HEADER, "crit": names}))
    with refused("token_format") as refusal:
        verified(part(0, lambda _: header))
    assert "crit" in str(refusal.value)


def test_a_refusal_of_a_length_names_it() -> None:
    with refused("token_format") as refusal:
        verified("a" * (MAX_TOKEN_BYTES + 1))
    assert refusal.value.seen == f"{MAX_TOKEN_BYTES + 1} bytes"


def test_a_good_token() -> None:
    assert verified(token()) == CLAIMS


@pytest.mark.parametrize("header", [{"typ": None}, {"jku": "https://evil.example"}, {"x": 1}])
def test_what_else_a_header_says_changes_nothing(header: dict[str, Any]) -> None:
    assert verified(token(**header)) == CLAIMS


NO_TIMES: dict[str, object] = {
    "in words": "never",
    "as digits": str(SECONDS),
    "with fractions": SECONDS + 0.5,
    "as true": True,
    "below zero": -1,
    "beyond all calendars": 2**40,
    "as a list": [SECONDS],
}


@pytest.mark.parametrize("form", NO_TIMES)
@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
def test_a_time_in_another_form(name: str, form: str) -> None:
    with refused("token_format") as refusal:
        verified(told(**{name: NO_TIMES[form]}))
    assert f"claim {name} of the token: " in str(refusal.value)


@pytest.mark.parametrize("name", ["nbf", "iat"])
def test_a_beginning_may_be_missing(name: str) -> None:
    assert verified(told(**{name: None}))


BORDERS = [
    ({"exp": SECONDS - 59}, 0, ""),
    ({"exp": SECONDS - 60}, 0, "token_expired"),
    ({}, 28800 + 59, ""),
    ({}, 28800 + 60, "token_expired"),
    ({}, -60, ""),
    ({}, -61, "token_not_yet"),
    ({"nbf": 0, "iat": 0}, -61, ""),
    ({"exp": 2**40 - 1}, 0, ""),
]


@pytest.mark.parametrize(("changed", "late", "code"), BORDERS)
def test_clocks_may_differ_by_a_minute(changed: dict[str, int], late: int, code: str) -> None:
    assert code_of(lambda: verified(told(**changed), late=late)) == code


def test_the_largest_token_is_read() -> None:
    room = (MAX_TOKEN_BYTES - len(told(x=""))) * 3 // 4
    sizes = ((n, k) for n in range(room - 6, room + 2) for k in range(1, 4))
    made = (token({**CLAIMS, "x": "x" * n}, typ="T" * k) for n, k in sizes)
    assert verified(next(text for text in made if len(text) == MAX_TOKEN_BYTES))


def test_keys_are_those_given_and_no_others() -> None:
    with refused("token_key") as refusal:
        verified(token(), TokenKeys({"b": KEY.public_key(), "a": KEY.public_key()}))
    assert refusal.value.wanted == "a, b"
    with refused("token_key") as refusal:
        verified(token(), TokenKeys({}))
    assert refusal.value.wanted == "none"
    with refused("token_signature"):
        verified(token(), TokenKeys({KID: OTHER.public_key()}))


def test_whether_the_key_is_known() -> None:
    assert KEYS.knows(token())
    assert not KEYS.knows(token(kid="other"))
    with refused("token_format"):
        KEYS.knows("no token")
    with refused("token_algorithm"):
        KEYS.knows(token(alg="none"))


# ---- the keys of an issuer


NUMBERS = KEY.public_key().public_numbers()
BARE = {"kty": "RSA", "kid": KID, "n": uint(NUMBERS.n), "e": "AQAB"}
CHAINED = {"kty": "RSA", "kid": KID, "x5c": x5c(CERTIFICATE, CA.certificate)}


def parsed(*entries: object) -> TokenKeys:
    return TokenKeys.parse(json_bytes({"keys": list(entries)}))


ENTRIES: dict[str, tuple[dict[str, Any], ...]] = {
    "numbers": (BARE,),
    "a certificate alone, as the service has it": (CHAINED,),
    "both": ({**BARE, **CHAINED},),
    "the same twice": (BARE, CHAINED),
    "other members": ({**BARE, "use": "sig", "alg": "RS256", "x5t": "x"},),
    "keys of other kinds beside it": (
        {"kty": "EC", "kid": KID, "crv": "P-256", "x": "", "y": ""},
        {"kty": "oct", "k": "c2VjcmV0"},
        {},
        BARE,
    ),
    "entries that are none beside it": (BARE, "x", 7, None, []),  # type: ignore[dict-item]
}


@pytest.mark.parametrize("form", ENTRIES)
def test_a_set_of_keys_is_read(form: str) -> None:
    keys = parsed(*ENTRIES[form])
    assert {kid: key.public_numbers() for kid, key in keys.keys.items()} == {KID: NUMBERS}


def with_certificate(first: str) -> dict[str, object]:
    return {**CHAINED, "x5c": [first]}


def certificate(index: int, new: bytes) -> str:
    """The certificate with one member of its signed part replaced; its signature is not asked."""
    der = CERTIFICATE.public_bytes(serialization.Encoding.DER)
    return base64.b64encode(replaced(der, 0, replaced(elements(der)[0], index, new))).decode()


def holding(key: Any) -> dict[str, object]:
    return {**CHAINED, "x5c": x5c(CA.issue("service.example", key=key).certificate)}


SPOILED: dict[str, dict[str, object]] = {
    "no kid": {**BARE, "kid": None},
    "an empty kid": {**BARE, "kid": ""},
    "a kid that is a number": {**BARE, "kid": 7},
    "neither numbers nor certificate": {"kty": "RSA", "kid": KID},
    "no e": {"kty": "RSA", "kid": KID, "n": BARE["n"]},
    "no n": {"kty": "RSA", "kid": KID, "e": BARE["e"]},
    "a certificate and no e": {**CHAINED, "n": BARE["n"]},
    "a certificate and no n": {**CHAINED, "e": BARE["e"]},
    "an e that is null": {**BARE, "e": None},
    "an n that is a number": {**BARE, "n": NUMBERS.n},
    "an n that is no base64": {**BARE, "n": "!" * 342},
    "an n beyond ASCII": {**BARE, "n": "é" * 342},
    "an n of half characters": {**BARE, "n": "\ud800"},
    "an e that is no base64": {**BARE, "e": "A!AB"},
    "an n of an impossible length": {**BARE, "n": "A"},
    "an empty n": {**BARE, "n": ""},
    "an n of 8200 bits": {**BARE, "n": uint(1 << 8199 | 1)},
    "an e of 49 bits": {**BARE, "e": uint(1 << 48 | 1)},
    "an even e": {**BARE, "e": "BA"},
    "an e of 1": {**BARE, "e": "AQ"},
    "a weak n": {**BARE, "n": uint(WEAK.public_key().public_numbers().n)},
    "a weak certificate": holding(WEAK),
    "another n than its certificate": {
        **CHAINED,
        **BARE,
        "n": uint(OTHER.public_key().public_numbers().n),
    },
    "an n beside a certificate that is none": {**BARE, "x5c": ["AAAA"]},
    "no certificates": {**CHAINED, "x5c": []},
    "certificates as text": {**CHAINED, "x5c": CHAINED["x5c"][0]},
    "a certificate that is a number": {**CHAINED, "x5c": [7]},
    "a certificate beyond ASCII": with_certificate("é"),
    "a certificate in base64url": with_certificate(
        str(CHAINED["x5c"][0]).replace("+", "-").replace("/", "_")
    ),
    "a certificate with a tail": with_certificate(
        base64.b64encode(CERTIFICATE.public_bytes(serialization.Encoding.DER) + b"\0").decode()
    ),
    "a certificate of version 6": with_certificate(
        certificate(0, asn1.element(0xA0, asn1.integer(5)))
    ),
    "a certificate with a key that is none": with_certificate(
        certificate(6, asn1.sequence(asn1.sequence(asn1.oid("1.2.3")), asn1.bits(b"")))
    ),
    "a certificate of a curve": holding(CURVE),
}


@pytest.mark.parametrize("form", SPOILED)
def test_a_key_that_cannot_be_used(form: str) -> None:
    """Neither passed over nor believed: whoever publishes it has a problem somebody must see."""
    assert SPOILED[form]["kty"] == "RSA"
    with refused("token_keys") as refusal:
        parsed(SPOILED[form])
    str(refusal.value).encode()


def test_a_kid_names_one_key() -> None:
    other = {**BARE, "n": uint(OTHER.public_key().public_numbers().n)}
    with refused("token_keys") as refusal:
        parsed(BARE, other)
    assert "names two keys" in str(refusal.value)


SETS: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"<html>",
    "a list": json_bytes([BARE]),
    "a key alone": json_bytes(BARE),
    "keys as an object": json_bytes({"keys": {KID: BARE}}),
    "keys as nothing": b'{"keys":null}',
    "65 keys": json_bytes({"keys": [BARE] * (MAX_KEYS + 1)}),
    "a name twice": b'{"keys":[],"keys":[]}',
    "a name twice in a key": json_bytes({"keys": [BARE]}).replace(b'"kty"', b'"kty":"EC","kty"'),
    "deeper than any stack": b'{"keys":' + b"[" * 100_000,
    "too long": json_bytes({"keys": []}).ljust(MAX_JWKS_BYTES + 1),
}


@pytest.mark.parametrize("form", SETS)
def test_a_set_in_another_form(form: str) -> None:
    with refused("token_keys"):
        TokenKeys.parse(SETS[form])


def test_numbers_up_to_their_limits() -> None:
    largest = {**BARE, "n": uint(1 << 8191 | 1), "e": uint(1 << 47 | 1)}
    assert parsed(largest).keys[KID].key_size == 8192


def test_sets_up_to_their_limits() -> None:
    assert parsed(*[BARE] * MAX_KEYS).keys.keys() == {KID}
    assert parsed().keys == {}
    assert TokenKeys.parse(json_bytes({"keys": []}).ljust(MAX_JWKS_BYTES)).keys == {}


# ---- anything


GOOD = token()
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
TOKEN_CODES = {
    "token_format", "token_algorithm", "token_key", "token_signature", "token_issuer",
    "token_expired", "token_not_yet",
}  # fmt: skip


@given(st.one_of(st.text(max_size=40), st.text("eyJ.-_A=", max_size=40)))
def test_any_text_is_refused(text: str) -> None:
    for tried in (text, f"{GOOD.split('.')[0]}.{text}"):
        assert code_of(lambda tried=tried: verified(tried)) in TOKEN_CODES  # type: ignore[misc]


@given(mutations(GOOD.encode()))
def test_a_changed_token_is_refused_or_says_the_same(data: bytes) -> None:
    text = data.decode("latin-1")
    if code_of(lambda: verified(text)) == "":
        assert verified(text) == CLAIMS


@given(st.sampled_from(["alg", "kid", "typ", "crit", "b64"]), JSON_VALUES)
def test_any_member_of_a_header(name: str, value: Any) -> None:
    assert code_of(lambda: verified(token(**{name: value}))) in TOKEN_CODES | {""}


@given(st.sampled_from(["iss", "exp", "nbf", "iat"]), JSON_VALUES)
def test_any_value_of_a_claim(name: str, value: object) -> None:
    assert code_of(lambda: verified(token({**CLAIMS, name: value}))) in TOKEN_CODES | {""}


@given(st.sampled_from(["kid", "n", "e", "x5c"]), JSON_VALUES)
def test_any_member_of_a_key(name: str, value: object) -> None:
    for entry in (BARE, CHAINED):
        assert code_of(lambda entry=entry: parsed({**entry, name: value})) in {"", "token_keys"}  # type: ignore[misc]


@given(
    st.one_of(
        st.binary(max_size=60), mutations(CERTIFICATE.public_bytes(serialization.Encoding.DER))
    )
)
def test_any_certificate_of_a_key(data: bytes) -> None:
    entry = with_certificate(base64.b64encode(data).decode())
    assert code_of(lambda: parsed(entry)) in {"", "token_keys"}
