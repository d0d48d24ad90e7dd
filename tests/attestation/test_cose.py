"""COSE_Sign1: one reading of every message, and a signature that covers what it has to."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st

from sealserve.attestation import cose
from sealserve.attestation.cose import ES256, ES384, ES512, PS256, PS384, PS512, Sign1
from support.attestation_refusals import code_of, mutations, refused
from support.attestation_uvm import good, signature_of
from support.attestation_vectors import vectors
from support.attestation_x509 import ec_key, rsa_key

PROTECTED = cbor2.dumps({1: -38})
PAYLOAD = b"payload"
ALGORITHMS = {
    PS256: rsa_key("signer"), PS384: rsa_key("signer"), PS512: rsa_key("signer"),
    ES256: ec_key("p256"), ES384: ec_key("p384", ec.SECP384R1), ES512: ec_key("p521", ec.SECP521R1),
}  # fmt: skip
REAL = [row.read("uvm.cose") for row in vectors("uvm", "uvm.cose")]


def message(*parts: Any, tag: int = 18) -> bytes:
    """A message of these parts: protected header, unprotected header, payload, signature."""
    return cbor2.dumps(cbor2.CBORTag(tag, list(parts)))


def around(protected: bytes = PROTECTED, unprotected: object = None) -> bytes:
    return message(protected, {} if unprotected is None else unprotected, PAYLOAD, b"s")


def signed(algorithm: cose.Algorithm, key: Any) -> Sign1:
    protected = cbor2.dumps({1: algorithm.number})
    to_be_signed = cbor2.dumps(["Signature1", protected, b"", PAYLOAD])
    signature = signature_of(key, algorithm.number, to_be_signed)
    return Sign1.parse(message(protected, {}, PAYLOAD, signature))


def test_what_a_message_says() -> None:
    read = Sign1.parse(message(PROTECTED, {4: b"id", "text": [1, None, True]}, PAYLOAD, b"s"))
    assert read.protected == {1: -38}
    assert read.unprotected == {4: b"id", "text": [1, None, True]}
    assert (read.signed_header, read.payload, read.signature) == (PROTECTED, PAYLOAD, b"s")


def test_a_time_keeps_its_tag() -> None:
    read = Sign1.parse(around(cbor2.dumps({1: -38, "at": cbor2.CBORTag(1, 1700000000)})))
    assert read.protected["at"] == cbor2.CBORTag(1, 1700000000)


PADDED = {
    "a map of unknown length": "bf0126ff",
    "an integer in two bytes": "a1180126",
    "a length in two bytes": "b8010126",
    "a text of unknown length": "a1017f6161ff",
    "bytes of unknown length": "a1015f4161ff",
    "an array of unknown length": "a1019f01ff",
    "a label twice": "a201260126",
    "a byte more": "a1012600",
    "cut off": "a101",
    "nothing": "",
    "no map": "820126",
    "true for a label": "a1f526",
    "floating point for a label": "a1fb3ff000000000000026",
    "bytes for a label": "a1414126",
    "floating point": "a101fbc043000000000000",
    "half a floating point": "a101f9d0c0",
    "an undefined value": "a101f7",
    "a simple value": "a101f0",
    "a text that is no UTF-8": "a10161ff",
    "a time in floating point": "a101c1fb41d954fc40000000",
    "a time in a tagged text": "a101c16131",
    "a text as an array's label": "a1810126",
}


@pytest.mark.parametrize("name", PADDED)
def test_a_header_has_one_spelling(name: str) -> None:
    with refused("cose_malformed"):
        Sign1.parse(around(bytes.fromhex(PADDED[name])))


def test_the_same_header_in_its_one_spelling() -> None:
    Sign1.parse(around(bytes.fromhex("a10126")))


# All that the library decodes by itself, from dates over big numbers to regular expressions.
TAGS = [0, 2, 3, 4, 5, 18, 24, 25, 28, 29, 30, 35, 36, 37, 43, 52, 54, 100, 256, 258, 260, 261]
TAGS += [1004, 43000, 55799, 2**63]


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize(
    "value", [0, b"\1", "1", [1, 2], {}, "2026-01-01", [10, 2**40], [["a"], 1]]
)
def test_no_tag_but_a_time(tag: int, value: object) -> None:
    tagged = cbor2.CBORTag(tag, value)
    with refused("cose_malformed"):
        Sign1.parse(around(cbor2.dumps({1: -38, 2**20: tagged})))
    with refused("cose_malformed"):
        Sign1.parse(around(unprotected={7: [tagged]}))


SHAPES = {
    "no tag": cbor2.dumps([PROTECTED, {}, PAYLOAD, b"s"]),
    "the tag of COSE_Sign": message(PROTECTED, {}, PAYLOAD, b"s", tag=98),
    "the tag in two bytes": b"\xd8\x12" + around()[1:],
    "tagged twice": b"\xd2" + around(),
    "three parts": message(PROTECTED, {}, PAYLOAD),
    "five parts": message(PROTECTED, {}, PAYLOAD, b"s", b"s"),
    "a payload that is elsewhere": message(PROTECTED, {}, None, b"s"),
    "a payload of text": message(PROTECTED, {}, "payload", b"s"),
    "a protected header that is a map": message({1: -38}, {}, PAYLOAD, b"s"),
    "an empty protected header": message(b"", {}, PAYLOAD, b"s"),
    "an unprotected header that is bytes": message(PROTECTED, b"\xa0", PAYLOAD, b"s"),
    "no signature": message(PROTECTED, {}, PAYLOAD, b""),
    "a signature of 1025 bytes": message(PROTECTED, {}, PAYLOAD, bytes(1025)),
    "a label in both headers": around(unprotected={1: -38}),
    "critical labels": around(cbor2.dumps({1: -38, 2: [4], 4: b"id"})),
    "critical labels that are not signed": around(unprotected={2: [4]}),
    "a byte more": around() + b"\0",
    "an array": cbor2.dumps([around()]),
    "nothing": b"",
    "nested nine deep": around(unprotected={7: [[[[[[[[]]]]]]]]}),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_message_has_one_shape(name: str) -> None:
    with refused("cose_malformed"):
        Sign1.parse(SHAPES[name])


def test_a_message_of_the_largest_size() -> None:
    room = cose.MAX_MESSAGE_BYTES - len(message(PROTECTED, {}, bytes(1000), b"s")) + 1000
    largest = message(PROTECTED, {}, bytes(room), b"s")
    assert len(largest) == cose.MAX_MESSAGE_BYTES
    Sign1.parse(largest)
    with refused("cose_malformed") as refusal:
        Sign1.parse(message(PROTECTED, {}, bytes(room + 1), b"s"))
    assert "32769 bytes" in str(refusal.value)


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda algorithm: algorithm.name)
def test_signatures_of_every_algorithm(algorithm: cose.Algorithm) -> None:
    key = ALGORITHMS[algorithm]
    read = signed(algorithm, key)
    read.verify(key.public_key(), [algorithm])
    others = [other for other in ALGORITHMS if other is not algorithm]
    with refused("cose_algorithm"):
        read.verify(key.public_key(), others)


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda algorithm: algorithm.name)
def test_keys_of_every_other_kind(algorithm: cose.Algorithm) -> None:
    read = signed(algorithm, ALGORITHMS[algorithm])
    for other, key in ALGORITHMS.items():
        if (other.curve is None) != (algorithm.curve is None) or other.curve is not algorithm.curve:
            with refused("cose_algorithm"):
                read.verify(key.public_key(), [algorithm])


@pytest.mark.parametrize("value", [None, True, "PS384", -38.0, [-38], b"PS384", 2**70])
def test_an_algorithm_that_is_no_number_of_ours(value: object) -> None:
    header = {4: b"id"} if value is None else {1: value}
    with refused("cose_malformed" if type(value) is float or value == 2**70 else "cose_algorithm"):
        Sign1.parse(around(cbor2.dumps(header))).algorithm([PS384])


def test_an_rsa_key_that_is_too_short() -> None:
    with refused("cose_algorithm"):
        signed(PS384, rsa_key("short", 1024)).verify(rsa_key("short", 1024).public_key(), [PS384])


def test_a_key_for_no_such_signature() -> None:
    with refused("cose_algorithm"):
        key = ed25519.Ed25519PrivateKey.generate().public_key()
        signed(PS384, rsa_key("signer")).verify(key, [PS384])


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda algorithm: algorithm.name)
def test_every_byte_of_what_is_signed_counts(algorithm: cose.Algorithm) -> None:
    key = ALGORITHMS[algorithm]
    read = signed(algorithm, key)
    parts = (read.signed_header, read.payload, read.signature)
    for index, part in enumerate(parts):
        for offset in range(len(part)):
            changed = bytearray(part)
            changed[offset] ^= 1 << offset % 8
            header, payload, signature = (*parts[:index], bytes(changed), *parts[index + 1 :])

            def check(data: bytes = message(header, {}, payload, signature)) -> None:
                Sign1.parse(data).verify(key.public_key(), [algorithm])

            assert code_of(check) in (
                {"cose_malformed", "cose_algorithm"} if index == 0 else {"cose_signature"}
            )


def test_another_key_of_the_same_kind() -> None:
    with refused("cose_signature"):
        signed(PS384, rsa_key("signer")).verify(rsa_key("other").public_key(), [PS384])
    with refused("cose_signature"):
        signed(ES256, ec_key("p256")).verify(ec_key("other").public_key(), [ES256])


@pytest.mark.parametrize("size", [0, 1, 63, 65, 72])
def test_numbers_of_another_length(size: int) -> None:
    """DER, or numbers without their zeros, are other spellings of one signature."""
    read = signed(ES256, ec_key("p256"))
    other = (read.signature + bytes(8))[:size]
    with refused("cose_malformed" if not size else "cose_signature"):
        data = message(read.signed_header, {}, read.payload, other)
        Sign1.parse(data).verify(ec_key("p256").public_key(), [ES256])


def test_what_is_not_signed_may_change() -> None:
    key = rsa_key("signer")
    read = signed(PS384, key)
    other = message(read.signed_header, {"timestamp": b"another"}, read.payload, read.signature)
    Sign1.parse(other).verify(key.public_key(), [PS384])


# ---- bytes nobody planned


@given(st.sampled_from([*REAL, around(), good().form_b()]).flatmap(mutations))
def test_changed_messages(data: bytes) -> None:
    assert code_of(lambda: Sign1.parse(data)) in ("", "cose_malformed")


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    assert code_of(lambda: Sign1.parse(b"\xd2" + data)) in ("", "cose_malformed")
    assert code_of(lambda: cose.loads(data)) in ("", "cose_malformed")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.integers(0, 2**32) | st.text(), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_what_is_written_is_read(value: object) -> None:
    def read() -> None:
        assert cose.loads(cbor2.dumps(value)) == value

    assert code_of(read) in ("", "cose_malformed")  # deeper than we go
    if not isinstance(value, list | dict):
        read()
