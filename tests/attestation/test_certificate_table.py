"""Certificate tables: a real one is read, and no entry points where it must not."""

from __future__ import annotations

import base64
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealserve.attestation.certificate_table import (
    ARK,
    ASK,
    CRL,
    MAX_ENTRIES,
    MAX_TABLE_BYTES,
    VCEK,
    VLEK,
    CertificateTable,
)
from support.attestation_refusals import code_of, mutations, refused
from support.attestation_table import ENTRY_BYTES, entry, table
from support.attestation_vectors import vectors

(ROW,) = vectors("snp", "auxblob.bin")
REAL = ROW.read("auxblob.bin")
END = bytes(ENTRY_BYTES)
OTHER = UUID("00112233-4455-6677-8899-aabbccddeeff")
ALL = {VCEK: b"vcek", VLEK: b"vlek", ASK: b"ask", ARK: b"ark", CRL: b"crl"}


def test_a_real_table_holds_the_chain_of_its_report():
    found = CertificateTable.parse(REAL)
    assert found.vcek == ROW.read("leaf.der")
    assert found.intermediate == ROW.evidence().intermediate
    assert found.root is not None
    assert (found.vlek, found.crl) == (None, None)


def test_every_kind_stands_under_its_guid():
    assert CertificateTable.parse(table(ALL)) == CertificateTable(*ALL.values())


def test_other_guids_and_what_no_entry_names_are_passed_over():
    longer = table({OTHER: b"new", VCEK: b"leaf"}) + bytes(4096)
    assert CertificateTable.parse(longer) == CertificateTable(vcek=b"leaf")


@pytest.mark.parametrize("data", [b"", END, END + b"padding"])
def test_a_host_need_not_have_a_table(data):
    assert CertificateTable.parse(data) == CertificateTable()


def test_pem_becomes_der():
    text = b"-----BEGIN X509 CRL-----\n" + base64.b64encode(b"list") + b"\n-----END X509 CRL-----\n"
    assert CertificateTable.parse(table({CRL: text})).crl == b"list"
    with refused("pem_malformed"):
        CertificateTable.parse(table({VCEK: text}))


def many(count: int) -> bytes:
    return table({UUID(int=i + 1): b"x" for i in range(count)})


REFUSALS = {
    "longer than a host may answer": ("size", table(ALL).ljust(MAX_TABLE_BYTES + 1, b"\0")),
    "no end": ("entry", entry(VCEK, 24, 4)),
    "half an entry": ("entry", END[:23]),
    "an end cut short": ("entry", entry(VCEK, 24, 4) + END[:23]),
    "an end that says something": ("range", entry(UUID(int=0), 0, 1) + END),
    "too many entries": ("entry", many(MAX_ENTRIES + 1)),
    "one guid twice": ("entry", entry(VCEK, 72, 1) + entry(VCEK, 73, 1) + END + b"ab"),
    "into the directory": ("range", entry(VCEK, 47, 2) + END + b"leaf"),
    "at the directory": ("range", entry(VCEK, 0, 4) + END + b"leaf"),
    "past the end": ("range", entry(VCEK, 48, 5) + END + b"leaf"),
    "behind the end": ("range", entry(VCEK, 52, 1) + END + b"leaf"),
    "around the end of 32 bits": ("range", entry(VCEK, 0xFFFFFFFF, 2) + END + b"leaf"),
    "of no bytes": ("range", entry(VCEK, 48, 0) + END + b"leaf"),
    "one over the other": ("range", entry(VCEK, 72, 4) + entry(ASK, 75, 4) + END + b"leafask"),
    "one inside the other": ("range", entry(VCEK, 72, 4) + entry(ASK, 73, 1) + END + b"leaf"),
    "the same bytes twice": ("range", entry(VCEK, 72, 4) + entry(ASK, 72, 4) + END + b"leaf"),
}


@pytest.mark.parametrize(("what", "data"), REFUSALS.values(), ids=REFUSALS)
def test_a_table_that_points_where_it_must_not_is_refused(what, data):
    with refused(f"certificate_table_{what}"):
        CertificateTable.parse(data)


def test_limits_are_reached():
    assert CertificateTable.parse(many(MAX_ENTRIES)) == CertificateTable()
    assert CertificateTable.parse(table(ALL).ljust(MAX_TABLE_BYTES, b"\0")).crl == b"crl"


def test_contents_may_stand_in_another_order():
    data = entry(VCEK, 75, 4) + entry(ASK, 72, 3) + END + b"askleaf"
    assert CertificateTable.parse(data) == CertificateTable(vcek=b"leaf", intermediate=b"ask")


@given(st.dictionaries(st.uuids(), st.binary(min_size=1, max_size=40), max_size=MAX_ENTRIES - 1))
def test_any_honest_table_is_read(contents):
    contents = {guid: data for guid, data in contents.items() if guid.int}
    found = CertificateTable.parse(table({**contents, VLEK: b"leaf"}))
    assert found.vlek == b"leaf"


@given(mutations(REAL[:96] + b"x" * 200))
def test_nothing_but_documented_errors_comes_out(data):
    codes = {"", "pem_malformed", "certificate_table_entry", "certificate_table_range"}
    assert code_of(lambda: CertificateTable.parse(data)) in codes
