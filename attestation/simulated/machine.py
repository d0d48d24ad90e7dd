"""A simulated machine: certificates issued at its start, and a report whenever one is asked for.

The report has AMD's exact layout and is signed the way the firmware signs, so that the production
verifier runs unchanged on it.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from sealserve.attestation import tcb
from sealserve.attestation.binding import ReportData, report_data
from sealserve.attestation.evidence import Evidence
from sealserve.attestation.report import REPORT_BYTES, SIGNED_BYTES
from sealserve.attestation.simulated import faults as fault_table
from sealserve.attestation.simulated import issue
from sealserve.attestation.simulated.blueprint import Blueprint
from sealserve.attestation.simulated.root import SimulatedRoot, issue_ask
from sealserve.attestation.tcb import Tcb

_FIRMWARE = bytes((29, 55, 1))  # 1.55.29: build, minor, major
_FAMILY_ID = bytes((1, *bytes(15)))  # as confidential containers on Azure have them
_IMAGE_ID = bytes((2, *bytes(15)))


class Machine:
    """A machine under this root that was launched with this HOST_DATA.

    faults: names out of FAULTS. ValueError for an unknown name or HOST_DATA that has not 32 bytes.
    """

    def __init__(
        self,
        root: SimulatedRoot,
        host_data: bytes,
        *,
        faults: Collection[str] = (),
        now: datetime | None = None,
    ) -> None:
        if len(host_data) != 32:
            raise ValueError(f"HOST_DATA has {len(host_data)} bytes; wanted 32")
        chip = hashlib.sha512(b"simulated chip of " + root.ark_sha256).digest()
        good = Blueprint(now or datetime.now(UTC), bytes(host_data), chip, chip)
        self._blueprint = fault_table.apply(faults, good)
        self._key = ec.generate_private_key(ec.SECP384R1())
        self._signer = (
            ec.generate_private_key(ec.SECP384R1()) if self._blueprint.strange_key else self._key
        )
        self._report_id = os.urandom(32)
        self._certificates = _certificates(self._blueprint, root, self._key.public_key())

    @property
    def platform(self) -> str:
        """Always "simulated"."""
        return "simulated"

    def evidence(self, claims: bytes) -> Evidence:
        """Fresh evidence for these runtime claims."""
        return self.answer(report_data(claims), claims)

    def answer(self, data: ReportData, claims: bytes) -> Evidence:
        """Evidence whose report holds these 64 bytes; `claims` is only passed through."""
        members = self._certificates
        return Evidence(
            report=self._report(data),
            leaf=members["leaf"],
            intermediate=members["intermediate"],
            claims=claims,
            root=members["root"],
            crl=members.get("crl"),
        )

    def _report(self, data: bytes) -> bytes:
        blueprint = self._blueprint
        report = bytearray(REPORT_BYTES)
        report[:SIGNED_BYTES] = _signed(blueprint, _spoken_for(blueprint, data), self._report_id)
        for offset, value in blueprint.signed_patch.items():
            report[offset] = value
        signature = self._signer.sign(bytes(report[:SIGNED_BYTES]), ec.ECDSA(hashes.SHA384()))
        r, s = utils.decode_dss_signature(signature)
        report[0x2A0:0x2D0] = r.to_bytes(48, "little")
        report[0x2E8:0x318] = s.to_bytes(48, "little")
        for offset, value in blueprint.unsigned_patch.items():
            report[offset] = value
        return bytes(report[: REPORT_BYTES - blueprint.missing_bytes])


def _spoken_for(blueprint: Blueprint, data: bytes) -> bytes:
    """What the report will say it was asked for; a faulty machine lies."""
    if blueprint.other_claims:
        return report_data(b"other claims")
    return data[:32] + bytes([1] * 32) if blueprint.stray_tail else data


def _signed(blueprint: Blueprint, data: bytes, report_id: bytes) -> bytes:
    """Bytes 0 to 0x2A0 of a report (AMD 56860 rev 1.58, ATTESTATION_REPORT)."""
    head = struct.pack(
        "<IIQ16s16sII8sQII64s48s32s96s32s32s8s",
        blueprint.version,
        blueprint.guest_svn,
        blueprint.policy,
        _FAMILY_ID,
        _IMAGE_ID,
        blueprint.vmpl,
        blueprint.signature_algorithm,
        _raw(blueprint.current_tcb),
        blueprint.platform_info,
        blueprint.key_info,
        0,
        data,
        blueprint.measurement,
        blueprint.host_data,
        bytes(96),  # no ID block, so no digests of its keys
        report_id,
        bytes([0xFF] * 32),  # no migration agent
        _raw(blueprint.reported_tcb),
    )
    tail = struct.pack(
        "<3s21s64s8s3sx3sx8s",
        bytes(blueprint.cpuid),
        bytes(21),
        blueprint.chip_id,
        _raw(blueprint.committed_tcb),
        _FIRMWARE,
        _FIRMWARE,
        _raw(blueprint.launch_tcb),
    )
    return (head + tail).ljust(SIGNED_BYTES, b"\0")


def _raw(version: Tcb) -> bytes:
    return tcb.encode(version, "milan")


def _certificates(
    blueprint: Blueprint, root: SimulatedRoot, key: ec.EllipticCurvePublicKey
) -> dict[str, bytes]:
    members = {
        "leaf": _vcek(blueprint, root, key),
        "intermediate": _ask(blueprint, root),
        "root": root.ark,
    }
    if blueprint.crl:
        members["crl"] = _crl(blueprint, root)
    return {
        label: _flip_last_bit(member) if label in blueprint.flipped else member
        for label, member in members.items()
    }


def _vcek(blueprint: Blueprint, root: SimulatedRoot, key: ec.EllipticCurvePublicKey) -> bytes:
    return issue.certificate(
        serial=0,  # as in every VCEK AMD issues
        issuer=issue.name(blueprint.issuer_name, blueprint.issuer_organization),
        subject=issue.name(blueprint.leaf_name, blueprint.leaf_organization),
        window=_window(blueprint, blueprint.leaf_age, blueprint.leaf_lifetime),
        key=key,
        extensions=issue.vcek_extensions(
            blueprint.levels,
            blueprint.hardware_id,
            struct_version=blueprint.struct_version,
            product_name=blueprint.product_name,
        ),
        signer=root.ask_key,
        scheme=blueprint.leaf_scheme,
    )


def _ask(blueprint: Blueprint, root: SimulatedRoot) -> bytes:
    if not blueprint.ask_reissued:
        return root.ask
    window = _window(blueprint, blueprint.ask_age, blueprint.ask_lifetime)
    return issue_ask(root.ark_key, root.ask_key, window, ca=blueprint.ask_ca)


def _crl(blueprint: Blueprint, root: SimulatedRoot) -> bytes:
    return issue.crl(
        issuer=issue.name(blueprint.crl_issuer),
        window=_window(blueprint, blueprint.crl_age, blueprint.crl_lifetime),
        revoked={issue.ASK_SERIAL: blueprint.now} if blueprint.ask_revoked else {},
        signer_id=issue.key_id(root.ark_key.public_key()),
        signer=root.ark_key,
    )


def _window(blueprint: Blueprint, age: timedelta, lifetime: timedelta) -> tuple[datetime, datetime]:
    start = blueprint.now - age
    return start, start + lifetime


def _flip_last_bit(member: bytes) -> bytes:
    return member[:-1] + bytes([member[-1] ^ 1])
