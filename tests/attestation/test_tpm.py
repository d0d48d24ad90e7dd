"""A quote of a vTPM: read to the last byte, signed by the key of the machine's report."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from functools import cache

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from hypothesis import given

from sealserve.attestation.hcl import attestation_key
from sealserve.attestation.tpm import (
    MAX_DOCUMENT_BYTES,
    MAX_MESSAGE_BYTES,
    Quote,
    QuoteDocument,
)
from support.attestation_refusals import code_of, mutations, refused
from support.attestation_vectors import Vector, vector, vectors

REAL = vectors("snp", "tpm_quote.json")
GOOD = vector("trustee/az-cvm-milan-v3-a")
DOCUMENT = GOOD.read("tpm_quote.json")
REGISTERS = [bytes([number]) * 32 for number in range(24)]
NONCE = b"a nonce of ours"


def quote(**changes: bytes) -> bytes:
    """TPMS_ATTEST of these registers, with the bytes of some fields replaced."""
    fields = {
        "magic": struct.pack(">I", 0xFF544347),
        "type": struct.pack(">H", 0x8018),
        "signer": sized(b"\x00\x0b" + bytes(32)),
        "nonce": sized(NONCE),
        "clock": struct.pack(">QIIB", 1, 2, 3, 1),
        "firmware": bytes(8),
        "banks": struct.pack(">I", 1),
        "bank": struct.pack(">H", 0x000B),
        "select": b"\x03\x81\x00\x80",
        "digest": sized(hashlib.sha256(b"".join(REGISTERS[n] for n in (0, 7, 23))).digest()),
    }
    return b"".join({**fields, **changes}.values())


def sized(data: bytes) -> bytes:
    return struct.pack(">H", len(data)) + data


@cache
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def signed(message: bytes, digest: hashes.HashAlgorithm | None = None) -> bytes:
    return key().sign(message, padding.PKCS1v15(), digest or hashes.SHA256())


@pytest.mark.parametrize("row", REAL, ids=lambda row: row.id)
def test_real_ones(row: Vector) -> None:
    document = QuoteDocument.parse(row.read("tpm_quote.json"))
    found = document.quote
    found.require_signed(document.signature, attestation_key(row.read("runtime_data.bin")))
    found.require_registers(document.registers)
    assert found.registers == (*range(24),)


def test_the_nonce_of_a_real_one() -> None:
    found = QuoteDocument.parse(DOCUMENT).quote
    found.require_nonce(b"challenge")
    with refused("tpm_nonce"):
        found.require_nonce(b"challengf")


def test_one_of_our_own() -> None:
    found = Quote.parse(quote())
    assert (found.nonce, found.registers) == (NONCE, (0, 7, 23))
    found.require_signed(signed(found.message), key().public_key())
    found.require_registers(REGISTERS)


def test_the_key_of_another_machine() -> None:
    """The quote of one machine beside the report of another: what `hcl` binds."""
    document = QuoteDocument.parse(DOCUMENT)
    other = attestation_key(vector("attestation-rs/az-cvm-milan-v3").read("runtime_data.bin"))
    with refused("tpm_quote_signature"):
        document.quote.require_signed(document.signature, other)


SIGNATURES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "bare": (signed, ""),
    "a TPMT_SIGNATURE": (lambda m: b"\x00\x14\x00\x0b" + sized(signed(m)), ""),
    "of another message": (lambda m: signed(m + b"\0"), "tpm_quote_signature"),
    "with SHA-384": (lambda m: signed(m, hashes.SHA384()), "tpm_quote_signature"),
    "nothing": (lambda m: b"", "tpm_quote_malformed"),
    "RSAPSS": (lambda m: b"\x00\x16\x00\x0b" + sized(signed(m)), "tpm_quote_malformed"),
    "another hash": (lambda m: b"\x00\x14\x00\x0c" + sized(signed(m)), "tpm_quote_malformed"),
    "cut": (lambda m: b"\x00\x14\x00\x0b" + sized(signed(m))[:-1], "tpm_quote_malformed"),
    "one byte more": (
        lambda m: b"\x00\x14\x00\x0b" + sized(signed(m)) + b"\0",
        "tpm_quote_malformed",
    ),
    "longer than the key": (
        lambda m: b"\x00\x14\x00\x0b" + sized(signed(m) + b"\0"),
        "tpm_quote_malformed",
    ),
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name: str) -> None:
    make, code = SIGNATURES[name]
    found = Quote.parse(quote())
    run = code_of(lambda: found.require_signed(make(found.message), key().public_key()))
    assert run == code


@pytest.mark.parametrize("number", range(24))
def test_exactly_the_selected_registers_count(number: int) -> None:
    values = [*REGISTERS]
    values[number] = bytes(31) + b"\xff"
    code = code_of(lambda: Quote.parse(quote()).require_registers(values))
    assert code == ("tpm_pcr_digest" if number in (0, 7, 23) else "")


MALFORMED: dict[str, bytes] = {
    "nothing": b"",
    "magic": quote(magic=b"\xff\x54\x43\x48"),
    "a certification": quote(type=b"\x80\x17"),
    "a long name": quote(signer=sized(bytes(67))),
    "a long nonce": quote(nonce=sized(bytes(67))),
    "a clock neither safe nor unsafe": quote(clock=struct.pack(">QIIB", 1, 2, 3, 2)),
    "no bank": quote(banks=bytes(4)),
    "two banks": quote(banks=struct.pack(">I", 2)),
    "a bank in SHA-1": quote(bank=b"\x00\x04"),
    "registers of another profile": quote(select=b"\x04\x81\x00\x80\x00"),
    "a long digest": quote(digest=sized(bytes(33))),
    "a digest cut off": quote()[:-1],
    "a byte more": quote() + b"\0",
    "too long": quote() + bytes(MAX_MESSAGE_BYTES),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_each_field_alone(name: str) -> None:
    with refused("tpm_quote_malformed"):
        Quote.parse(MALFORMED[name])


def document(**changes: object) -> bytes:
    return json.dumps({**json.loads(DOCUMENT), **changes}).encode()


DOCUMENTS: dict[str, bytes] = {
    "no JSON": DOCUMENT[:-1],
    "too long": DOCUMENT + b" " * MAX_DOCUMENT_BYTES,
    "another member": document(nonce=""),
    "a member less": json.dumps({"message": "", "signature": ""}).encode(),
    "23 registers": document(pcrs=["00" * 32] * 23),
    "no list": document(pcrs="00"),
    "a short register": document(pcrs=["00" * 31] * 24),
    "a register that is none": document(pcrs=[0] * 24),
    "half a byte": document(message="f"),
    "white space": document(signature="00 00"),
    "a number": document(signature=0),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_that_is_none(name: str) -> None:
    with refused("tpm_quote_malformed"):
        QuoteDocument.parse(DOCUMENTS[name])


@given(mutations(quote()))
def test_any_change_is_read_or_refused(data: bytes) -> None:
    assert code_of(lambda: Quote.parse(data)) in ("", "tpm_quote_malformed")


@given(mutations(DOCUMENT))
def test_any_document_is_read_or_refused(data: bytes) -> None:
    assert code_of(lambda: QuoteDocument.parse(data)) in ("", "tpm_quote_malformed")
