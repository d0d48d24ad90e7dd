"""The host's certificate document: real ones are read, its TCB in the order of the report."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given

from sealserve.attestation import Report, roots
from sealserve.attestation.thim import MAX_THIM_BYTES, HostCertificate
from support.attestation_refusals import code_of, mutations, refused
from support.attestation_vectors import Vector, vectors

NAME = "host_amd_cert.json"
REAL = vectors("snp", NAME)
GENOA = next(row for row in REAL if "genoa" in row.id).read(NAME)


@pytest.mark.parametrize("row", REAL, ids=lambda row: row.id)
def test_real_documents_hold_amds_chain_and_the_tcb_of_the_report(row: Vector):
    found = HostCertificate.parse(row.read(NAME))
    assert found.leaf == row.read("leaf.der")
    assert found.intermediate == row.evidence().intermediate
    line = row.measured["product"].lower()
    assert roots.ARK_SHA256[line] == hashlib.sha256(found.root).hexdigest()
    assert found.tcb == Report.parse(row.read("report.bin")).reported_tcb
    assert found.cache_seconds in (86400, 3153600)


def changed(**members: object) -> str:
    """The Genoa document with these members, None to leave one out."""
    document = {**json.loads(GENOA), **members}
    return json.dumps({name: value for name, value in document.items() if value is not None})


REFUSALS = {
    "nothing": ("thim_malformed", ""),
    "no object": ("thim_malformed", "[]"),
    "no text": ("thim_malformed", "\udcff"),
    "nested beyond reason": ("thim_malformed", "[" * 20000),
    "a tail": ("thim_malformed", changed() + "{}"),
    "a member twice": ("thim_malformed", changed()[:-1] + ',"tcbm":"0"}'),
    "no leaf": ("thim_malformed", changed(vcekCert=None)),
    "no chain": ("thim_malformed", changed(certificateChain=None)),
    "no tcb": ("thim_malformed", changed(tcbm=None)),
    "a tcb as a number": ("thim_malformed", changed(tcbm=7)),
    "an empty tcb": ("thim_malformed", changed(tcbm="")),
    "a tcb beyond 64 bits": ("thim_malformed", changed(tcbm="0" * 17)),
    "a tcb with a sign": ("thim_malformed", changed(tcbm="-1")),
    "a tcb with a prefix": ("thim_malformed", changed(tcbm="0x10")),
    "a tcb with an underscore": ("thim_malformed", changed(tcbm="1_0")),
    "digits of another script": ("thim_malformed", changed(tcbm="\u0661")),
    "a time as a number": ("thim_malformed", changed(cacheControl=86400)),
    "a time in words": ("thim_malformed", changed(cacheControl="max-age=1")),
    "a time beyond reason": ("thim_malformed", changed(cacheControl="9" * 5000)),
    "an empty leaf": ("pem_malformed", changed(vcekCert="")),
    "two leaves": ("pem_malformed", changed(vcekCert=json.loads(GENOA)["vcekCert"] * 2)),
    "a chain of one": (
        "thim_malformed",
        changed(certificateChain=json.loads(GENOA)["vcekCert"]),
    ),
    "a chain of three": (
        "pem_malformed",
        changed(certificateChain=json.loads(GENOA)["vcekCert"] * 3),
    ),
    "too long": ("thim_size", " " * MAX_THIM_BYTES + "{}"),
}


@pytest.mark.parametrize(("code", "text"), REFUSALS.values(), ids=REFUSALS)
def test_anything_else_is_refused(code, text):
    with refused(code):
        HostCertificate.parse(text.encode("utf-8", "surrogateescape"))


def test_a_tcb_is_a_number_with_its_most_significant_digit_first():
    assert HostCertificate.parse(changed(tcbm="541700000000000a").encode()) == (
        HostCertificate.parse(GENOA)
    )
    assert HostCertificate.parse(changed(tcbm="a").encode()).tcb.hex() == "0a00000000000000"


def test_the_host_may_say_more_and_need_not_say_for_how_long():
    assert HostCertificate.parse(changed(tcb="new").encode()) == HostCertificate.parse(GENOA)
    assert HostCertificate.parse(changed(cacheControl=None).encode()).cache_seconds is None


@given(mutations(GENOA))
def test_nothing_but_documented_errors_comes_out(data):
    assert code_of(lambda: HostCertificate.parse(data)) in {"", "thim_malformed", "pem_malformed"}
