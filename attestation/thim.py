"""What an Azure host says of its chip: the JSON of THIM (host-amd-cert in a security context).

    {"vcekCert": PEM, "tcbm": hex, "certificateChain": PEM of ASK and ARK, "cacheControl": "86400"}

The same text stands, in base64, in `host-amd-cert-base64` of an ACI security context and is
answered by the host's metadata service. Nothing of it is believed for being there: leaf and
intermediate go through `verify`, the root is only ever compared with a digest known beforehand,
and `tcbm` merely tells early that the host's certificate is older than its firmware.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sealserve.attestation import json_object, pem
from sealserve.attestation.tcb import TCB_BYTES
from sealserve.native.errors import EvidenceError

MAX_THIM_BYTES: Final = 32 * 1024  # the real ones have 6.7 KB

_TCBM: Final = re.compile(r"[0-9A-Fa-f]{1,16}")
_SECONDS: Final = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class HostCertificate:
    """Certificates of this chip as its host handed them over; none of them is checked.

    leaf, intermediate, root: DER. tcb: 8 bytes, in the order a report has them; the leaf was
    issued for it. cache_seconds: how long the host would keep the answer, None if it did not say.
    """

    leaf: bytes
    intermediate: bytes
    root: bytes
    tcb: bytes
    cache_seconds: int | None

    @classmethod
    def parse(cls, data: bytes) -> HostCertificate:
        """Read the JSON. Raises EvidenceError: thim_size, thim_malformed, pem_*; nothing else.

        Members we do not know are passed over, as the host may say more one day; a repeated
        member is refused.
        """
        if len(data) > MAX_THIM_BYTES:
            raise EvidenceError(
                "thim_size",
                "the host's certificate document is too long",
                seen=f"{len(data)} bytes",
                wanted=f"at most {MAX_THIM_BYTES}",
            )
        members = json_object.read(data, "thim_malformed")
        (leaf,) = pem.read(_text(members, "vcekCert").encode(), "CERTIFICATE")
        chain = pem.read(_text(members, "certificateChain").encode(), "CERTIFICATE", at_most=2)
        if len(chain) != 2:
            raise _malformed("certificateChain", "one certificate", "ASK, then ARK")
        return cls(leaf, *chain, tcb=_tcb(members), cache_seconds=_cache_seconds(members))


def _tcb(members: Mapping[str, object]) -> bytes:
    """`tcbm` is the TCB as a number, most significant digit first; a report has it reversed."""
    text = _text(members, "tcbm")
    if not _TCBM.fullmatch(text):
        raise _malformed("tcbm", repr(text)[:40], "1 to 16 hexadecimal digits")
    return int(text, 16).to_bytes(TCB_BYTES, "little")


def _cache_seconds(members: Mapping[str, object]) -> int | None:
    if "cacheControl" not in members:
        return None
    text = _text(members, "cacheControl")
    if not _SECONDS.fullmatch(text):
        raise _malformed("cacheControl", repr(text)[:40], "seconds, as a decimal string")
    return int(text)


def _text(members: Mapping[str, object], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str) or not value.isascii():
        raise _malformed(name, "nothing" if value is None else "something else", "a string")
    return value


def _malformed(member: str, seen: str, wanted: str) -> EvidenceError:
    return EvidenceError(
        "thim_malformed", f"{member} of the host's certificate document", seen=seen, wanted=wanted
    )
