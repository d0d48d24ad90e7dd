"""Claims of Azure's attestation tokens, as far as release policies name them.

Names and types: MicrosoftDocs/azure-docs, confidential containers attestation concepts; the
published tokens in tests/vectors/policy/release have every one of them but the newest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sealserve.policy.release import Equals, json_text
from sealserve.policy.release_build import (
    ATTESTATION_TYPE,
    COMPLIANCE_STATUS,
    COMPLIANT,
    DEBUGGABLE,
    ENDORSED_BY,
    HOST_DATA,
    MEASUREMENT,
    SIMULATED_COMPLIANT,
    VMPL,
)

# Where a confidential VM's token has the claims of its report.
NESTED: Final = "x-ms-isolation-tee."
SNP: Final = "x-ms-sevsnpvm-"
ENDORSEMENT: Final = f"{SNP}uvm-endorsement"

# What is in a claim, by what `x-ms-compliance-status` says; anything else is nobody's status.
STATUSES: Final[Mapping[str, str]] = {
    COMPLIANT: "a compliant confidential container of Azure's",
    "azure-signed-katacc-uvm": "a compliant confidential Kata container of Azure's",
    "azure-compliant-cvm": "a compliant confidential VM of Azure's",
    SIMULATED_COMPLIANT: "SIMULATED: it proves nothing about hardware",
}


@dataclass(frozen=True)
class Form:
    """What a claim's values look like as JSON text. said: for people."""

    said: str
    pattern: re.Pattern[str]

    @classmethod
    def hexadecimal(cls, digits: int) -> Form:
        """So many digits in lower case."""
        return cls(
            f"{digits} hexadecimal digits in lower case", re.compile(f"[0-9a-f]{{{digits}}}")
        )

    def fits(self, value: object) -> bool:
        """Whether a claim can have this value."""
        return self.pattern.fullmatch(json_text(value) or "") is not None


BOOLEAN: Final = Form("true or false", re.compile("true|false"))
NUMBER: Final = Form("a number without leading zeros", re.compile("0|[1-9][0-9]*"))
TEXT: Final = Form("a text", re.compile(r".+", re.DOTALL))
NO_VALUE: Final = Form("one of its members: it is an object itself", re.compile(r"(?!)"))

_BOOLEANS = (
    "is-debuggable",
    "migration-allowed",
    "smt-allowed",
    "ciphertext-hiding-dram-enabled",
    "cxl-allowed",
    "mem-aes256-xts-required",
    "page-swap-disabled",
    "rapl-disabled",
    "singlesocket",
)
SVNS: Final = ("bootloader-svn", "tee-svn", "snpfw-svn", "microcode-svn")
_DIGESTS = {
    "hostdata": 64,
    "reportdata": 128,
    "reportid": 64,
    "launchmeasurement": 96,
    "authorkeydigest": 96,
    "idkeydigest": 96,
    "familyId": 32,
    "imageId": 32,
    "chipid": 128,
}
KNOWN: Final[Mapping[str, Form]] = {
    "iss": TEXT,
    "x-ms-ver": TEXT,
    "x-ms-policy-hash": TEXT,
    "x-ms-policy-signer": NO_VALUE,
    "x-ms-runtime": NO_VALUE,
    "x-ms-inittime": NO_VALUE,
    ATTESTATION_TYPE: TEXT,
    COMPLIANCE_STATUS: TEXT,
    f"{SNP}chip-family": TEXT,
    **{f"{SNP}{name}": BOOLEAN for name in _BOOLEANS},
    **{f"{SNP}{name}": NUMBER for name in ("vmpl", "guestsvn", *SVNS)},
    **{f"{SNP}{name}": Form.hexadecimal(digits) for name, digits in _DIGESTS.items()},
    ENDORSEMENT: NO_VALUE,
    f"{ENDORSEMENT}.{SNP}guestsvn": NUMBER,
    f"{ENDORSEMENT}.{MEASUREMENT}": Form.hexadecimal(96),
    ENDORSED_BY: NO_VALUE,
    f"{ENDORSED_BY}.iss": TEXT,
    f"{ENDORSED_BY}.feed": TEXT,
}

# Other in each token, or in each start of a machine: no key is released on them twice.
FLEETING: Final = ("exp", "iat", "jti", "nbf", "nonce", f"{SNP}reportdata", f"{SNP}reportid")

_DIGEST: Final = Form.hexadecimal(64)
_NAMES: Final[Mapping[str, str]] = {
    MEASUREMENT: "what was launched (its measurement)",
    f"{ENDORSED_BY}.iss": "who endorsed the launch",
    f"{ENDORSED_BY}.feed": "for which feed the launch was endorsed",
    f"{ENDORSEMENT}.{SNP}guestsvn": "the version of the endorsement",
    f"{SNP}chip-family": "the processor line",
    f"{SNP}chipid": "the chip",
    f"{SNP}idkeydigest": "the key that signed the ID block",
    f"{SNP}authorkeydigest": "the author of the ID key",
    **{f"{SNP}{name}": f"the firmware's {name}" for name in SVNS},
    f"{SNP}smt-allowed": "simultaneous multithreading",
    f"{SNP}migration-allowed": "migration agents",
}


def plain_name(clause: Equals) -> str:
    """The claim, without the place where a confidential VM's token has it."""
    return clause.name.removeprefix(NESTED)


def execution_policy(clause: Equals) -> bytes | None:
    """The HOST_DATA a clause asks for; None if it asks for another claim, or for no digest."""
    text = json_text(clause.value)
    asked = plain_name(clause) == HOST_DATA and text is not None and _DIGEST.fits(text)
    return bytes.fromhex(text) if asked and text is not None else None


def meaning(clause: Equals) -> str:
    """What a clause asks for in words, "" where its name says it best."""
    name, text = plain_name(clause), json_text(clause.value) or ""
    if name == ATTESTATION_TYPE:
        return {"sevsnpvm": "an AMD SEV-SNP machine", "tdxvm": "an Intel TDX machine"}.get(text, "")
    if name == COMPLIANCE_STATUS:
        return STATUSES.get(text, "")
    if name == HOST_DATA:
        return "the machine runs under this execution policy"
    if name == DEBUGGABLE:
        return {"false": "no debug mode", "true": "DEBUG MODE: the host reads its memory"}.get(
            text, ""
        )
    if name == VMPL:
        return "the guest's most privileged level asked" if text == "0" else f"VMPL {text} asked"
    return _NAMES.get(name, "")
