"""What an Azure confidential VM keeps in its vTPM: the HCL report around a report of AMD's.

    0      "HCLA", u32 version, u32 bytes in all, u32 request type, u32 status, 12 reserved bytes
    0x20   ATTESTATION_REPORT, 1184 bytes
    0x4C0  u32 bytes of this part, u32 version, u32 report type, u32 hash type, u32 bytes of JSON
    0x4D4  runtime data: JSON, whose SHA-256 and 32 zero bytes are the report's REPORT_DATA
    ...    zeros, up to the size of the NV index (0x01400001)

Little-endian. Microsoft, "Azure confidential VM guest attestation design", section "Attestation
report"; versions, sizes and zeros as measured on five machines of 2022 to 2025. The runtime data
names the vTPM's attestation key, so that a quote by that key (`tpm`) speaks for the same machine.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa

from sealserve.attestation import json_object
from sealserve.attestation.binding import unb64url
from sealserve.attestation.report import REPORT_BYTES
from sealserve.native.errors import EvidenceError

MAX_HCL_BYTES: Final = 16 * 1024  # the real ones have 2048 and 2600
MAX_RUNTIME_BYTES: Final = 8 * 1024  # the largest we hold has 1200
ATTESTATION_KEY: Final = "HCLAkPub"
ATTESTATION_KEY_BITS: Final = 2048  # what the vTPM of Azure makes

_HEADER: Final = struct.Struct("<4sIIII12s")
_RUNTIME: Final = struct.Struct("<IIIII")
_REPORT_START: Final = 0x20
_RUNTIME_START: Final = _REPORT_START + REPORT_BYTES
_JSON_START: Final = _RUNTIME_START + _RUNTIME.size
_SIGNATURE: Final = b"HCLA"
_VERSIONS: Final = (1, 2)
_REQUEST_REPORT: Final = 2
_RUNTIME_VERSION: Final = 1
_SNP: Final = 2  # 4 is TDX
_SHA256: Final = 1  # 2 and 3 are SHA-384 and SHA-512


@dataclass(frozen=True, slots=True)
class HclReport:
    """A report of AMD's, and the runtime data that it was made for. Neither is checked.

    report: 1184 bytes. runtime: the JSON as it was hashed.
    """

    report: bytes
    runtime: bytes

    @classmethod
    def parse(cls, data: bytes) -> HclReport:
        """Read a blob. Raises EvidenceError (hcl_size, hcl_malformed), nothing else."""
        if not _JSON_START < len(data) <= MAX_HCL_BYTES:
            raise EvidenceError(
                "hcl_size",
                "length of the HCL report",
                seen=f"{len(data)} bytes",
                wanted=f"{_JSON_START + 1} to {MAX_HCL_BYTES}",
            )
        size = _runtime_bytes(data)
        end = _JSON_START + size
        _require_header(data, end)
        if any(data[end:]):
            raise _malformed("bytes after the runtime data", "not all zero", "zero")
        return cls(data[_REPORT_START:_RUNTIME_START], data[_JSON_START:end])


def attestation_key(runtime: bytes) -> rsa.RSAPublicKey:
    """The vTPM's attestation key that this runtime data names.

    It speaks for a machine once that machine's REPORT_DATA was compared with the same bytes.
    Raises EvidenceError (hcl_runtime, hcl_key).
    """
    if len(runtime) > MAX_RUNTIME_BYTES:
        raise EvidenceError(
            "hcl_runtime",
            "runtime data is too long",
            seen=f"{len(runtime)} bytes",
            wanted=f"at most {MAX_RUNTIME_BYTES}",
        )
    keys = json_object.read(runtime, "hcl_runtime").get("keys")
    found = [key for key in keys if _is_attestation_key(key)] if isinstance(keys, list) else []
    if len(found) != 1:
        raise _bad_key(f"{len(found)} keys of that name", "one")
    return _rsa_key(found[0])


def _is_attestation_key(entry: object) -> bool:
    return isinstance(entry, dict) and entry.get("kid") == ATTESTATION_KEY


def _rsa_key(jwk: Mapping[str, object]) -> rsa.RSAPublicKey:
    modulus, exponent = jwk.get("n"), jwk.get("e")
    if jwk.get("kty") != "RSA" or not isinstance(modulus, str) or not isinstance(exponent, str):
        raise _bad_key("another type of key", "RSA, with n and e")
    try:
        key = rsa.RSAPublicNumbers(_number(exponent), _number(modulus)).public_key()
    except ValueError as error:
        raise _bad_key("n and e that are no RSA key", "an RSA key in base64url") from error
    if key.key_size != ATTESTATION_KEY_BITS:
        raise _bad_key(f"{key.key_size} bits", f"{ATTESTATION_KEY_BITS}")
    return key


def _number(text: str) -> int:
    return int.from_bytes(unb64url(text), "big")


def _runtime_bytes(data: bytes) -> int:
    """Length of the JSON, once every field in front of it has its one value."""
    part, version, report_type, hash_type, size = _RUNTIME.unpack_from(data, _RUNTIME_START)
    fields = {
        "version of the runtime data": (version, _RUNTIME_VERSION),
        "report type": (report_type, _SNP),
        "hash type": (hash_type, _SHA256),
        "length of the runtime data": (part, _RUNTIME.size + size),
    }
    _require_fields(fields)
    if not 0 < size <= min(MAX_RUNTIME_BYTES, len(data) - _JSON_START):
        raise _malformed("length of the JSON", str(size), f"1 to {len(data) - _JSON_START}")
    return int(size)


def _require_header(data: bytes, end: int) -> None:
    signature, version, size, request, status, reserved = _HEADER.unpack_from(data)
    if signature != _SIGNATURE:
        raise _malformed("signature", signature.hex(), f"{_SIGNATURE.hex()}, HCLA")
    if version not in _VERSIONS:
        raise _malformed("version", str(version), "1 or 2")
    if any(reserved):
        raise _malformed("reserved bytes", "not all zero", "zero")
    _require_fields(
        {
            "length in the header": (size, end),
            "request type": (request, _REQUEST_REPORT),
            "status": (status, 0),
        }
    )


def _require_fields(fields: Mapping[str, tuple[int, int]]) -> None:
    for what, (seen, wanted) in fields.items():
        if seen != wanted:
            raise _malformed(what, str(seen), str(wanted))


def _malformed(what: str, seen: str, wanted: str) -> EvidenceError:
    return EvidenceError("hcl_malformed", f"HCL report: {what}", seen=seen, wanted=wanted)


def _bad_key(seen: str, wanted: str) -> EvidenceError:
    return EvidenceError(
        "hcl_key", f"{ATTESTATION_KEY} in the runtime data", seen=seen, wanted=wanted
    )
