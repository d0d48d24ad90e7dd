"""DER: one byte sequence, one reading; whatever is written reads back; the rest is refused."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from sealserve.attestation import asn1, der
from sealserve.errors import EvidenceError
from support.attestation_refusals import mutations, refused
from support.attestation_vectors import vector

LEAF = vector("ms-tav/milan-v3-aci").read("leaf.der")

Read = Callable[[der.Reader], object]


def element(tag: int) -> Read:
    return lambda reader: reader.element(tag)


def hexed(text: str) -> bytes:
    return bytes.fromhex(text)


# What X.690 forbids, or what this reader has no use for.
REFUSALS: dict[str, tuple[bytes, Read]] = {
    "nothing": (b"", der.Reader.integer),
    "another tag": (hexed("0400"), der.Reader.integer),
    "a tag alone": (hexed("02"), der.Reader.integer),
    "content cut off": (hexed("020201"), der.Reader.integer),
    "an indefinite length": (hexed("30800000"), der.Reader.sequence),
    "a length of no bytes": (hexed("04ff"), element(der.OCTET_STRING)),
    "a length cut off": (hexed("0482ff"), element(der.OCTET_STRING)),
    "a long length that would be short": (hexed("0481017f"), element(der.OCTET_STRING)),
    "a length with a leading zero": (
        hexed("04820080") + bytes(128),
        element(der.OCTET_STRING),
    ),
    "a length of four bytes": (hexed("048401000000") + bytes(2**24), element(der.OCTET_STRING)),
    "an empty integer": (hexed("0200"), der.Reader.integer),
    "a negative integer": (hexed("020180"), der.Reader.integer),
    "a superfluous zero": (hexed("0202007f"), der.Reader.integer),
    "an empty OID": (hexed("0600"), der.Reader.oid),
    "an OID cut off": (hexed("06022a86"), der.Reader.oid),
    "an OID with a superfluous zero": (hexed("06032a8001"), der.Reader.oid),
    "a superfluous zero in front": (hexed("06028001"), der.Reader.oid),
    "an OID of 65 bytes": (asn1.element(0x06, b"\x2a" + b"\xff" * 63 + b"\x7f"), der.Reader.oid),
    "an OID beyond printing": (asn1.element(0x06, b"\xff" * 8000 + b"\x7f"), der.Reader.oid),
    "an integer of 21 bytes": (asn1.element(0x02, b"\x01" + bytes(20)), der.Reader.integer),
    "an integer beyond printing": (asn1.integer(10**5000), der.Reader.integer),
    "a boolean of no bytes": (hexed("0100"), der.Reader.boolean),
    "a boolean of two bytes": (hexed("0102ffff"), der.Reader.boolean),
    "a boolean that is 1": (hexed("010101"), der.Reader.boolean),
    "bits without their count": (hexed("0300"), der.Reader.bits),
    "bits that are no bytes": (hexed("03020100"), der.Reader.bits),
    "a year alone": (asn1.element(0x17, b"26"), der.Reader.time),
    "no seconds": (asn1.element(0x17, b"2601010000Z"), der.Reader.time),
    "another zone": (asn1.element(0x17, b"260101000000+0000"), der.Reader.time),
    "no zone": (asn1.element(0x18, b"20260101000000"), der.Reader.time),
    "fractions of a second": (asn1.element(0x18, b"20260101000000.0Z"), der.Reader.time),
    "spaces for digits": (asn1.element(0x17, b" 60101000000Z"), der.Reader.time),
    "a sign for a digit": (asn1.element(0x18, b"+0260101000000Z"), der.Reader.time),
    "digits beyond ASCII": (asn1.element(0x17, b"\xb260101000000Z"), der.Reader.time),
    "the 30th of February": (asn1.element(0x17, b"260230000000Z"), der.Reader.time),
    "a leap second": (asn1.element(0x17, b"261231235960Z"), der.Reader.time),
    "the year 0": (asn1.element(0x18, b"00000101000000Z"), der.Reader.time),
    "another kind of time": (asn1.element(0x13, b"260101000000Z"), der.Reader.time),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_is_not_der_is_refused(name: str) -> None:
    data, read = REFUSALS[name]
    with refused("certificate_unparseable"):
        read(der.Reader(data))


def test_a_length_of_three_bytes_is_the_longest() -> None:
    content = bytes(2**16)
    assert der.Reader(asn1.octets(content)).element(der.OCTET_STRING) == content


@pytest.mark.parametrize("size", [0, 1, 127, 128, 255, 256, 65535, 65536])
def test_lengths_round_trip(size: int) -> None:
    written = asn1.octets(bytes(size))
    reader = der.Reader(written)
    assert reader.whole(der.OCTET_STRING) == written
    reader.end()


TIMES = {
    b"\x17\x0d260101000000Z": datetime(2026, 1, 1, tzinfo=UTC),
    b"\x17\x0d491231235959Z": datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC),
    b"\x17\x0d500101000000Z": datetime(1950, 1, 1, tzinfo=UTC),
    b"\x18\x0f20501231235959Z": datetime(2050, 12, 31, 23, 59, 59, tzinfo=UTC),
}


@pytest.mark.parametrize("data", TIMES)
def test_times(data: bytes) -> None:
    assert der.Reader(data).time() == TIMES[data]


def test_a_time_is_written_as_it_is_read() -> None:
    for data, moment in list(TIMES.items())[:2]:
        assert asn1.time(moment) == data


@pytest.mark.parametrize(
    ("data", "value"), [("020100", 0), ("02017f", 127), ("02020080", 128), ("020200db", 219)]
)
def test_integers(data: str, value: int) -> None:
    assert der.whole_integer(hexed(data)) == value
    assert asn1.integer(value) == hexed(data)


# X.690, 8.19: the first two arcs share a subidentifier; later ones take seven bits a byte.
OIDS = {
    "0.0": "060100",
    "0.39": "060127",
    "1.0": "060128",
    "1.39": "06014f",
    "2.0": "060150",
    "2.999": "06028837",
    "2.5.4.3": "0603550403",
    "1.3.6.1.4.1.3704.1.3.10": "060a2b060104019c7801030a",
    "1.2.840.113549.1.1.10": "06092a864886f70d01010a",
}


@pytest.mark.parametrize("dotted", OIDS)
def test_object_identifiers(dotted: str) -> None:
    assert asn1.oid(dotted) == hexed(OIDS[dotted])
    assert der.Reader(hexed(OIDS[dotted])).oid() == dotted


@given(st.integers(0, 2**159 - 1))  # 20 bytes, as large as a serial number may be
def test_integers_round_trip(value: int) -> None:
    assert der.whole_integer(asn1.integer(value)) == value


ARCS = st.lists(st.integers(0, 2**128 - 1), max_size=3)  # 2.25 and a UUID is a use of big arcs


@given(st.integers(0, 2), st.integers(0, 39), ARCS)
def test_object_identifiers_round_trip(first: int, second: int, others: list[int]) -> None:
    dotted = ".".join(str(arc) for arc in (first, second, *others))
    assert der.Reader(asn1.oid(dotted)).oid() == dotted


MOMENTS = st.datetimes(datetime(1950, 1, 1), datetime(2049, 12, 31), timezones=st.just(UTC))


@given(MOMENTS)
def test_times_round_trip(moment: datetime) -> None:
    assert der.Reader(asn1.time(moment)).time() == moment.replace(microsecond=0)


@pytest.mark.parametrize("text", ["", "Milan-B0", "CN=cc-us-east-2.amazonaws.com"])
def test_strings(text: str) -> None:
    assert der.whole_ia5(asn1.ia5(text)) == text
    assert der.Reader(asn1.utf8(text)).element(der.UTF8_STRING) == text.encode()
    assert der.Reader(asn1.printable(text)).element(der.PRINTABLE_STRING) == text.encode()


@pytest.mark.parametrize("content", [b"\x1f", b"\x7f", b"a\0", b"\xc3\xa9", b"a\n"])
def test_a_string_that_could_play_tricks_on_a_terminal(content: bytes) -> None:
    with refused("certificate_unparseable"):
        der.whole_ia5(asn1.element(der.IA5_STRING, content))


def test_bits_are_read_as_whole_bytes() -> None:
    assert der.Reader(asn1.bits(b"\xa5\x5a")).bits() == b"\xa5\x5a"
    assert asn1.bits(b"\x06", unused=1) == hexed("03020106")


@pytest.mark.parametrize(("data", "value"), [("010100", False), ("0101ff", True)])
def test_booleans(data: str, value: bool) -> None:
    assert der.Reader(hexed(data)).boolean() is value


def test_rest_wants_one_tag_throughout() -> None:
    two = asn1.integer(1) + asn1.integer(2)
    assert list(der.Reader(two).rest(der.INTEGER)) == [b"\x01", b"\x02"]
    with refused("certificate_unparseable"):
        list(der.Reader(two + asn1.octets(b"")).rest(der.INTEGER))


FOLLOWED: dict[str, Callable[[], object]] = {
    "a document": lambda: der.document(asn1.sequence() + b"\0"),
    "an integer": lambda: der.whole_integer(asn1.integer(1) + b"\0"),
    "a string": lambda: der.whole_ia5(asn1.ia5("x") + b"\0"),
    "a reader": lambda: der.Reader(b"\0").end(),
}


@pytest.mark.parametrize("name", FOLLOWED)
def test_what_follows_the_whole_is_refused(name: str) -> None:
    with refused("certificate_unparseable"):
        FOLLOWED[name]()


READS: list[Read] = [
    der.Reader.oid,
    der.Reader.integer,
    der.Reader.boolean,
    der.Reader.bits,
    der.Reader.time,
    der.Reader.sequence,
    element(der.OCTET_STRING),
]


@given(st.sampled_from([0x01, 0x02, 0x03, 0x04, 0x06, 0x17, 0x18, 0x30]), st.binary(max_size=40))
def test_any_content_is_read_or_refused(tag: int, content: bytes) -> None:
    for data in (bytes([tag]) + content, asn1.element(tag, content)):
        for read in READS:
            with suppress(EvidenceError):
                read(der.Reader(data))


def walk(data: bytes) -> None:
    """Take every element apart that can be, as deep as it goes."""
    reader = der.Reader(data)
    while (tag := reader.peek()) is not None:
        content = reader.element(tag)
        if tag & 0x20:
            walk(content)


@given(mutations(LEAF))
def test_a_changed_certificate_is_walked_or_refused(data: bytes) -> None:
    with suppress(EvidenceError):
        walk(data)


def test_a_second_opinion_on_a_name() -> None:
    """What the writer writes is what another library writes."""
    parts = {
        x509.NameOID.COMMON_NAME: ("ARK", asn1.utf8("ARK")),
        x509.NameOID.COUNTRY_NAME: ("US", asn1.printable("US")),
    }
    ours = asn1.sequence(
        *(
            asn1.element(der.SET, asn1.sequence(asn1.oid(oid.dotted_string), value))
            for oid, (_, value) in parts.items()
        )
    )
    theirs = x509.Name([x509.NameAttribute(oid, text) for oid, (text, _) in parts.items()])
    assert theirs.public_bytes() == ours
