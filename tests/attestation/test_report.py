"""The report's layout: each field at its place, each forbidden byte refused, nothing else read."""

from __future__ import annotations

import re
from contextlib import suppress
from functools import partial

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sealserve.attestation import Report
from sealserve.attestation.report import ACCEPTED_VERSIONS, Firmware, GuestPolicy, PlatformInfo
from sealserve.errors import EvidenceError
from support.attestation_layout import reserved
from support.attestation_refusals import code_of, mutations, refused
from support.attestation_vectors import vector

REAL = vector("ms-tav/milan-v3-aci").read("report.bin")


def report(version: int = 3, changes: dict[int, bytes] | None = None) -> bytes:
    """The emptiest report there can be, with these bytes at these offsets."""
    data = bytearray(0x4A0)
    plain = {
        0x000: bytes([version]),
        0x00A: b"\x02",
        0x034: b"\x01",
        0x2A0: b"\x01",
        0x2E8: b"\x01",
    }
    for offset, value in {**plain, **(changes or {})}.items():
        data[offset : offset + len(value)] = value
    return bytes(data)


def run(start: int, size: int) -> bytes:
    """Bytes that differ from their neighbours, so that a shifted or reversed field shows."""
    return bytes((start + place) % 255 + 1 for place in range(size))


# AMD 56860 rev 1.58, ATTESTATION_REPORT: offset, bytes there, the field and its value.
FIELDS: dict[str, tuple[int, bytes, object]] = {
    "guest_svn": (0x004, b"\x01\x02\x03\x04", 0x04030201),
    "family_id": (0x010, run(1, 16), run(1, 16)),
    "image_id": (0x020, run(2, 16), run(2, 16)),
    "vmpl": (0x030, b"\xff\xff\xff\x7f", 0x7FFFFFFF),
    "current_tcb": (0x038, run(3, 8), run(3, 8)),
    "platform_info": (0x040, b"\x25\0\0\0\0\0\0\x80", PlatformInfo(0x8000000000000025)),
    "signature_algorithm": (0x034, b"\x02\x03\x04\x05", 0x05040302),
    "key_info": (0x048, b"\x04\x03\x02\x01", 0x01020304),
    "report_data": (0x050, run(4, 64), run(4, 64)),
    "measurement": (0x090, run(5, 48), run(5, 48)),
    "host_data": (0x0C0, run(6, 32), run(6, 32)),
    "id_key_digest": (0x0E0, run(7, 48), run(7, 48)),
    "author_key_digest": (0x110, run(8, 48), run(8, 48)),
    "report_id": (0x140, run(9, 32), run(9, 32)),
    "report_id_ma": (0x160, run(10, 32), run(10, 32)),
    "reported_tcb": (0x180, run(11, 8), run(11, 8)),
    "cpuid": (0x188, b"\x19\xa0\x02", (0x19, 0xA0, 0x02)),
    "chip_id": (0x1A0, run(12, 64), run(12, 64)),
    "committed_tcb": (0x1E0, run(13, 8), run(13, 8)),
    "current_firmware": (0x1E8, b"\x1d\x37\x01", Firmware(major=1, minor=55, build=29)),
    "committed_firmware": (0x1EC, b"\x1c\x36\x02", Firmware(major=2, minor=54, build=28)),
    "launch_tcb": (0x1F0, run(14, 8), run(14, 8)),
    "launch_mitigations": (0x1F8, b"\x01\x02\0\0\0\0\0\x80", 0x8000000000000201),
    "current_mitigations": (0x200, b"\x03\x04\0\0\0\0\0\x80", 0x8000000000000403),
    "signature_r": (0x2A0, bytes(47) + b"\x80", 0x80 << 47 * 8),
    "signature_s": (0x2E8, b"\xff" * 48, 2**384 - 1),
}


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_is_read_from_its_place_and_nothing_else_is(name: str) -> None:
    offset, value, expected = FIELDS[name]
    data = report(5, {offset: value})
    plain, changed = Report.read(report(5)), Report.read(data)
    assert getattr(changed, name) == expected
    differing = {name for name in Report._fields if getattr(plain, name) != getattr(changed, name)}
    assert differing == {name, "data"}
    assert changed.signed == data[:0x2A0]


def test_every_field_is_in_the_table() -> None:
    assert set(Report._fields) == {
        *FIELDS, "version", "policy", "policy_raw", "data",
    }  # fmt: skip


@pytest.mark.parametrize(("key_info", "author", "kind"), [(0, False, "vcek"), (5, True, "vlek")])
def test_the_bits_of_key_info(key_info: int, author: bool, kind: str) -> None:
    parsed = Report.parse(report(changes={0x048: bytes([key_info])}))
    assert (parsed.author_key_enabled, parsed.signing_key) == (author, kind)


POLICY_BITS = {
    "smt": 16, "migrate_ma": 18, "debug": 19, "single_socket": 20, "cxl": 21, "aes_256_xts": 22,
    "rapl_disabled": 23, "ciphertext_hiding": 24, "page_swap_disabled": 25,
}  # fmt: skip


@pytest.mark.parametrize("name", POLICY_BITS)
def test_a_bit_of_the_policy_means_this_and_only_this(name: str) -> None:
    value = 1 << 17 | 1 << POLICY_BITS[name]
    parsed = Report.parse(report(changes={0x008: value.to_bytes(8, "little")}))
    assert parsed.policy_raw == value
    assert {n for n in POLICY_BITS if getattr(parsed.policy, n)} == {name}
    assert (parsed.policy.abi_major, parsed.policy.abi_minor) == (0, 0)


def test_the_abi_of_the_policy() -> None:
    policy = GuestPolicy.of(0x3021F)
    assert (policy.abi_major, policy.abi_minor, policy.smt) == (2, 0x1F, True)


PLATFORM_BITS = {
    "smt": 0,
    "tsme": 1,
    "ecc": 2,
    "rapl_disabled": 3,
    "ciphertext_hiding": 4,
    "alias_check_complete": 5,
    "tio": 7,
}


@pytest.mark.parametrize(("name", "bit"), PLATFORM_BITS.items())
def test_a_bit_of_the_platform(name: str, bit: int) -> None:
    assert getattr(PlatformInfo(1 << bit), name) is True
    assert getattr(PlatformInfo(~(1 << bit) & (1 << 64) - 1), name) is False


@pytest.mark.parametrize("text", ["1.55.29", "0.0.0", "255.255.255"])
def test_firmware_is_read_as_it_is_written(text: str) -> None:
    assert str(Firmware.of(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "1", "1.55", "1.55.29.0", "1.55.", "1.055.0", "1.256.0", "-1.0.0", "1.5 .0", "1.५.0"],
)
def test_what_is_no_firmware_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(text))):
        Firmware.of(text)


def test_versions_before_3_and_5_have_fewer_fields() -> None:
    assert Report.parse(report(2)).cpuid is None
    assert Report.parse(report(3)).cpuid == (0, 0, 0)
    old, new = Report.parse(report(4)), Report.parse(report(5))
    assert (old.launch_mitigations, old.current_mitigations) == (None, None)
    assert (new.launch_mitigations, new.current_mitigations) == (0, 0)


@pytest.mark.parametrize("version", [2, 3, 4, 5])
def test_these_versions_are_read(version: int) -> None:
    assert Report.parse(report(version)).version == version


@pytest.mark.parametrize("version", [0, 1, 6, 0x0103, 0x03000003])
def test_other_versions_are_not_read_as_if_they_were(version: int) -> None:
    with refused(f"report_version_{version}"):
        Report.parse(report(changes={0: version.to_bytes(4, "little")}))


@pytest.mark.parametrize("algorithm", [0, 2, 1 << 8 | 1, 1 << 31 | 1])
def test_another_signature_algorithm(algorithm: int) -> None:
    with refused("report_signature_algorithm") as refusal:
        Report.parse(report(changes={0x034: algorithm.to_bytes(4, "little")}))
    assert (refusal.value.seen, refusal.value.wanted) == (str(algorithm), "1")


@pytest.mark.parametrize("version", ACCEPTED_VERSIONS)
def test_exactly_the_reserved_bytes_must_be_zero(version: int) -> None:
    with_a_form_of_their_own = {*range(0x000, 0x004), *range(0x008, 0x010), *range(0x034, 0x038)}
    with_a_form_of_their_own |= set(range(0x048, 0x04C))
    codes = {
        offset: code_of(partial(Report.parse, report(version, {offset: b"\x80"})))
        for offset in set(range(0x4A0)) - with_a_form_of_their_own
    }
    refused_at = {offset for offset, code in codes.items() if code}
    assert refused_at == reserved(version)
    assert {codes[offset] for offset in refused_at} == {"report_reserved"}


@pytest.mark.parametrize("bit", [*range(26, 64)])
def test_a_reserved_bit_of_the_policy(bit: int) -> None:
    with refused("report_reserved"):
        Report.parse(report(changes={0x008: (1 << 17 | 1 << bit).to_bytes(8, "little")}))


def test_the_bit_of_the_policy_that_must_be_set() -> None:
    with refused("report_reserved"):
        Report.parse(report(changes={0x008: bytes(8)}))


KEY_INFO = {
    **{1 << bit: "report_reserved" for bit in range(5, 32)},
    0b00010: "report_masked_key",
    0b00111: "report_masked_key",
    **{kind << 2: "report_signing_key" for kind in range(2, 8)},
}


@pytest.mark.parametrize("value", KEY_INFO)
def test_a_key_that_signed_nothing_or_is_unknown(value: int) -> None:
    with refused(KEY_INFO[value]):
        Report.parse(report(changes={0x048: value.to_bytes(4, "little")}))


@pytest.mark.parametrize("offset", [0x2A0, 0x2E8])
def test_no_signature_never_reaches_a_verifier(offset: int) -> None:
    with refused("report_signature"):
        Report.parse(report(changes={offset: bytes(48)}))


def test_a_refusal_shows_both_sides() -> None:
    with pytest.raises(EvidenceError, match=r"report version: seen 6; wanted 2, 3, 4 or 5"):
        Report.parse(report(6))


@given(st.one_of(st.binary(max_size=64), st.binary(min_size=0x4A0, max_size=0x4A0)))
@example(report())
@example(b"")
def test_any_bytes_are_a_report_or_refused(data: bytes) -> None:
    with suppress(EvidenceError):
        assert Report.parse(data).signed == data[:0x2A0]


@given(mutations(REAL))
def test_a_changed_report_is_read_or_refused(data: bytes) -> None:
    code = code_of(lambda: Report.parse(data))
    assert code.startswith("report_") if code else len(data) == len(REAL)
