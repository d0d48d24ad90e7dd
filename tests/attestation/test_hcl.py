"""The HCL report: every field of its frame has one value, and the key it names is read strictly."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable

import pytest
from hypothesis import given

from sealserve.attestation import Report
from sealserve.attestation.hcl import (
    MAX_HCL_BYTES,
    MAX_RUNTIME_BYTES,
    HclReport,
    attestation_key,
)
from support.attestation_refusals import code_of, mutations, refused
from support.attestation_vectors import Vector, vector, vectors

REAL = vectors("snp", "hcl_report.bin")
GOOD = vector("openpcc/az-cvm-genoa-v3")
BLOB, RUNTIME = GOOD.read("hcl_report.bin"), GOOD.read("runtime_data.bin")
Change = Callable[[bytes], bytes]


@pytest.mark.parametrize("row", REAL, ids=lambda row: row.id)
def test_real_ones(row: Vector) -> None:
    found = HclReport.parse(row.read("hcl_report.bin"))
    assert found.report == row.read("report.bin")
    assert found.runtime == row.read("runtime_data.bin")
    seen = Report.parse(found.report).report_data
    assert seen == hashlib.sha256(found.runtime).digest() + bytes(32)
    assert attestation_key(found.runtime).key_size == 2048


def test_without_the_rest_of_the_index() -> None:
    end = 0x4D4 + len(RUNTIME)
    assert HclReport.parse(BLOB[:end]).runtime == RUNTIME
    assert HclReport.parse(BLOB.ljust(MAX_HCL_BYTES, b"\0")).runtime == RUNTIME


def put(offset: int, value: int) -> Change:
    return lambda data: data[:offset] + struct.pack("<I", value) + data[offset + 4 :]


REFUSED: dict[str, tuple[Change, str]] = {
    "nothing": (lambda data: b"", "hcl_size"),
    "no runtime data": (lambda data: data[:0x4D4], "hcl_size"),
    "too long": (lambda data: data.ljust(MAX_HCL_BYTES + 1, b"\0"), "hcl_size"),
    "signature": (lambda data: b"HCLB" + data[4:], "hcl_malformed"),
    "version 0": (put(4, 0), "hcl_malformed"),
    "version 3": (put(4, 3), "hcl_malformed"),
    "a length one more": (lambda data: put(8, 0x4D4 + len(RUNTIME) + 1)(data), "hcl_malformed"),
    "request type": (put(12, 1), "hcl_malformed"),
    "status": (put(16, 1), "hcl_malformed"),
    "reserved bytes": (put(28, 1), "hcl_malformed"),
    "length of the part": (put(0x4C0, len(RUNTIME) + 21), "hcl_malformed"),
    "version of the part": (put(0x4C4, 2), "hcl_malformed"),
    "a report of TDX": (put(0x4C8, 4), "hcl_malformed"),
    "SHA-384": (put(0x4CC, 2), "hcl_malformed"),
    "length of the JSON": (put(0x4D0, len(RUNTIME) - 1), "hcl_malformed"),
    "cut in the JSON": (lambda data: data[: 0x4D4 + len(RUNTIME) - 1], "hcl_malformed"),
    "bytes after it": (lambda data: data[:-1] + b"\1", "hcl_malformed"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_each_field_alone(name: str) -> None:
    change, code = REFUSED[name]
    with refused(code):
        HclReport.parse(change(BLOB))


def test_an_empty_json_is_none() -> None:
    data = put(0x4D0, 0)(put(0x4C0, 20)(put(8, 0x4D4)(BLOB[:0x4D4].ljust(2600, b"\0"))))
    with refused("hcl_malformed"):
        HclReport.parse(data)


def runtime(**changes: object) -> bytes:
    """Runtime data with these members of its attestation key."""
    members = json.loads(RUNTIME)
    members["keys"][0].update(changes)
    return json.dumps(members).encode()


def keys(*found: object) -> bytes:
    return json.dumps({"keys": [*found]}).encode()


KEY = json.loads(RUNTIME)["keys"][0]
RUNTIMES: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"{", "hcl_runtime"),
    "a name twice": (b'{"keys": [], "keys": []}', "hcl_runtime"),
    "too long": (RUNTIME + b" " * MAX_RUNTIME_BYTES, "hcl_runtime"),
    "no keys": (b"{}", "hcl_key"),
    "keys that are none": (b'{"keys": {"kid": "HCLAkPub"}}', "hcl_key"),
    "another name": (runtime(kid="HCLEkPub"), "hcl_key"),
    "two of that name": (keys(KEY, KEY), "hcl_key"),
    "a text": (keys("HCLAkPub"), "hcl_key"),
    "another type": (runtime(kty="EC"), "hcl_key"),
    "no modulus": (runtime(n=1), "hcl_key"),
    "no base64url": (runtime(n="+" * 342), "hcl_key"),
    "another size": (runtime(n=KEY["n"][:-4]), "hcl_key"),
    "an even exponent": (runtime(e="AA"), "hcl_key"),
}


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_key_that_is_none(name: str) -> None:
    data, code = RUNTIMES[name]
    with refused(code):
        attestation_key(data)


@given(mutations(BLOB))
def test_any_change_is_read_or_refused(data: bytes) -> None:
    code = code_of(lambda: HclReport.parse(data))
    assert code in ("", "hcl_size", "hcl_malformed")


@given(mutations(RUNTIME))
def test_any_runtime_data_has_a_key_or_is_refused(data: bytes) -> None:
    assert code_of(lambda: attestation_key(data)) in ("", "hcl_runtime", "hcl_key")
