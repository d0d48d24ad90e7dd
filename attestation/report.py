"""The ATTESTATION_REPORT of the AMD secure processor: 1184 bytes, little-endian.

Layout: AMD 56860 rev 1.58, ATTESTATION_REPORT, and its earlier revisions for versions 2 to 4.
Parsing knows no key and no policy. Every reserved range must be zero, inside the signed part
because anything else is a version we do not know, outside it because one report has one encoding.

`Report.read` gives the fields of anything of the right length; `FORM` are the checks of its form,
in their order. `Report.parse` is both: what it returns, every check has passed.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from sealserve.native.errors import EvidenceError

REPORT_BYTES: Final = 0x4A0
SIGNED_BYTES: Final = 0x2A0
ACCEPTED_VERSIONS: Final = (2, 3, 4, 5)  # 1 has no usable TCB; a later one is not read as 5
HOST_VMPL: Final = 0xFFFFFFFF  # the host asked for this report, not the guest

ECDSA_P384_SHA384: Final = 1
_SIGNATURE_R: Final = 0x2A0
_SIGNATURE_S: Final = 0x2E8
_SIGNATURE_COMPONENT_BYTES: Final = 72
_P384_BYTES: Final = 48

SigningKey = Literal["vcek", "vlek"]
_SIGNING_KEYS: Final[dict[int, SigningKey]] = {0: "vcek", 1: "vlek"}

# Everything before the CPUID bytes: version to reported TCB.
_HEAD: Final = struct.Struct("<IIQ16s16sII8sQI4x64s48s32s48s48s32s32s8s")
# CHIP_ID to LAUNCH_TCB; versions are build, minor, major.
_TAIL: Final = struct.Struct("<64s8s3sx3sx8s")
_HEAD_END: Final = 0x188
_CHIP_ID: Final = 0x1A0
_MITIGATION: Final = 0x1F8
_MITIGATIONS: Final = struct.Struct("<QQ")  # launch, current

_POLICY_RESERVED_ONE: Final = 1 << 17
_POLICY_RESERVED_ZERO: Final = ~((1 << 26) - 1) & (1 << 64) - 1
_KEY_INFO_RESERVED: Final = ~0x1F & 0xFFFFFFFF
_FIRMWARE: Final = re.compile(r"(?:(?:0|[1-9][0-9]{0,2})\.){2}(?:0|[1-9][0-9]{0,2})", re.ASCII)


@dataclass(frozen=True, slots=True)
class GuestPolicy:
    """POLICY, bits 25 to 0: what the guest's owner allowed at launch."""

    abi_major: int
    abi_minor: int
    smt: bool
    migrate_ma: bool
    debug: bool
    single_socket: bool
    cxl: bool
    aes_256_xts: bool
    rapl_disabled: bool
    ciphertext_hiding: bool
    page_swap_disabled: bool

    @classmethod
    @lru_cache(maxsize=64)  # owners of guests choose one of a few
    def of(cls, value: int) -> GuestPolicy:
        """Read the 64-bit field; reserved bits are the report parser's business."""
        return cls(
            abi_minor=value & 0xFF,
            abi_major=value >> 8 & 0xFF,
            smt=bool(value >> 16 & 1),
            migrate_ma=bool(value >> 18 & 1),
            debug=bool(value >> 19 & 1),
            single_socket=bool(value >> 20 & 1),
            cxl=bool(value >> 21 & 1),
            aes_256_xts=bool(value >> 22 & 1),
            rapl_disabled=bool(value >> 23 & 1),
            ciphertext_hiding=bool(value >> 24 & 1),
            page_swap_disabled=bool(value >> 25 & 1),
        )


@dataclass(frozen=True, slots=True)
class PlatformInfo:
    """PLATFORM_INFO. Bits we do not know are information, not an error; they stay in `raw`."""

    raw: int

    def _bit(self, position: int) -> bool:
        return bool(self.raw >> position & 1)

    @property
    def smt(self) -> bool:
        """Simultaneous multithreading is on."""
        return self._bit(0)

    @property
    def tsme(self) -> bool:
        """Transparent memory encryption is on."""
        return self._bit(1)

    @property
    def ecc(self) -> bool:
        """The memory has error correction."""
        return self._bit(2)

    @property
    def rapl_disabled(self) -> bool:
        """Power metering is off."""
        return self._bit(3)

    @property
    def ciphertext_hiding(self) -> bool:
        """The host cannot read the ciphertext of guest memory."""
        return self._bit(4)

    @property
    def alias_check_complete(self) -> bool:
        """The memory was checked for aliases (AMD-SB-3015); only reports from version 3 on know."""
        return self._bit(5)

    @property
    def tio(self) -> bool:
        """Trusted I/O (SEV-TIO) is on; only reports from version 5 on know."""
        return self._bit(7)


class Firmware(NamedTuple):
    """A version of the SEV firmware; ordered as people order versions."""

    major: int
    minor: int
    build: int

    @classmethod
    def of(cls, text: str) -> Firmware:
        """Read `1.55.29`. ValueError unless it is three numbers that fit a byte each."""
        if not _FIRMWARE.fullmatch(text):
            raise ValueError(f"{text!r} is not MAJOR.MINOR.BUILD")
        firmware = cls(*(int(part) for part in text.split(".")))
        if max(firmware.major, firmware.minor, firmware.build) > 255:
            raise ValueError(f"{text!r} has a number above 255")
        return firmware

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.build}"


class Report(NamedTuple):
    """Every field of one report. TCB versions stay raw: only the product line can read them.

    report_data: 64 bytes; measurement 48; host_data 32; chip_id 64; the four TCBs 8 each.
    cpuid: family, model, stepping; None before version 3. Mitigation vectors are None before 5.
    signature_r, signature_s: integers below 2**384. data: all of it.
    """

    version: int
    guest_svn: int
    policy: GuestPolicy
    policy_raw: int
    family_id: bytes
    image_id: bytes
    vmpl: int
    signature_algorithm: int
    current_tcb: bytes
    platform_info: PlatformInfo
    key_info: int
    report_data: bytes
    measurement: bytes
    host_data: bytes
    id_key_digest: bytes
    author_key_digest: bytes
    report_id: bytes
    report_id_ma: bytes
    reported_tcb: bytes
    cpuid: tuple[int, int, int] | None
    chip_id: bytes
    committed_tcb: bytes
    current_firmware: Firmware
    committed_firmware: Firmware
    launch_tcb: bytes
    launch_mitigations: int | None
    current_mitigations: int | None
    signature_r: int
    signature_s: int
    data: bytes

    @classmethod
    def parse(cls, data: bytes) -> Report:
        """Read a report. Raises EvidenceError with a code report_*, nothing else."""
        report = cls.read(data)
        for check in FORM:
            check(report)
        return report

    @classmethod
    def read(cls, data: bytes) -> Report:
        """The fields as they stand, by the layout of its version; nothing but the length is judged.

        A version before 2 has the layout of 2, one after 5 may have any: it is read like 5, to be
        looked at. Raises EvidenceError (report_length).
        """
        if len(data) != REPORT_BYTES:
            raise _refused("length", "length of the report", len(data), REPORT_BYTES)
        version, guest_svn, policy, family_id, image_id, vmpl, *more = _HEAD.unpack_from(data)
        algorithm, current, platform, key_info, told, measurement, host_data, *digests = more
        id_key, author_key, report_id, report_id_ma, reported = digests
        chip_id, committed, now, least, launch = _TAIL.unpack_from(data, _CHIP_ID)
        launch_mitigations, current_mitigations = _MITIGATIONS.unpack_from(data, _MITIGATION)
        return cls(  # by place, because a keyword each takes as long as all the reading
            version,
            guest_svn,
            GuestPolicy.of(policy),
            policy,
            family_id,
            image_id,
            vmpl,
            algorithm,
            current,
            PlatformInfo(platform),
            key_info,
            told,
            measurement,
            host_data,
            id_key,
            author_key,
            report_id,
            report_id_ma,
            reported,
            _cpuid(data) if version >= 3 else None,
            chip_id,
            committed,
            Firmware(now[2], now[1], now[0]),
            Firmware(least[2], least[1], least[0]),
            launch,
            launch_mitigations if version >= 5 else None,
            current_mitigations if version >= 5 else None,
            _component(data, _SIGNATURE_R),
            _component(data, _SIGNATURE_S),
            bytes(data),
        )

    @property
    def signed(self) -> bytes:
        """The bytes under the signature."""
        return self.data[:SIGNED_BYTES]

    @property
    def author_key_enabled(self) -> bool:
        """AUTHOR_KEY_DIGEST means something."""
        return bool(self.key_info & 1)

    @property
    def signing_key(self) -> SigningKey:
        """Which kind of key signed; EvidenceError if KEY_INFO names none, never after `parse`."""
        if self.key_info & 2:
            raise _refused("masked_key", "MASK_CHIP_KEY", 1, "0: the firmware signed nothing")
        selector = self.key_info >> 2 & 7
        if selector not in _SIGNING_KEYS:
            raise _refused("signing_key", "SIGNING_KEY", selector, "0 (VCEK) or 1 (VLEK)")
        return _SIGNING_KEYS[selector]


@lru_cache(maxsize=8)
def reserved_ranges(version: int) -> tuple[tuple[int, int], ...]:
    """The half-open ranges of a report of this version that must be zero."""
    return (
        (0x04C, 0x050),
        (0x188, 0x1A0) if version < 3 else (0x18B, 0x1A0),
        (0x1EB, 0x1EC),
        (0x1EF, 0x1F0),
        (0x1F8, 0x2A0) if version < 5 else (0x208, 0x2A0),
        (_SIGNATURE_R + _P384_BYTES, _SIGNATURE_S),
        (_SIGNATURE_S + _P384_BYTES, _SIGNATURE_S + _SIGNATURE_COMPONENT_BYTES),
        (_SIGNATURE_S + _SIGNATURE_COMPONENT_BYTES, REPORT_BYTES),
    )


@lru_cache(maxsize=8)
def _reserved_slices(version: int) -> tuple[tuple[slice, bytes], ...]:
    """The same ranges, each with what must stand there."""
    return tuple((slice(start, end), bytes(end - start)) for start, end in reserved_ranges(version))


def require_version(report: Report) -> None:
    """A version we know. Raises EvidenceError (report_version_N)."""
    version = report.version
    if version not in ACCEPTED_VERSIONS:
        raise _refused(f"version_{version}", "report version", version, "2, 3, 4 or 5")


def require_algorithm(report: Report) -> None:
    """ECDSA P-384 with SHA-384. Raises EvidenceError (report_signature_algorithm)."""
    algorithm = report.signature_algorithm
    if algorithm != ECDSA_P384_SHA384:
        raise _refused("signature_algorithm", "SIGNATURE_ALGO", algorithm, ECDSA_P384_SHA384)


def require_reserved(report: Report) -> None:
    """Reserved bytes and bits of its version. Raises EvidenceError (report_reserved)."""
    data = report.data
    for where, zeros in _reserved_slices(report.version):
        if data[where] != zeros:
            raise _refused(
                "reserved",
                f"reserved bytes 0x{where.start:x} to 0x{where.stop:x}",
                "not all zero",
                "zero",
            )
    policy = report.policy_raw
    if not policy & _POLICY_RESERVED_ONE or policy & _POLICY_RESERVED_ZERO:
        raise _refused(
            "reserved", "reserved bits of POLICY", f"0x{policy:x}", "bit 17 set, 63 to 26 clear"
        )
    if report.key_info & _KEY_INFO_RESERVED:
        raise _refused("reserved", "reserved bits of KEY_INFO", f"0x{report.key_info:x}", "zero")


def require_signing_key(report: Report) -> None:
    """A key that signed. Raises EvidenceError (report_masked_key, report_signing_key)."""
    _ = report.signing_key


def require_signature_form(report: Report) -> None:
    """No component of a signature is zero. Raises EvidenceError (report_signature)."""
    if 0 in (report.signature_r, report.signature_s):
        raise _refused("signature", "a component of the signature", "zero", "a number above zero")


FORM: Final[tuple[Callable[[Report], None], ...]] = (
    require_version,
    require_algorithm,
    require_reserved,
    require_signing_key,
    require_signature_form,
)


def _cpuid(data: bytes) -> tuple[int, int, int]:
    family, model, stepping = data[_HEAD_END : _HEAD_END + 3]
    return family, model, stepping


def _component(data: bytes, start: int) -> int:
    return int.from_bytes(data[start : start + _P384_BYTES], "little")


def _refused(what: str, subject: str, seen: object, wanted: object) -> EvidenceError:
    return EvidenceError(f"report_{what}", subject, seen=str(seen), wanted=str(wanted))
