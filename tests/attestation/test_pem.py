"""PEM: one text has one reading."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealserve.attestation import pem, roots
from support.attestation_refusals import code_of, mutations, refused

MILAN = (Path(roots.__file__).parent / "milan_ask.pem").read_bytes()
HEAD, TAIL = b"-----BEGIN CERTIFICATE-----\n", b"-----END CERTIFICATE-----\n"


def block(data: bytes, columns: int = 64, end: bytes = b"\n") -> bytes:
    text = base64.b64encode(data)
    lines = [text[i : i + columns] + end for i in range(0, len(text), columns)]
    return HEAD.strip() + end + b"".join(lines) + TAIL.strip() + end


REFUSALS = {
    "nothing": b"",
    "no text inside": HEAD + TAIL,
    "words before": b"subject: ASK\n" + MILAN,
    "words behind": MILAN + b"words",
    "a line between": MILAN + b"\n" + MILAN,
    "one block too many": MILAN * 3,
    "another label": MILAN.replace(b"CERTIFICATE", b"X509 CRL"),
    "a key": MILAN.replace(b"CERTIFICATE", b"PRIVATE KEY"),
    "two labels": HEAD + b"AAAA\n" + b"-----END X509 CRL-----\n",
    "headers": HEAD + b"Proc-Type: 4\n\nAAAA\n" + TAIL,
    "an empty line": HEAD + b"AAAA\n\nAAAA\n" + TAIL,
    "an end cut off": MILAN[:-10],
    "no end": HEAD + b"AAAA\n",
    "lines of two lengths": HEAD + b"AAAAAAAA\nAAAA\nAAAAAAAA\n" + TAIL,
    "a long last line": HEAD + b"AAAA\nAAAAAAAA\n" + TAIL,
    "padding inside": HEAD + b"AA==\nAAAA\n" + TAIL,
    "not whole base64": HEAD + b"AAAAA\n" + TAIL,
    "low bits of the last character": HEAD + b"AB==\n" + TAIL,
    "blanks": MILAN.replace(b"\n", b" \n"),
    "a line beyond 76": block(bytes(300), columns=80),
}


@pytest.mark.parametrize("text", REFUSALS.values(), ids=REFUSALS)
def test_anything_but_blocks_of_the_label_is_refused(text):
    with refused("pem_malformed"):
        pem.read(text, "CERTIFICATE", at_most=2)


def test_length_is_checked_before_anything_is_read():
    with refused("pem_size"):
        pem.read(MILAN * 40, "CERTIFICATE", at_most=99)
    most = (HEAD + b"A" * 4 + b"\n" + TAIL) * 600
    with refused("pem_malformed"):
        pem.read(most[: pem.MAX_PEM_BYTES], "CERTIFICATE", at_most=999)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("columns", [4, 64, 76])
@given(data=st.binary(min_size=1, max_size=400))
def test_blocks_come_back_in_order(end, columns, data):
    text = block(data, columns, end) + block(b"second", columns, end).rstrip()
    assert pem.read(text, "CERTIFICATE", at_most=2) == (data, b"second")


@given(mutations(MILAN))
def test_nothing_but_documented_errors_comes_out(text):
    assert code_of(lambda: pem.read(text, "CERTIFICATE")) in {"", "pem_malformed"}
