"""Who vouches for the simulated "image": a root of its own, and statements as Microsoft signs them.

A statement is a COSE_Sign1 in one of the two forms that real machines carry:

    "json"   header: content type, iss, feed, signingtime; payload: JSON with measurement and SVN
    "hash"   header: CWT claims (iss, sub, iat, svn), COSE hash envelope; payload: the measurement

Real ones also carry a time stamp or a ledger's receipt in their unprotected header, which no
signature covers and no check here reads; nobody simulates those two services.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from sealserve.attestation.roots import SIMULATED_ORGANIZATION
from sealserve.attestation.simulated import issue_uvm, kept
from sealserve.attestation.simulated.root import new_key, validity

UvmForm = Literal["json", "hash"]

FEED: Final = "ContainerPlat-AMD-UVM"  # what Microsoft calls its own
SVN: Final = 104  # what Microsoft's images had reached in 2026

_FORM: Final = kept.Form(
    "simulated-endorser.pem",
    b"# Endorser of a simulated platform. It proves nothing about hardware.\n",
    "simulated endorser",
    keys=2,
)
_TIME: Final = 1  # CBOR tag, RFC 8949, section 3.4.2
_SIGN1: Final = 18  # CBOR tag, RFC 9052, section 2
_PS384: Final = -38
_SHA256: Final = -16  # RFC 9054, section 2.1
_SHA384: Final = -43
_BY_USAGE: Final = f"eku:{issue_uvm.UVM_EKU}"


@dataclass(frozen=True)
class Statement:
    """What is said, and how: a fault of a machine replaces exactly one thing.

    predicate: what the did:x509 of the issuer asks of the leaf. usages, organization, leaf_age and
    leaf_lifetime (from the signing time back, and on): of the certificates. media_type: "" for the
    form's own. strange_key: not the leaf's signs; strange_digest: x5t is of something else;
    rootless: the chain ends below its root.
    """

    measurement: bytes
    form: UvmForm = "json"
    svn: int = SVN
    feed: str = FEED
    predicate: str = _BY_USAGE
    usages: tuple[str, ...] = (issue_uvm.PLATFORM_EKU, issue_uvm.UVM_EKU)
    organization: str = SIMULATED_ORGANIZATION
    leaf_age: timedelta = timedelta(days=1)
    leaf_lifetime: timedelta = timedelta(days=365)
    algorithm: int = _PS384
    media_type: str = ""
    strange_key: bool = False
    strange_digest: bool = False
    rootless: bool = False


@dataclass(frozen=True, repr=False)
class SimulatedEndorser:
    """Keys and certificates (DER) of a simulated root and of the CA under it."""

    root_key: rsa.RSAPrivateKey
    ca_key: rsa.RSAPrivateKey
    root: bytes
    ca: bytes

    @property
    def issuer(self) -> str:
        """The did:x509 a verifier must be given: `uvm_issuer` of a trust file."""
        return _did(self.root, _BY_USAGE)

    @classmethod
    def create(cls, now: datetime) -> SimulatedEndorser:
        """A new endorser, valid for ten years. Takes seconds: two RSA-4096 keys."""
        return cls.of(new_key(), new_key(), now)

    @classmethod
    def of(
        cls, root_key: rsa.RSAPrivateKey, ca_key: rsa.RSAPrivateKey, now: datetime
    ) -> SimulatedEndorser:
        """The endorser that these keys make."""
        window = validity(now)
        root = issue_uvm.root(root_key, window)
        return cls(
            root_key, ca_key, root, issue_uvm.authority(ca_key.public_key(), root_key, window)
        )

    @classmethod
    def load_or_create(cls, directory: str | os.PathLike[str]) -> SimulatedEndorser:
        """The endorser kept in this directory; made there on first use.

        Raises ConfigError and UnavailableError as `kept.load_or_create`.
        """
        found = kept.load_or_create(directory, _FORM, lambda: _kept(cls.create(datetime.now(UTC))))
        (root_key, ca_key), (root, ca) = found.keys, found.certificates
        return cls(root_key, ca_key, root, ca)

    def endorse(self, said: Statement, now: datetime) -> bytes:
        """The endorsement that says this at this time: COSE_Sign1, by a new key under this root."""
        key = rsa.generate_private_key(65537, 3072)
        chain = self._chain(said, key.public_key(), now)
        protected = cbor2.dumps(_HEADERS[said.form](said, chain, int(now.timestamp())))
        payload = _PAYLOADS[said.form](said)
        signer = rsa.generate_private_key(65537, 3072) if said.strange_key else key
        signature = _sign(signer, cbor2.dumps(["Signature1", protected, b"", payload]))
        return cbor2.dumps(cbor2.CBORTag(_SIGN1, [protected, {}, payload, signature]))

    def _chain(self, said: Statement, key: rsa.RSAPublicKey, now: datetime) -> _Chain:
        """Leaf for this key, CA, root; the two upper ones anew where they say something else."""
        ca, root = self.ca, self.root
        if said.organization != SIMULATED_ORGANIZATION:
            window, named = validity(now), said.organization
            root = issue_uvm.root(self.root_key, window, named)
            ca = issue_uvm.authority(self.ca_key.public_key(), self.root_key, window, named)
        start = now - said.leaf_age
        window = (start, start + said.leaf_lifetime)
        leaf = issue_uvm.signer(key, self.ca_key, window, said.usages, said.organization)
        return leaf, ca, root


_Chain = tuple[bytes, bytes, bytes]


def _did(root: bytes, predicate: str) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(root).digest()).rstrip(b"=")
    return f"did:x509:0:sha256:{digest.decode('ascii')}::{predicate}"


def _sign(key: rsa.RSAPrivateKey, data: bytes) -> bytes:
    """PS384: RFC 8230, section 2."""
    scheme = padding.PSS(mgf=padding.MGF1(hashes.SHA384()), salt_length=48)
    return key.sign(data, scheme, hashes.SHA384())


def _certified(said: Statement, chain: _Chain) -> dict[object, object]:
    """x5chain and x5t."""
    digest = hashlib.sha256(chain[0]).digest()
    return {
        33: [*chain[:-1]] if said.rootless else [*chain],
        34: [_SHA256, bytes(len(digest)) if said.strange_digest else digest],
    }


def _json_header(said: Statement, chain: _Chain, seconds: int) -> dict[object, object]:
    return {
        1: said.algorithm,
        3: said.media_type or "application/json",
        **_certified(said, chain),
        "iss": _did(chain[-1], said.predicate),
        "feed": said.feed,
        "signingtime": cbor2.CBORTag(_TIME, seconds),
    }


def _hash_header(said: Statement, chain: _Chain, seconds: int) -> dict[object, object]:
    return {
        1: said.algorithm,
        15: {
            1: _did(chain[-1], said.predicate),
            2: said.feed,
            6: cbor2.CBORTag(_TIME, seconds),
            "svn": said.svn,
        },
        **_certified(said, chain),
        258: _SHA384,
        259: said.media_type or "application/octet-stream",
    }


def _json_payload(said: Statement) -> bytes:
    """Indented as Microsoft's signer writes it."""
    members = {
        "x-ms-sevsnpvm-launchmeasurement": said.measurement.hex(),
        "x-ms-sevsnpvm-guestsvn": str(said.svn),
        "x-ms-sevsnpvm-guestsvn-int": said.svn,
    }
    return json.dumps(members, indent=2).encode("ascii") + b"\n"


def _hash_payload(said: Statement) -> bytes:
    return said.measurement


_HEADERS: Final = {"json": _json_header, "hash": _hash_header}
_PAYLOADS: Final = {"json": _json_payload, "hash": _hash_payload}


def _kept(endorser: SimulatedEndorser) -> kept.Kept:
    return kept.Kept((endorser.root_key, endorser.ca_key), (endorser.root, endorser.ca))
