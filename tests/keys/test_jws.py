"""The vault's signature: one algorithm, the given roots, this host, now."""

from __future__ import annotations

import base64
import hmac
import json
from contextlib import suppress
from datetime import timedelta
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from sealserve.keys import jws
from sealserve.native.errors import ReleaseError
from support.keys_tls import NOW, Ca
from support.keys_vault import b64url, json_bytes, signed, x5c

CA = Ca()
KEY = rsa.generate_private_key(65537, 2048)
SIGNER = CA.issue("vault.example", key=KEY)
HEADER = {"alg": "RS256", "x5c": x5c(SIGNER.certificate, CA.certificate)}
PAYLOAD = b'{"answer":42}'


def opened(text, *, roots=(CA.certificate,), host="vault.example", now=NOW):
    return jws.open_jws(text, roots=roots, host=host, now=now)


def answer(payload=PAYLOAD, key=KEY, **header):
    """A good answer except for these members of its header; None takes one away."""
    members = {**HEADER, **header}
    return signed(payload, key, {name: v for name, v in members.items() if v is not None})


def by(issued, *above):
    """A good answer signed by another certificate."""
    return answer(key=issued.key, x5c=x5c(issued.certificate, *above))


@pytest.mark.parametrize("host", ["vault.example", "vault.example:8443"])
def test_a_good_answer_opens(host):
    assert opened(answer(), host=host) == {"answer": 42}


@pytest.mark.parametrize(
    "header",
    [{"x5c": HEADER["x5c"][:1]}, {"kid": "x", "typ": "JWT", "x5t": "y", "jku": "https://e"}],
)
def test_a_root_in_the_chain_and_other_members_are_not_needed(header):
    assert opened(answer(**header)) == {"answer": 42}


def test_an_address_is_a_host_too():
    signer = CA.issue("127.0.0.1", "::1", key=KEY)
    for host in ("127.0.0.1:8443", "[::1]:8443"):
        assert opened(by(signer, CA.certificate), host=host) == {"answer": 42}
    with pytest.raises(ReleaseError):
        opened(by(signer, CA.certificate), host="127.0.0.2")


def mac(text):
    """HS256 with the public key as the secret, which a confused verifier accepts."""
    head, body, _ = text.split(".")
    head = b64url(json_bytes({**HEADER, "alg": "HS256"}))
    spki = KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return f"{head}.{body}.{b64url(hmac.digest(spki, f'{head}.{body}'.encode(), sha256))}"


def pss(text):
    signature = KEY.sign(
        text.rpartition(".")[0].encode(),
        padding.PSS(padding.MGF1(hashes.SHA256()), 32),
        hashes.SHA256(),
    )
    return f"{text.rpartition('.')[0]}.{b64url(signature)}"


def part(index, change):
    """A good answer whose part number `index` was changed."""
    parts = answer().split(".")
    parts[index] = change(parts[index])
    return ".".join(parts)


def damaged(old, new):
    """The signer's certificate with these bytes changed, as `x5c` has it."""
    data = SIGNER.certificate.public_bytes(serialization.Encoding.DER)
    assert old in data
    return base64.b64encode(data.replace(old, new, 1)).decode()


FOREIGN_CA = Ca()
FOREIGN_KEY = rsa.generate_private_key(65537, 2048)
TWIN = FOREIGN_CA.issue("vault.example", key=FOREIGN_KEY)
CURVE = CA.issue("vault.example")
WEAK_KEY = rsa.generate_private_key(65537, 1024)

REFUSALS = {
    "empty": "",
    "two parts": answer().rpartition(".")[0],
    "four parts": answer() + ".x",
    "too long": answer() + "A" * jws.MAX_JWS_CHARACTERS,
    "alg none": answer(alg="none"),
    "alg none without a signature": part(2, lambda _: "").replace(
        b64url(json_bytes(HEADER)), b64url(json_bytes({**HEADER, "alg": "none"}))
    ),
    "no alg": answer(alg=None),
    "alg RS512": answer(alg="RS512"),
    "alg in lower case": answer(alg="rs256"),
    "alg that is a list": answer(alg=["RS256"]),
    "an HMAC with the public key": mac(answer()),
    "PSS under RS256": pss(answer()),
    "a critical extension": answer(crit=["exp"]),
    "an empty list of critical extensions": answer(crit=[]),
    "no chain": answer(x5c=None),
    "an empty chain": answer(x5c=[]),
    "a chain that is text": answer(x5c=HEADER["x5c"][0]),
    "seven certificates": answer(x5c=HEADER["x5c"][:1] * 7),
    "a certificate in base64url": answer(
        x5c=[base64.urlsafe_b64encode(b"\xff\xfe\xfd" * 99).decode()]
    ),
    "a certificate that is none": answer(x5c=["AAAA"]),
    "a certificate that is a number": answer(x5c=[7]),
    "a certificate of version 67": answer(
        x5c=[damaged(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x42")]
    ),
    "a certificate whose subject is bits": answer(
        x5c=[damaged(b"\x0c\x0dvault", b"\x03\x0d\x00ault")]
    ),
    "a certificate whose subject is no text": answer(x5c=[damaged(b"\x0dvault", b"\x0d\xffault")]),
    "a certificate whose subject moves the cursor": answer(
        x5c=[damaged(b"\x0dvault", b"\x0d\x1bault")]
    ),
    "a JWK instead": answer(x5c=None, jwk={"kty": "RSA"}),
    "the root in front": answer(x5c=HEADER["x5c"][::-1]),
    "the chain of another CA of that name": by(TWIN, FOREIGN_CA.certificate),
    "the certificate of another CA, our root behind it": by(TWIN, CA.certificate),
    "our certificate, their signature": answer(key=FOREIGN_KEY),
    "a certificate of a curve": answer(x5c=x5c(CURVE.certificate, CA.certificate)),
    "a weak key": by(CA.issue("vault.example", key=WEAK_KEY), CA.certificate),
    "a certificate for another host": by(CA.issue("evil.example", key=KEY), CA.certificate),
    "a certificate for a host below": by(CA.issue("a.vault.example", key=KEY), CA.certificate),
    "an expired certificate": by(
        CA.issue("vault.example", key=KEY, valid=(NOW - timedelta(9), NOW - timedelta(1))),
        CA.certificate,
    ),
    "a certificate of tomorrow": by(
        CA.issue("vault.example", key=KEY, valid=(NOW + timedelta(1), NOW + timedelta(9))),
        CA.certificate,
    ),
    "a bit of the signature": part(2, lambda text: ("A" if text[0] != "A" else "B") + text[1:]),
    "no signature": part(2, lambda text: ""),
    "a signature that is too long": part(2, lambda text: text + "AAAA"),
    "another payload": part(1, lambda text: b64url(b'{"answer":43}')),
    "another header": part(0, lambda text: b64url(json_bytes({**HEADER, "kid": "x"}))),
    "a header that is no base64": part(0, lambda text: "!" + text[1:]),
    "a header beyond ASCII": part(0, lambda text: "ä" + text),
    "a payload beyond ASCII": part(1, lambda text: "ä" + text),
    "a header that is no JSON": part(0, lambda text: b64url(b"{")),
    "a header that is a list": part(0, lambda text: b64url(b"[]")),
    "a name twice in the header": part(
        0, lambda text: b64url(b'{"alg":"none",' + json_bytes(HEADER)[1:])
    ),
    "a payload that is no JSON": answer(b"42 "[:1] + b"x"),
    "a payload that is a list": answer(b"[]"),
    "a payload that is not UTF-8": answer(b'{"a":"\xff"}'),
    "a name twice in the payload": answer(b'{"a":1,"a":2}'),
    "a payload beyond any stack": answer(b'{"a":' + b"[" * 50_000),
}


@pytest.mark.parametrize("text", REFUSALS.values(), ids=REFUSALS)
def test_what_is_not_this_vaults_answer_is_refused(text):
    with pytest.raises(ReleaseError) as caught:
        opened(text)
    assert caught.value.exit_code == 7
    assert "seen" in caught.value.message
    assert len(str(caught.value)) < 1500
    assert caught.value.message.isprintable()


def test_only_the_given_roots_count():
    foreign = by(TWIN, FOREIGN_CA.certificate)
    assert opened(foreign, roots=[FOREIGN_CA.certificate]) == {"answer": 42}
    with pytest.raises(ReleaseError):
        opened(foreign, roots=[CA.certificate])
    with pytest.raises(ValueError, match="empty"):  # nobody can mean that
        opened(foreign, roots=[])


def test_the_time_is_the_callers():
    assert opened(answer(), now=NOW + timedelta(days=3000))
    for now in (NOW - timedelta(days=1000), NOW + timedelta(days=4000)):
        with pytest.raises(ReleaseError):
            opened(answer(), now=now)


@given(st.text(max_size=60), st.text(alphabet="eyJ.-_A=", max_size=60))
def test_any_text_is_an_answer_or_refused(text, likely):
    for tried in (text, likely, f"{answer().split('.')[0]}.{likely}"):
        with suppress(ReleaseError):
            opened(tried)


def test_a_curve_could_sign_and_is_still_refused():
    """ES256 under a certificate of ours: genuine, and not what a vault says."""
    assert isinstance(CURVE.key, ec.EllipticCurvePrivateKey)
    head = b64url(json_bytes({"alg": "ES256", "x5c": x5c(CURVE.certificate, CA.certificate)}))
    text = f"{head}.{b64url(PAYLOAD)}"
    signature = CURVE.key.sign(text.encode(), ec.ECDSA(hashes.SHA256()))
    with pytest.raises(ReleaseError, match="RS256"):
        opened(f"{text}.{b64url(signature)}")


def test_words_of_a_stranger_are_cut_short():
    with pytest.raises(ReleaseError) as caught:
        opened(answer(alg="x" * 10_000))
    assert len(str(caught.value)) < 300
    assert json.loads(PAYLOAD) == opened(answer())
