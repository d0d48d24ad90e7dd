"""An issuer of endorsements of our own, and messages of both forms with one thing changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils

from support.attestation_x509 import (
    AT,
    INTERMEDIATE,
    NO_CA,
    ROOT,
    Spec,
    chain,
    common_name,
    did,
    ec_key,
    rsa_key,
    usage,
)

EKU = "1.3.6.1.4.1.311.76.59.1.2"
FEED = "ContainerPlat-AMD-UVM"
SVN = 104
MEASUREMENT = bytes(range(48))
SIGNED_AT = cbor2.CBORTag(1, int(AT.timestamp()))
DROP = object()  # in place of a value: leave the label out

Header = Mapping[Any, object]
NOTHING: Header = MappingProxyType({})


@dataclass(frozen=True)
class Issuer:
    """A chain (DER, leaf first) and the key of its leaf."""

    chain: Sequence[bytes]
    key: Any

    @property
    def did(self) -> str:
        """The root and the purpose of the leaf."""
        return did(self.chain[-1], f"eku:{EKU}")

    def form_a(self, header: Header = NOTHING, payload: object = None, **sign: Any) -> bytes:
        """A message of form A; header: labels changed, added or dropped."""
        told = {
            **{1: -38, 3: "application/json", **self._x5()},
            **{"iss": self.did, "feed": FEED, "signingtime": SIGNED_AT},
        }
        return self.signed(
            _changed(told, header), json_payload() if payload is None else payload, **sign
        )

    def form_b(
        self,
        header: Header = NOTHING,
        claims: Header = NOTHING,
        payload: object = MEASUREMENT,
        **sign: Any,
    ) -> bytes:
        """A message of form B; claims: CWT claims changed, added or dropped."""
        cwt = _changed({1: self.did, 2: FEED, 6: SIGNED_AT, "svn": SVN}, claims)
        told = {1: -38, 15: cwt, **self._x5(), 258: -43, 259: "application/octet-stream"}
        return self.signed(_changed(told, header), payload, **sign)

    def signed(
        self,
        header: Header | bytes,
        payload: object,
        *,
        unprotected: Header = NOTHING,
        key: Any = None,
    ) -> bytes:
        """COSE_Sign1 over this header (or its bytes) and payload, by the leaf's key or another."""
        protected = header if isinstance(header, bytes) else cbor2.dumps(header)
        algorithm = None if isinstance(header, bytes) else header.get(1)
        signed = cbor2.dumps(["Signature1", protected, b"", payload])
        signature = signature_of(self.key if key is None else key, algorithm, signed)
        return cbor2.dumps(cbor2.CBORTag(18, [protected, unprotected, payload, signature]))

    def _x5(self) -> dict[int, object]:
        return {33: list(self.chain), 34: [-16, hashlib.sha256(self.chain[0]).digest()]}


def _changed(header: Header, changes: Header) -> dict[Any, object]:
    return {label: value for label, value in {**header, **changes}.items() if value is not DROP}


def json_payload(
    measurement: object = MEASUREMENT.hex(), svn: object = str(SVN), **members: object
) -> bytes:
    """The payload of form A."""
    told = {
        "x-ms-sevsnpvm-launchmeasurement": measurement,
        "x-ms-sevsnpvm-guestsvn": svn,
        **members,
    }
    return json.dumps({name: value for name, value in told.items() if value is not DROP}).encode()


DIGESTS = {
    -37: hashes.SHA256(), -38: hashes.SHA384(), -39: hashes.SHA512(),
    -7: hashes.SHA256(), -35: hashes.SHA384(), -36: hashes.SHA512(),
}  # fmt: skip


def signature_of(key: Any, algorithm: object, signed: bytes) -> bytes:
    """A COSE signature with the algorithm of this number, or PS384 if it has none."""
    digest = DIGESTS.get(algorithm if type(algorithm) is int else 0, hashes.SHA384())
    if isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = utils.decode_dss_signature(key.sign(signed, ec.ECDSA(digest)))
        size = (key.key_size + 7) // 8
        return r.to_bytes(size) + s.to_bytes(size)
    scheme = padding.PSS(padding.MGF1(digest), digest.digest_size)
    signature: bytes = key.sign(signed, scheme, digest)
    return signature


def leaf_spec(organization: str = "Example", **changes: Any) -> Spec:
    """The certificate of a signer of endorsements."""
    told = {
        "subject": common_name("Signer", organization),
        "key": rsa_key("signer"),
        "extensions": (
            NO_CA,
            (usage("digital_signature"), True),
            (x509.ExtendedKeyUsage([x509.ObjectIdentifier(EKU)]), False),
        ),
    }
    return Spec(**{**told, **changes})


def issuer(
    leaf: Spec | None = None, intermediate: Spec = INTERMEDIATE, root: Spec = ROOT
) -> Issuer:
    """An issuer with these certificates."""
    leaf = leaf or leaf_spec()
    return Issuer(chain(leaf, intermediate, root), leaf.key)


def issuer_of(*organizations: str) -> Issuer:
    """An issuer whose leaf, intermediate and root belong to these organizations."""
    leaf, intermediate, root = organizations
    return issuer(
        leaf_spec(leaf),
        Spec(common_name("Intermediate", intermediate), ec_key("intermediate")),
        Spec(common_name("Root", root), ec_key("root")),
    )


@cache
def good() -> Issuer:
    """An issuer with nothing odd."""
    return issuer()
