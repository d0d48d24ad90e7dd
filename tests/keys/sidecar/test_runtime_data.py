"""No reader, however lenient, finds a member of ours in what a caller has attested."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealserve.attestation import ChallengeClaims, ReleaseClaims, TlsClaims
from sealserve.attestation.binding import MAX_CLAIMS_BYTES
from sealserve.keys.refused import Refused
from sealserve.keys.sidecar import runtime_data
from sealserve.keys.sidecar.runtime_data import check
from support.keys_vault import rsa_key

DIGEST = bytes(32)
OURS = {
    "tls": TlsClaims(DIGEST).encode(),
    "challenge": ChallengeClaims(DIGEST, DIGEST, (DIGEST,), (DIGEST,), DIGEST).encode(),
    "release": ReleaseClaims.of(rsa_key(3072, 3).public_key()).encode(),
}
READ_AS_KEYS = {
    "plainly": b'{"keys":[]}',
    "in capitals": b'{"KEYS":[]}',
    "with one capital": b'{"a":1,"keyS":[]}',
    "in letters Go takes for the same": '{"\u212aey\u017f":[]}'.encode(),
    "in wide letters": '{"\uff4b\uff45\uff59\uff53":[]}'.encode(),
    "with an accent": '{"k\u00e9ys":[]}'.encode(),
    "with what nobody sees": '{"ke\u200bys":[]}'.encode(),
    "with spaces": b'{" keys ":[]}',
    "with an escape": b'{"\\u006beys":[]}',
    "with two backslashes": b'{"\\\\u006beys":[]}',
    "up to a zero": b'{"keys\\u0000 and more":[]}',
    "behind a zero": b'{"\\u0000keys":[]}',
    "below another member": b'{"a":[{"b":{"keys":[]}}]}',
    "twice": b'{"keys":1,"keys":[]}',
    "beside a member that is there twice": b'{"a":1,"a":2,"keys":[]}',
    "in a string": b'{"a":"{\\"keys\\":[]}"}',
    "in a string in a string": json.dumps({"a": json.dumps({"b": '{"keys":1}'})}).encode(),
    "in a string that is all": b'"{\\"keys\\":[]}"',
    "in a string that is not quite JSON": b'{"a":"{keys: []}"}',
    "in a string with escapes": b'{"a":"{\\"\\\\u006beys\\":[]}"}',
    "with single quotes": b"{'keys':[]}",
    "without quotes": b"{keys:[]}",
    "with JavaScript's escape": b"{'\\x6beys':[]}",
    "with C's escape": b"{'\\153eys':[]}",
    "with an escape in braces": b"{'\\u{6b}eys':[]}",
    "with backslashes that mean nothing": b'{"\\k\\e\\y\\s":[]}',
    "over two lines": b'{"ke\\\nys":[]}',
    "with a comma too many": b'{"keys":[],}',
    "with something behind": b'{"keys":[]} and more',
    "with a comment": b'{"keys" /* : */ :[]}',
    "behind a comment": b'{// none\n"keys":[]}',
    "behind a mark of order": b'\xef\xbb\xbf{"keys":[]}',
    "in UTF-16": '{"keys":[]}'.encode("utf-16"),
    "in UTF-16 without a mark": '{"keys":[]}'.encode("utf-16-be"),
    "in UTF-16 with an escape": '{"\\u006beys":[]}'.encode("utf-16-le"),
    "in UTF-32": '{"\u212aeys":[]}'.encode("utf-32"),
    "in UTF-32 and bold": '{"\U0001d424eys":[]}'.encode("utf-32"),
    "without quotes, with what nobody sees": "{ke\u200bys:[]}".encode(),
    "behind a zero that ends a text": b"a=1\0keys=2",
    "with an escape of eight digits": b"{'\\U0000006beys':[]}",
    "among bytes that are no text": b'{"\xff":1,"ke\xffys":2}',
    "as YAML": b"keys:\n- kty: RSA\n",
    "as a form": b"a=1&keys=2",
    "with a number no JSON has": b'{"a":NaN,"keys":[]}',
    "deeper than we parse": b'{"a":' * 40 + b'{"keys":[]}' + b"}" * 40,
}


def refusal(data: bytes) -> Refused | None:
    try:
        check(data)
    except Refused as refused:
        return refused
    return None


@pytest.mark.parametrize("claims", OURS.values(), ids=OURS)
def test_claims_of_ours_are_not_a_callers(claims: bytes) -> None:
    found = refusal(claims)
    assert found is not None
    assert found.status == 403


@pytest.mark.parametrize("data", READ_AS_KEYS.values(), ids=READ_AS_KEYS)
def test_every_spelling(data: bytes) -> None:
    found = refusal(data)
    assert found is not None
    assert found.status == 403
    assert "member 'keys'" in found.message


ALLOWED = {
    "an object": b'{"nonce":"abc","app":{"id":[1,2.5,null,true]}}',
    "an empty object": b"{}",
    "a key": b'{"key":{"kty":"RSA"}}',
    "names that hold the word": b'{"monkeys":1,"keysmith":2,"my_keys":3}',
    "a value that is the word": b'{"purpose":"keys","by":"sealserve"}',
    "words about it": b'{"note":"rotate the keys"}',
    "a member twice": b'{"a":1,"a":2}',
    "text": "some words about keys, schl\u00fcssel".encode(),
    "text with words that hold it": b"monkeys: 3, keystone=x",
    "PEM": b"-----BEGIN PUBLIC KEY-----\nMIIBkeysMIIB==\n-----END PUBLIC KEY-----\n",
    "a digest": bytes(range(32)),
    "bytes": bytes(range(256)) * 4,
    "nothing": b"",
}


@pytest.mark.parametrize("data", ALLOWED.values(), ids=ALLOWED)
def test_everything_else_is_the_callers_own(data: bytes) -> None:
    assert refusal(data) is None


def test_more_than_a_verifier_takes() -> None:
    assert refusal(bytes(MAX_CLAIMS_BYTES)) is None
    found = refusal(bytes(MAX_CLAIMS_BYTES + 1))
    assert found is not None
    assert (found.status, str(MAX_CLAIMS_BYTES) in found.message) == (400, True)


def test_escapes_without_end() -> None:
    found = refusal(b"\\u005c" + b"u005c" * 100 + b"u006b")
    assert found is not None
    assert str(runtime_data.MAX_ROUNDS) in found.message


def test_random_bytes_are_seldom_refused() -> None:
    assert sum(refusal(os.urandom(2000)) is not None for _ in range(50)) == 0


# ---- against readers

Spell = Callable[[str], str]
ESCAPED: Sequence[Spell] = (
    str.upper,
    str.title,
    lambda word: "".join(f"\\u{ord(c):04x}" for c in word),
    lambda word: f"\\u{ord(word[0]):04X}{word[1:]}",
    lambda word: word.replace("k", "\u212a").replace("s", "\u017f"),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


def names_in(value: object) -> set[str]:
    """Member names at any depth, as Go would compare them."""
    if isinstance(value, dict):
        inner = {name for each in value.values() for name in names_in(each)}
        return inner | {name.casefold() for name in value}
    if isinstance(value, list):
        return {name for each in value for name in names_in(each)}
    return set()


@given(
    st.sampled_from(["keys", "sealserve"]),
    st.sampled_from(ESCAPED),
    VALUES,
    VALUES,
    st.sampled_from(["utf-8", "utf-16", "utf-16-le", "utf-32", "utf-8-sig"]),
    st.integers(0, 3),
)
def test_python_finds_nothing_where_nothing_was_found(
    name: str, spell: Spell, before: object, value: object, encoding: str, strings: int
) -> None:
    text = f'{{"a":{json.dumps(before)},"{spell(name)}":{json.dumps(value)}}}'
    for _ in range(strings):
        text = json.dumps({"inner": text})
    assert refusal(text.encode(encoding)) is not None


@given(VALUES, st.sampled_from(["utf-8", "utf-16", "utf-32"]))
def test_what_is_attested_has_no_such_member_for_python(value: object, encoding: str) -> None:
    data = json.dumps(value).encode(encoding)
    if refusal(data) is None:
        assert not names_in(json.loads(data)) & {"keys", "sealserve"}


@given(st.binary(max_size=300))
def test_any_bytes_are_taken_or_refused(data: bytes) -> None:
    refusal(data)
