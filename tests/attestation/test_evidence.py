"""The envelope: one encoding, closed in its labels and types, and limits before memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealserve.attestation import Evidence, decode, encode
from sealserve.attestation.evidence import (
    COLLECTION_TYPE,
    MAX_EVIDENCE_BYTES,
    MAX_MEMBER_BYTES,
)
from sealserve.attestation.simulated import SimulatedRoot
from support.attestation_refusals import code_of, mutations, refused
from support.attestation_simulated import evidence_of

SMALL = Evidence(b"report", b"leaf", b"intermediate", b"{}")
FULL = replace(SMALL, root=b"root", crl=b"crl", uvm_endorsement=b"uvm")
GOOD = encode(FULL)
MEMBERS: dict[Any, Any] = cbor2.loads(GOOD)
TYPE = "__cmwc_t"
LABELS = sorted(MEMBERS.keys() - {TYPE})
REQUIRED = {"claims", "report", "leaf", "intermediate"}
RECORDS = {
    "claims": ("application/json", 4),
    "report": ("application/vnd.amd.sev-snp.attestation-report", 4),
    "leaf": ("application/pkix-cert", 2),
    "intermediate": ("application/pkix-cert", 2),
    "root": ("application/pkix-cert", 2),
    "crl": ("application/pkix-crl", 2),
    "uvm": ('application/cose; cose-type="cose-sign1"', 2),
}
OF_EACH = pytest.mark.parametrize("label", LABELS)


def written(members: object) -> bytes:
    """In deterministic order, so that only what was changed can be refused."""
    return cbor2.dumps(members, canonical=True)


def changed(**members: object) -> bytes:
    return written({**MEMBERS, **members})


# ---- what is written


def test_records_are_those_of_the_registries() -> None:
    assert MEMBERS[TYPE] == COLLECTION_TYPE == "tag:sealserve.internal,2026:evidence"
    for label, (media_type, indicator) in RECORDS.items():
        value = {"claims": b"{}"}.get(label, label.encode())
        assert MEMBERS[label] == [media_type, value, indicator]
    assert MEMBERS.keys() == RECORDS.keys() | {TYPE}


def test_the_bytes_are_these_bytes() -> None:
    """A certificate carries them: no release may write another encoding of the same evidence."""
    digest = "c1197d5acf8cf2bcaeee6914101d8cb2748235b000574855cc306c7fb8fd48d1"
    assert hashlib.sha256(GOOD).hexdigest() == digest


@pytest.mark.parametrize("evidence", [SMALL, FULL], ids=["small", "full"])
def test_what_is_written_is_read_back(evidence: Evidence) -> None:
    assert decode(encode(evidence)) == evidence


def test_evidence_of_a_machine_is_read_back(simulated_root: SimulatedRoot) -> None:
    evidence = evidence_of(simulated_root)
    assert decode(encode(evidence)) == evidence
    assert len(encode(evidence)) < MAX_EVIDENCE_BYTES // 4


@pytest.mark.parametrize("name", ["root", "crl", "uvm_endorsement"])
def test_a_member_may_be_absent(name: str) -> None:
    lacking = replace(FULL, **{name: None})  # type: ignore[arg-type]
    assert decode(encode(lacking)) == lacking
    assert encode(lacking) != GOOD


def test_every_member_travels() -> None:
    for field in fields(Evidence):
        assert getattr(decode(GOOD), field.name) == getattr(FULL, field.name)


# ---- members


@OF_EACH
def test_a_member_left_out(label: str) -> None:
    data = written({name: value for name, value in MEMBERS.items() if name != label})
    if label not in REQUIRED:
        assert code_of(lambda: decode(data)) == ""
        return
    with refused("evidence_malformed") as refusal:
        decode(data)
    assert f"no {label}" in str(refusal.value)


RECORD_CHANGES: dict[str, Callable[[str, bytes, int], object]] = {
    "another type": lambda media, value, indicator: [media + "x", value, indicator],
    "a type in capitals": lambda media, value, indicator: [media.upper(), value, indicator],
    "a type as a number": lambda media, value, indicator: [50, value, indicator],
    "a type as bytes": lambda media, value, indicator: [media.encode(), value, indicator],
    "no type": lambda media, value, indicator: [None, value, indicator],
    "the other indicator": lambda media, value, indicator: [media, value, 6 - indicator],
    "both indicators": lambda media, value, indicator: [media, value, 6],
    "no indicator": lambda media, value, indicator: [media, value],
    "an indicator as a float": lambda media, value, indicator: [media, value, float(indicator)],
    "an indicator as text": lambda media, value, indicator: [media, value, str(indicator)],
    "something more": lambda media, value, indicator: [media, value, indicator, 0],
    "empty bytes": lambda media, value, indicator: [media, b"", indicator],
    "text for bytes": lambda media, value, indicator: [media, "value", indicator],
    "a list for bytes": lambda media, value, indicator: [media, list(value), indicator],
    "nothing for bytes": lambda media, value, indicator: [media, None, indicator],
    "too many bytes": lambda media, value, indicator: [
        media, bytes(MAX_MEMBER_BYTES + 1), indicator,
    ],
    "an empty record": lambda *_: [],
    "bytes alone": lambda media, value, indicator: value,
    "text alone": lambda media, *_: media,
    "an object": lambda media, value, indicator: {"value": value},
    "null": lambda *_: None,
    "a number beyond any": lambda media, value, indicator: [media, value, 2**70_000],
}  # fmt: skip


@OF_EACH
@pytest.mark.parametrize("change", RECORD_CHANGES)
def test_a_member_in_another_form(label: str, change: str) -> None:
    with refused("evidence_malformed") as refusal:
        decode(changed(**{label: RECORD_CHANGES[change](*_record(label))}))
    assert f"{label} is not" in str(refusal.value)


def _record(label: str) -> tuple[str, bytes, int]:
    media_type, value, indicator = MEMBERS[label]
    return media_type, value, indicator


def test_the_largest_member_is_read() -> None:
    large = replace(SMALL, report=bytes(MAX_MEMBER_BYTES))
    assert decode(encode(large)) == large


# ---- labels


LABEL_CHANGES: dict[str, object] = {
    "unknown": {**MEMBERS, "tdx": MEMBERS["report"]},
    "unknown and long": {**MEMBERS, "x" * 10_000: MEMBERS["report"]},
    "in capitals": {**MEMBERS, "REPORT": MEMBERS["report"]},
    "as bytes": {**MEMBERS, b"report": MEMBERS["report"]},
    "as a number": {**MEMBERS, 7: MEMBERS["report"]},
    "as a number beyond any": {**MEMBERS, 2**70_000: MEMBERS["report"]},
    "as a float": {**MEMBERS, 1.5: MEMBERS["report"]},
    "as nothing": {**MEMBERS, None: MEMBERS["report"]},
    "as a list": {**MEMBERS, ("report",): MEMBERS["report"]},
    "no type": {name: value for name, value in MEMBERS.items() if name != TYPE},
    "another type": {**MEMBERS, TYPE: COLLECTION_TYPE + "x"},
    "a type as bytes": {**MEMBERS, TYPE: COLLECTION_TYPE.encode()},
    "a type as a record": {**MEMBERS, TYPE: [COLLECTION_TYPE]},
    "nothing but a type": {TYPE: COLLECTION_TYPE},
    "nothing": {},
}


@pytest.mark.parametrize("change", LABEL_CHANGES)
def test_another_label(change: str) -> None:
    with refused("evidence_malformed") as refusal:
        decode(written(LABEL_CHANGES[change]))
    assert len(str(refusal.value)) < 200


# ---- encoding


def pairs(*items: tuple[bytes, bytes]) -> bytes:
    """A map of these encoded keys and values, in this order, repeated or not."""
    return bytes([0xA0 | len(items)]) + b"".join(key + value for key, value in items)


ITEMS = sorted((written(label), written(value)) for label, value in MEMBERS.items())
ITEMS.sort(key=lambda item: (len(item[0]), item[0]))
INDEFINITE = b"\x5f\x44repo\x42rt\xff"


def longer(data: bytes) -> bytes:
    """The short text or bytes with its length in a byte of its own."""
    return bytes([data[0] & 0xE0 | 24, data[0] & 0x1F]) + data[1:]


ENCODINGS: dict[str, bytes] = {
    "nothing": b"",
    "cut off": GOOD[:-1],
    "a byte more": GOOD + b"\0",
    "twice": GOOD * 2,
    "a break more": GOOD + b"\xff",
    "another order": pairs(*reversed(ITEMS)),
    "sorted by text alone": pairs(*sorted(ITEMS, key=lambda item: item[0][1:])),
    "a label twice": pairs(*ITEMS, ITEMS[0]),
    "a label twice, spelled differently": pairs(*ITEMS, (longer(ITEMS[0][0]), ITEMS[0][1])),
    "a label of indefinite length": pairs((b"\x7f\x62cr\x61l\xff", ITEMS[0][1]), *ITEMS[1:]),
    "a label with a longer length": pairs((longer(ITEMS[0][0]), ITEMS[0][1]), *ITEMS[1:]),
    "an indicator in two bytes": GOOD.replace(b"\x43crl\x02", b"\x43crl\x18\x02"),
    "bytes in pieces": GOOD.replace(b"\x46report", INDEFINITE),
    "a list of indefinite length": GOOD.replace(
        b"\x83\x74application/pkix-crl\x43crl\x02", b"\x9f\x74application/pkix-crl\x43crl\x02\xff"
    ),
    "a map of indefinite length": b"\xbf" + GOOD[1:] + b"\xff",
    "a map with a longer length": b"\xb8\x08" + GOOD[1:],
    "a map that promises more": bytes([GOOD[0] + 1]) + GOOD[1:],
    "a map that promises less": bytes([GOOD[0] - 1]) + GOOD[1:],
    "a tag on a record": GOOD.replace(b"\x83\x74", b"\xda\0\x0f\x42\x40\x83\x74"),
    "a tag in front": b"\xd9\xd9\xf7" + GOOD,
    "a tag of sharing in front": b"\xd8\x1c" + GOOD,
    "a tag of string references in front": b"\xd9\x01\x00" + GOOD,
    "a tag on bytes": GOOD.replace(b"\x43crl", b"\xd8\x1c\x43crl"),
    "text that is no UTF-8": GOOD.replace(b"\x63crl", b"\x63cr\xff"),
    "a list": b"\x81" + GOOD,
    "text": cbor2.dumps("evidence"),
    "null": b"\xf6",
    "undefined": b"\xf7",
    "a number": b"\x00",
    "a reserved length": b"\x5c",
    "bytes without end": b"\x5b\x7f" + b"\xff" * 7,
    "a map without end": b"\xbb\x7f" + b"\xff" * 7,
    "a list of two thousand million": b"\x9a\x7f\xff\xff\xff",
    "deeper than any stack": b"\x81" * MAX_EVIDENCE_BYTES,
    "tags deeper than any stack": b"\xc6" * MAX_EVIDENCE_BYTES,
    "a shared value inside itself": b"\xd8\x1c\x81\xd8\x1d\x00",
    "a pattern": b"\xd8\x23\x67(a+)+$b",
    "a date": b"\xc1\xfb" + bytes(8),
    "a date beyond the calendar": b"\xc1\x1b" + b"\xff" * 8,
    "a fraction with a huge exponent": b"\xc4\x82\x1b\x7f\xff\xff\xff\xff\xff\xff\xff\x01",
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_another_encoding(encoding: str) -> None:
    data = ENCODINGS[encoding]
    assert data != GOOD
    with refused("evidence_malformed"):
        decode(data)


def test_taking_the_encoding_apart_changes_nothing() -> None:
    """What the table above relies on."""
    assert pairs(*ITEMS) == GOOD


# ---- limits


def of_size(size: int) -> Evidence:
    """Evidence whose encoding has this size."""
    rest = replace(SMALL, leaf=bytes(MAX_MEMBER_BYTES), report=bytes(20_000))
    return replace(rest, report=bytes(20_000 + size - len(encode(rest))))


def test_evidence_is_read_up_to_its_limit() -> None:
    largest = of_size(MAX_EVIDENCE_BYTES)
    assert len(encode(largest)) == MAX_EVIDENCE_BYTES
    assert decode(encode(largest)) == largest


def test_evidence_beyond_its_limit_is_not_looked_at() -> None:
    with refused("evidence_size") as refusal:
        decode(bytes(MAX_EVIDENCE_BYTES + 1))
    assert (refusal.value.seen, refusal.value.wanted) == ("65537 bytes", "at most 65536")


def test_evidence_nobody_would_read_is_not_written() -> None:
    with pytest.raises(ValueError, match="65537 bytes; at most 65536"):
        encode(of_size(MAX_EVIDENCE_BYTES + 1))


# ---- any bytes


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
    | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(max_size=3) | st.sampled_from(LABELS), inner, max_size=4),
    max_leaves=10,
)  # fmt: skip


@given(st.one_of(st.binary(max_size=200), VALUES.map(cbor2.dumps)))
def test_any_bytes_are_refused(data: bytes) -> None:
    assert code_of(lambda: decode(data)) == "evidence_malformed"


@given(mutations(GOOD))
def test_changed_evidence_is_refused_or_says_what_it_says(data: bytes) -> None:
    if code_of(lambda: decode(data)) == "":
        assert encode(decode(data)) == data
    else:
        assert code_of(lambda: decode(data)) == "evidence_malformed"


@given(st.sampled_from(LABELS), VALUES)
def test_any_value_of_a_member_is_refused(label: str, value: object) -> None:
    assert code_of(lambda: decode(changed(**{label: value}))) == "evidence_malformed"
