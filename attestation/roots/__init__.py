"""Whom a verifier believes: AMD's three root keys, or one simulated root handed over by digest.

The certificates beside this file are AMD's nine CAs (ARK, ASK, ASVK of Milan, Genoa and Turin) as
AMD's key distribution service serves them. Each is compared with its digest below when it is
loaded, so a changed file is noticed before it is believed.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NoReturn

from sealserve.attestation import pem
from sealserve.attestation.certs import Certificate, Name, require_signature
from sealserve.attestation.report import SigningKey
from sealserve.attestation.tcb import LINES, Line
from sealserve.native.errors import EvidenceError, IntegrityError

Platform = Literal["snp", "simulated"]

AMD_ORGANIZATION: Final = "Advanced Micro Devices"
SIMULATED_ORGANIZATION: Final = "sealserve simulated platform, not AMD"

# SHA-256 of the certificates in DER. Five independent verifiers ship the same bytes.
ARK_SHA256: Final[Mapping[Line, str]] = {
    "milan": "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd",
    "genoa": "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1",
    "turin": "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a",
}
ASK_SHA256: Final[Mapping[Line, str]] = {
    "milan": "67d303bd3905fd38db8b20e0793699870e7fa612eaad5dec358293fd8c0bac1b",
    "genoa": "5464738c1546aed5f2cecf1dc98c5c960a92e8913238a61711bc90ec6e828521",
    "turin": "5b77ef5fe7a7a004fd9032668fba9d0fda22f88c4442069a479636a6ae3b3185",
}
ASVK_SHA256: Final[Mapping[Line, str]] = {
    "milan": "c5e081f59b7efab1fe2f8b505e159704e72f29cab7ef7cf628a05a42439082f5",
    "genoa": "197e610743a917d6b9bb982a5a9226ccc0a15b611be0619e626aca9151457372",
    "turin": "104e10a8bd060a3c20a434261a57d0588fd65a88915b4f65b08bdecaf8df1a3c",
}

_LINES_BY_NAME: Final[Mapping[str, Line]] = {f"ARK-{line.capitalize()}": line for line in LINES}


@dataclass(frozen=True, slots=True)
class Roots:
    """The root certificates one verifier accepts, and what all subjects under them must say.

    digests: SHA-256 of each accepted ARK. shipped: whether we carry them ourselves.
    """

    platform: Platform
    organization: str
    digests: frozenset[bytes]
    shipped: bool

    @classmethod
    def amd(cls) -> Roots:
        """AMD's roots for real hardware, by value."""
        return _amd()

    @classmethod
    def simulated(cls, sha256: bytes) -> Roots:
        """One simulated root, by the SHA-256 (32 bytes) of its certificate.

        ValueError for another length and for a root of AMD's: simulated and real never mix.
        """
        if len(sha256) != 32:
            raise ValueError(f"the digest has {len(sha256)} bytes; wanted 32")
        if sha256.hex() in ARK_SHA256.values():
            raise ValueError("this digest is a root of AMD's, not a simulated one")
        return cls("simulated", SIMULATED_ORGANIZATION, frozenset({sha256}), shipped=False)

    def anchor(self, issuer: Name, carried: bytes | None) -> Certificate:
        """The accepted root with this name. Raises as `require_trusted` and `root`."""
        self.require_trusted(issuer, carried)
        return self.root(issuer, carried)

    def require_trusted(self, issuer: Name, carried: bytes | None) -> None:
        """The root with this name is one we accept. Raises EvidenceError (untrusted_root).

        carried: the root that came with the evidence, believed only for its digest.
        """
        if carried is None:
            if self._shipped_root(issuer) is None:
                self._refuse("root of the chain", f"{issuer.common_name}, {issuer.organization}")
            return
        digest = hashlib.sha256(carried).digest()
        if digest not in self.digests:
            self._refuse("SHA-256 of the root certificate", digest.hex())

    def root(self, issuer: Name, carried: bytes | None) -> Certificate:
        """The trusted root, once `require_trusted` accepted the same; signed by its own key.

        Raises EvidenceError: chain_names, root_signature, or what parsing raises.
        """
        if carried is not None:
            return _self_signed(carried)
        root = self._shipped_root(issuer)
        if root is None:
            raise ValueError("this root was not accepted before")
        return root

    def _shipped_root(self, issuer: Name) -> Certificate | None:
        line = _LINES_BY_NAME.get(issuer.common_name) if self.shipped else None
        return ark(line) if line and ark(line).subject.der == issuer.der else None

    def _refuse(self, what: str, seen: str) -> NoReturn:
        raise EvidenceError(
            "untrusted_root", what, seen=seen, wanted=self._wanted(), hint=self._hint()
        )

    def _wanted(self) -> str:
        return " or ".join(sorted(digest.hex() for digest in self.digests))

    def _hint(self) -> str:
        if self.platform == "snp":
            return "a simulated machine passes only where its own root is expected"
        return "real hardware, or another simulated root, is not what is expected here"


def intermediate(line: Line, kind: SigningKey) -> bytes:
    """AMD's ASK (for a VCEK) or ASVK (for a VLEK) of this line, DER."""
    name, digests = ("ask", ASK_SHA256) if kind == "vcek" else ("asvk", ASVK_SHA256)
    return _shipped(f"{line}_{name}.pem", digests[line])


@functools.cache
def ark(line: Line) -> Certificate:
    """AMD's root of this line, its own signature checked; read when first asked for."""
    return _self_signed(_shipped(f"{line}_ark.pem", ARK_SHA256[line]))


@functools.cache
def _amd() -> Roots:
    digests = frozenset(bytes.fromhex(digest) for digest in ARK_SHA256.values())
    return Roots("snp", AMD_ORGANIZATION, digests, shipped=True)


@functools.cache
def _shipped(file: str, sha256: str) -> bytes:
    try:
        (data,) = pem.read((Path(__file__).parent / file).read_bytes(), "CERTIFICATE")
    except EvidenceError:
        data = b""
    if hashlib.sha256(data).hexdigest() != sha256:
        raise IntegrityError(
            f"{file} of this installation is not AMD's certificate", hint="install sealserve again"
        )
    return data


@functools.lru_cache(maxsize=8)
def _self_signed(data: bytes) -> Certificate:
    """Parse a root and check its own signature; both once per process."""
    root = Certificate.parse(data)
    if root.issuer.der != root.subject.der:
        raise EvidenceError(
            "chain_names",
            "issuer of the root",
            seen=root.issuer.common_name,
            wanted=root.subject.common_name,
        )
    require_signature(root.spki, root.signature, root.signed, "root_signature")
    return root
