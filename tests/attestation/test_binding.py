"""Runtime claims: three closed shapes, one spelling each, and no report passes for another."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import RSAKey

from sealserve.attestation import ChallengeClaims, ReleaseClaims, TlsClaims, report_data
from sealserve.attestation.binding import MAX_CLAIMS_BYTES, MAX_NONCES, MAX_ROOTS, b64url
from support.attestation_refusals import code_of, mutations, refused

Shape = type[TlsClaims] | type[ChallengeClaims] | type[ReleaseClaims]


def digest(number: int) -> bytes:
    return bytes([number]) * 32


KEY = rsa.generate_private_key(65537, 3072)
TLS = TlsClaims(digest(1))
CHALLENGE = ChallengeClaims(
    config=digest(2),
    next=digest(3),
    nonces=(digest(4), digest(5)),
    roots=(digest(6), digest(7)),
    spki=digest(8),
)
RELEASE = ReleaseClaims.of(KEY.public_key())
CLAIMS: dict[str, tuple[Shape, bytes]] = {
    "tls": (TlsClaims, TLS.encode()),
    "challenge": (ChallengeClaims, CHALLENGE.encode()),
    "release": (ReleaseClaims, RELEASE.encode()),
}
OF_EACH = pytest.mark.parametrize("purpose", CLAIMS)


def members(purpose: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(CLAIMS[purpose][1])
    return value


def text(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


# ---- what is written


WRITTEN = {
    "tls": '{"sealserve":{"purpose":"tls","version":1},"spki":"AQEB…"}',
    "challenge": '{"config":"AgIC…","next":"AwMD…","nonces":["BAQE…","BQUF…"],'
    '"roots":["BgYG…","BwcH…"],"sealserve":{"purpose":"challenge","version":1},"spki":"CAgI…"}',
    "release": '{"keys":[{"e":"AQAB","key_ops":["encrypt"],"kid":"KID","kty":"RSA","n":"N",'
    '"use":"enc"}],"sealserve":{"purpose":"release","version":1}}',
}


@OF_EACH
def test_the_text_is_this_text(purpose: str) -> None:
    """To the byte: a report speaks for a hash, so no release of ours may ever change it."""
    expected = WRITTEN[purpose]
    for number in range(1, 9):
        whole = b64url(digest(number))
        expected = expected.replace(f"{whole[:4]}…", whole)
    expected = expected.replace("KID", RELEASE.key_id).replace('"N"', json.dumps(RELEASE.jwk["n"]))
    assert CLAIMS[purpose][1].decode() == expected


@OF_EACH
def test_what_is_written_is_read_back(purpose: str) -> None:
    shape, claims = CLAIMS[purpose]
    assert shape.parse(claims).encode() == claims
    assert shape.parse(claims) in (TLS, CHALLENGE, RELEASE)


@OF_EACH
def test_a_second_opinion_on_canonical_json(purpose: str) -> None:
    claims = CLAIMS[purpose][1]
    ran = subprocess.run(["jq", "-cjS", "."], input=claims, capture_output=True, check=True)
    assert ran.stdout == claims


def test_report_data_is_the_digest_and_32_zero_bytes() -> None:
    claims = TLS.encode()
    assert report_data(claims) == hashlib.sha256(claims).digest() + bytes(32)


def test_the_most_there_can_be_fits() -> None:
    def many(count: int) -> tuple[bytes, ...]:
        return tuple(number.to_bytes(32, "big") for number in range(count))

    full = ChallengeClaims(digest(1), digest(2), many(MAX_NONCES), many(MAX_ROOTS), digest(3))
    assert len(full.encode()) <= MAX_CLAIMS_BYTES
    assert ChallengeClaims.parse(full.encode()) == full


def test_a_server_may_hold_no_model() -> None:
    empty = ChallengeClaims(digest(1), digest(2), (digest(3),), (), digest(4))
    assert ChallengeClaims.parse(empty.encode()) == empty


# ---- what is refused


@pytest.mark.parametrize(("purpose", "other"), [*permutations(CLAIMS, 2)])
def test_claims_of_one_purpose_never_pass_for_another(purpose: str, other: str) -> None:
    with refused("claims_purpose") as refusal:
        CLAIMS[purpose][0].parse(CLAIMS[other][1])
    assert refusal.value.seen == f"'{other}'"
    assert refusal.value.wanted == f"{purpose}, version 1"


PURPOSES: dict[str, object] = {
    "of another version": {"purpose": "tls", "version": 2},
    "of version 0": {"purpose": "tls", "version": 0},
    "of a version that is text": {"purpose": "tls", "version": "1"},
    "without a version": {"purpose": "tls"},
    "without a purpose": {"version": 1},
    "in capitals": {"purpose": "TLS", "version": 1},
    "with something more": {"purpose": "tls", "version": 1, "x": 1},
    "as a list": ["tls", 1],
    "as text": "tls",
    "as nothing": None,
    "as a list of purposes": {"purpose": ["tls"], "version": 1},
}


@pytest.mark.parametrize("form", PURPOSES)
def test_a_purpose_in_another_form(form: str) -> None:
    with refused("claims_purpose"):
        TlsClaims.parse(text({**members("tls"), "sealserve": PURPOSES[form]}))


def test_claims_without_a_purpose() -> None:
    with refused("claims_purpose"):
        TlsClaims.parse(text({"spki": b64url(digest(1))}))


def test_a_version_that_only_equals_one_is_another_spelling() -> None:
    with refused("claims_canonical"):
        TlsClaims.parse(TLS.encode().replace(b'"version":1', b'"version":true'))


@OF_EACH
def test_a_member_more_or_less(purpose: str) -> None:
    shape, _ = CLAIMS[purpose]
    good = members(purpose)
    with refused("claims_malformed") as refusal:
        shape.parse(text({**good, "x": 1}))
    assert "x" in refusal.value.seen
    for missing in good.keys() - {"sealserve"}:
        with refused("claims_malformed"):
            shape.parse(text({name: value for name, value in good.items() if name != missing}))


DIGESTS: dict[str, object] = {
    "too short": b64url(bytes(31)),
    "too long": b64url(bytes(33)),
    "empty": "",
    "padded": b64url(digest(1)) + "=",
    "in another alphabet": b64url(bytes([0xFB]) * 32).replace("-", "+"),
    "in hexadecimal": digest(1).hex(),
    "with bits left over": b64url(bytes(32))[:-1] + "B",
    "of an impossible length": b64url(bytes(33)) + "A",
    "with a line end": b64url(digest(1)) + "\n",
    "with a space inside": b64url(digest(1))[:20] + " " + b64url(digest(1))[20:],
    "beyond ASCII": "é" + b64url(digest(1))[1:],
    "a number": 1,
    "a list": [b64url(digest(1))],
    "nothing": None,
    "true": True,
}
PLACES = [("tls", "spki"), ("challenge", "config"), ("challenge", "next"), ("challenge", "spki")]


@pytest.mark.parametrize("form", DIGESTS)
@pytest.mark.parametrize(("purpose", "place"), PLACES)
def test_a_digest_in_another_form(purpose: str, place: str, form: str) -> None:
    with refused("claims_malformed"):
        CLAIMS[purpose][0].parse(text({**members(purpose), place: DIGESTS[form]}))


@pytest.mark.parametrize("form", DIGESTS)
@pytest.mark.parametrize("place", ["nonces", "roots"])
def test_a_digest_of_a_list_in_another_form(place: str, form: str) -> None:
    with refused("claims_malformed"):
        ChallengeClaims.parse(text({**members("challenge"), place: [DIGESTS[form]]}))


def encoded(*numbers: int) -> list[str]:
    return [b64url(number.to_bytes(32, "big")) for number in numbers]


LISTS: dict[str, tuple[str, object]] = {
    "no nonces": ("nonces", []),
    "257 nonces": ("nonces", encoded(*range(MAX_NONCES + 1))),
    "33 roots": ("roots", encoded(*range(MAX_ROOTS + 1))),
    "nonces out of order": ("nonces", encoded(2, 1)),
    "roots out of order": ("roots", encoded(2, 1)),
    "a nonce twice": ("nonces", encoded(1, 1)),
    "a root twice": ("roots", encoded(1, 1)),
    "nonces as text": ("nonces", encoded(1)[0]),
    "roots as an object": ("roots", {}),
    "nonces as nothing": ("nonces", None),
    "nonces in a list": ("nonces", [encoded(1)]),
}


@pytest.mark.parametrize("form", LISTS)
def test_a_list_in_another_form(form: str) -> None:
    place, value = LISTS[form]
    with refused("claims_malformed"):
        ChallengeClaims.parse(text({**members("challenge"), place: value}))


def test_order_is_that_of_the_bytes_not_of_their_base64() -> None:
    """`-` sorts before letters in ASCII, and stands for almost the highest bits in base64url."""
    low, high = bytes([0x60]) + bytes(31), bytes([0xF8]) + bytes(31)
    assert b64url(low)[0] == "Y"
    assert b64url(high)[0] == "-"  # before any letter
    pair = ChallengeClaims(digest(1), digest(2), (low, high), (low, high), digest(3))
    assert ChallengeClaims.parse(pair.encode()) == pair


# ---- the key of a release


def modulus(value: int, size: int = 384) -> str:
    return b64url(value.to_bytes(size, "big"))


N = KEY.public_key().public_numbers().n
KEYS: dict[str, dict[str, object]] = {
    "no kid": {"kid": None},
    "an empty kid": {"kid": ""},
    "a kid of 129 characters": {"kid": "k" * 129},
    "a kid with a slash": {"kid": "a/b"},
    "a kid beyond ASCII": {"kid": "ké"},
    "a kid with a line end": {"kid": "k\n"},
    "a kid that is a number": {"kid": 7},
    "no n": {"n": None},
    "an n that is a number": {"n": N},
    "an n of 2048 bits": {"n": modulus(N >> 1024 | 1 << 2047 | 1, 256)},
    "an n of 4096 bits": {"n": modulus(N << 1024 | 1, 512)},
    "an n of 3071 bits": {"n": modulus(N & (1 << 3071) - 1)},
    "an even n": {"n": modulus(N - 1)},
    "an n with a zero in front": {"n": modulus(N, 385)},
    "a padded n": {"n": modulus(N) + "="},
    "an n in another alphabet": {"n": "+" + modulus(N)[1:]},
    "another e": {"e": "Aw"},
    "an e with a zero in front": {"e": "AAEAAQ"},
    "no e": {"e": None},
    "another kind": {"kty": "EC"},
    "for signing": {"use": "sig"},
    "for decrypting": {"key_ops": ["decrypt"]},
    "for wrapping too": {"key_ops": ["encrypt", "wrapKey"]},
    "for nothing": {"key_ops": []},
    "operations as text": {"key_ops": "encrypt"},
    "with its algorithm": {"alg": "RSA-OAEP-256"},
    "with its secret": {"d": "AQAB"},
}


def release(jwk: object) -> bytes:
    return text({**members("release"), "keys": jwk})


@pytest.mark.parametrize("form", KEYS)
def test_a_key_in_another_form(form: str) -> None:
    jwk = {**RELEASE.jwk, **KEYS[form]}
    with refused("claims_malformed"):
        ReleaseClaims.parse(release([{n: v for n, v in jwk.items() if v is not None}]))


@pytest.mark.parametrize("name", sorted(RELEASE.jwk))
def test_a_member_of_the_key_that_is_null(name: str) -> None:
    with refused("claims_malformed"):
        ReleaseClaims.parse(release([{**RELEASE.jwk, name: None}]))


NOT_ONE_KEY: dict[str, object] = {
    "none": [],
    "two": [dict(RELEASE.jwk)] * 2,
    "the key itself": dict(RELEASE.jwk),
    "a text": ["k"],
    "a list": [[]],
    "null": None,
    "a null": [None],
}


@pytest.mark.parametrize("keys", NOT_ONE_KEY.values(), ids=NOT_ONE_KEY)
def test_other_than_one_key(keys: object) -> None:
    with refused("claims_malformed"):
        ReleaseClaims.parse(release(keys))


@pytest.mark.parametrize("kid", ["k", "k" * 128, "-_" * 4])
def test_a_key_may_be_named_by_others(kid: str) -> None:
    assert ReleaseClaims.parse(release([{**RELEASE.jwk, "kid": kid}])).key_id == kid


@pytest.mark.parametrize(("bits", "e"), [(2048, 65537), (4096, 65537), (3072, 3)])
def test_claims_are_made_for_a_strong_key_only(bits: int, e: int) -> None:
    key = rsa.generate_private_key(e, bits).public_key()
    with pytest.raises(ValueError, match=rf"{bits} bits, e = {e}; wanted 3072, 65537"):
        ReleaseClaims.of(key)


def test_a_second_opinion_on_the_key() -> None:
    """joserfc reads our JWK as the same key and names it by the same thumbprint."""
    jwk: dict[str, Any] = dict(RELEASE.jwk)
    theirs = RSAKey.import_key(jwk)
    assert theirs.public_key.public_numbers() == KEY.public_key().public_numbers()
    bare = RSAKey.import_key({name: jwk[name] for name in ("e", "kty", "n")})
    assert bare.thumbprint() == RELEASE.key_id


def test_the_key_encrypts_for_whoever_made_it() -> None:
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    sealed = ReleaseClaims.parse(RELEASE.encode()).public_key().encrypt(b"key", oaep)
    assert KEY.decrypt(sealed, oaep) == b"key"


# ---- spelling


Respelled = dict[str, tuple[str, Callable[[bytes], bytes]]]
SPELLINGS: Respelled = {
    "a space": ("claims_canonical", lambda claims: claims.replace(b":", b": ", 1)),
    "a line end": ("claims_canonical", lambda claims: claims + b"\n"),
    "white space in front": ("claims_canonical", lambda claims: b" " + claims),
    "another order": (
        "claims_canonical",
        lambda claims: json.dumps(
            dict(reversed(json.loads(claims).items())), separators=(",", ":")
        ).encode(),
    ),
    "an escape": ("claims_canonical", lambda claims: claims.replace(b"purpose", b"purp\\u006fse")),
    "the number 1.0": ("claims_canonical", lambda claims: claims.replace(b":1}", b":1.0}")),
    "the number 1e0": ("claims_canonical", lambda claims: claims.replace(b":1}", b":1e0}")),
    "not a number": ("claims_malformed", lambda claims: claims.replace(b":1}", b":NaN}")),
    "minus infinity": ("claims_malformed", lambda claims: claims.replace(b":1}", b":-Infinity}")),
    "a name twice": (
        "claims_malformed",
        lambda claims: claims.replace(b'{"', b'{"sealserve":1,"', 1),
    ),
    "a name twice inside": (
        "claims_malformed",
        lambda claims: claims.replace(b'"version"', b'"version":1,"version"'),
    ),
    "a name twice, once escaped": (
        "claims_malformed",
        lambda claims: claims.replace(b'"version"', b'"versio\\u006e":1,"version"'),
    ),
    "a byte order mark": ("claims_malformed", lambda claims: b"\xef\xbb\xbf" + claims),
    "another encoding": ("claims_malformed", lambda claims: claims.decode().encode("utf-16")),
    "a byte that is no text": ("claims_malformed", lambda claims: claims[:-1] + b"\xff}"),
    "something after": ("claims_malformed", lambda claims: claims + claims),
    "a comma at the end": ("claims_malformed", lambda claims: claims[:-1] + b",}"),
    "cut off": ("claims_malformed", lambda claims: claims[:-1]),
    "nothing": ("claims_malformed", lambda claims: b""),
    "a list": ("claims_malformed", lambda claims: b"[" + claims + b"]"),
    "text": ("claims_malformed", lambda claims: b'"tls"'),
    "null": ("claims_malformed", lambda claims: b"null"),
    "deeper than any stack": ("claims_malformed", lambda claims: b"[" * MAX_CLAIMS_BYTES),
    "a number of 5000 digits": (
        "claims_malformed",
        lambda claims: claims.replace(b":1}", b":" + b"1" * 5000 + b"}"),
    ),
    "too long": ("claims_size", lambda claims: claims.ljust(MAX_CLAIMS_BYTES + 1)),
    "just not too long": ("claims_canonical", lambda claims: claims.ljust(MAX_CLAIMS_BYTES)),
    "half a character": (
        "claims_malformed",
        lambda claims: claims.replace(b'{"', b'{"\\ud800":1,"', 1),
    ),
}


@OF_EACH
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_another_spelling(purpose: str, spelling: str) -> None:
    shape, claims = CLAIMS[purpose]
    code, respell = SPELLINGS[spelling]
    with refused(code) as refusal:
        shape.parse(respell(claims))
    assert len(str(refusal.value)) < 500
    str(refusal.value).encode()  # printable, whatever stood in the claims


# ---- making them


MISUSE: dict[str, Callable[[], object]] = {
    "a short spki": lambda: TlsClaims(bytes(31)),
    "a long config": lambda: ChallengeClaims(bytes(33), digest(1), (digest(2),), (), digest(3)),
    "a short next": lambda: ChallengeClaims(digest(1), b"", (digest(2),), (), digest(3)),
    "no nonces": lambda: ChallengeClaims(digest(1), digest(2), (), (), digest(3)),
    "nonces out of order": lambda: ChallengeClaims(
        digest(1), digest(2), (digest(4), digest(3)), (), digest(3)
    ),
    "a root twice": lambda: ChallengeClaims(
        digest(1), digest(2), (digest(4),), (digest(5),) * 2, digest(3)
    ),
    "a short nonce": lambda: ChallengeClaims(digest(1), digest(2), (b"n",), (), digest(3)),
    "a key of another shape": lambda: ReleaseClaims({**RELEASE.jwk, "use": "sig"}),
}


@pytest.mark.parametrize("name", MISUSE)
def test_claims_that_could_not_be_read_are_not_made(name: str) -> None:
    with pytest.raises(ValueError, match=r"bytes; wanted|nonces|roots|members of the key"):
        MISUSE[name]()


# ---- any bytes


CODES = {"", "claims_size", "claims_malformed", "claims_purpose", "claims_canonical"}
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["sealserve", "spki", "keys", "n", "x"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@OF_EACH
@given(data=st.one_of(st.binary(max_size=60), JSON_VALUES.map(lambda v: json.dumps(v).encode())))
def test_any_bytes_are_claims_or_refused(purpose: str, data: bytes) -> None:
    assert code_of(lambda: CLAIMS[purpose][0].parse(data)) in CODES - {""}


@OF_EACH
@given(data=st.data())
def test_changed_claims_are_refused_or_mean_what_they_say(
    purpose: str, data: st.DataObject
) -> None:
    shape, claims = CLAIMS[purpose]
    changed = data.draw(mutations(claims))
    if code_of(lambda: shape.parse(changed)) == "":
        assert shape.parse(changed).encode() == changed
    else:
        assert code_of(lambda: shape.parse(changed)) in CODES


@OF_EACH
@given(data=st.data())
def test_any_value_of_a_member_is_read_or_refused(purpose: str, data: st.DataObject) -> None:
    shape, good = CLAIMS[purpose][0], members(purpose)
    good[data.draw(st.sampled_from(sorted(good)))] = data.draw(JSON_VALUES)
    assert code_of(lambda: shape.parse(text(good))) in CODES
