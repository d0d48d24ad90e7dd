"""A simulated machine: certificates issued at its start, and a report whenever one is asked for.

The report has AMD's exact layout and is signed the way the firmware signs, so that the production
verifier runs unchanged on it.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Collection, Mapping
from datetime import UTC, datetime

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from sealserve.attestation import tcb
from sealserve.attestation.binding import ReportData, report_data
from sealserve.attestation.evidence import Evidence
from sealserve.attestation.report import ACCEPTED_VERSIONS, REPORT_BYTES, SIGNED_BYTES, SigningKey
from sealserve.attestation.simulated import blueprint, chain, host
from sealserve.attestation.simulated import faults as fault_table
from sealserve.attestation.simulated.blueprint import Blueprint
from sealserve.attestation.simulated.endorser import SimulatedEndorser, UvmForm
from sealserve.attestation.simulated.model import MODELS, Model
from sealserve.attestation.simulated.provider import SimulatedProvider
from sealserve.attestation.simulated.root import SimulatedRoot
from sealserve.attestation.tcb import Line, Tcb

_FAMILY_ID = bytes((1, *bytes(15)))  # as confidential containers on Azure have them
_IMAGE_ID = bytes((2, *bytes(15)))


class Machine:
    """A machine under this root that was launched with this HOST_DATA.

    model: a name out of MODELS, of the root's line; by default the one called like the line.
    provider: signs as its VLEK; without one the machine signs with its chip's VCEK.
    report_version: by default the one this model's firmware gives.
    endorser: vouches for the launch; without one there is no endorsement. uvm_form: which of the
    two forms that has.
    faults: names out of FAULTS. ValueError for a name or version that is unknown, a fault that
    does not show on such a machine, or HOST_DATA that has not 32 bytes.
    """

    def __init__(
        self,
        root: SimulatedRoot,
        host_data: bytes,
        *,
        model: str | None = None,
        provider: SimulatedProvider | None = None,
        report_version: int | None = None,
        endorser: SimulatedEndorser | None = None,
        uvm_form: UvmForm = "json",
        faults: Collection[str] = (),
        now: datetime | None = None,
    ) -> None:
        if len(host_data) != 32:
            raise ValueError(f"HOST_DATA has {len(host_data)} bytes; wanted 32")
        made = MODELS[model or root.line]
        if made.line != root.line:
            raise ValueError(f"a {made.name} machine is not under the root of {root.line}")
        self._blueprint = _planned(
            made,
            "vlek" if provider else "vcek",
            report_version,
            uvm_form if endorser else None,
            faults,
            host_data=bytes(host_data),
            chip=hashlib.sha512(b"simulated chip of " + root.ark_sha256).digest(),
            now=now or datetime.now(UTC),
        )
        self._key = _new_key(self._blueprint)
        self._signer = _new_key(self._blueprint) if self._blueprint.strange_key else self._key
        self._report_id = os.urandom(32)
        self._chain = chain.issued(self._blueprint, root, provider, self._key.public_key())
        self._endorsement = _endorsement(self._blueprint, endorser)

    @property
    def platform(self) -> str:
        """Always "simulated"."""
        return "simulated"

    def evidence(self, claims: bytes) -> Evidence:
        """Fresh evidence for these runtime claims."""
        return self.answer(report_data(claims), claims)

    def answer(self, data: ReportData, claims: bytes) -> Evidence:
        """Evidence whose report holds these 64 bytes; `claims` is only passed through."""
        return Evidence(
            report=self.report(data),
            leaf=self._chain.leaf,
            intermediate=self._chain.intermediate,
            claims=claims,
            root=self._chain.root,
            crl=self._chain.crl,
            uvm_endorsement=self._endorsement,
        )

    @property
    def endorsement(self) -> bytes | None:
        """The endorsement of its launch, None if there is none."""
        return self._endorsement

    def table(self) -> bytes:
        """The certificate table its host puts beside a report."""
        return host.table(self._chain, self._blueprint.kind)

    def security_context(self, policy: bytes) -> Mapping[str, bytes]:
        """The files a confidential container finds, by name. policy: its execution policy.

        ValueError for machines no confidential container runs on: without an endorsement, or
        with a VLEK, which the host's document has no place for.
        """
        if self._endorsement is None or self._blueprint.kind != "vcek":
            raise ValueError("a security context needs a VCEK and an endorsement of the launch")
        raw = _raw(self._blueprint.reported_tcb, self._blueprint.line)
        return host.security_context(host.thim(self._chain, raw), self._endorsement, policy)

    def report(self, data: ReportData) -> bytes:
        """A fresh report that holds these 64 bytes, as the firmware would write it."""
        plan = self._blueprint
        report = bytearray(REPORT_BYTES)
        report[:SIGNED_BYTES] = _signed(plan, _spoken_for(plan, data), self._report_id)
        for offset, value in plan.signed_patch.items():
            report[offset] = value
        signature = self._signer.sign(bytes(report[:SIGNED_BYTES]), ec.ECDSA(hashes.SHA384()))
        r, s = utils.decode_dss_signature(signature)
        report[0x2A0:0x2D0] = r.to_bytes(48, "little")
        report[0x2E8:0x318] = s.to_bytes(48, "little")
        for offset, value in plan.unsigned_patch.items():
            report[offset] = value
        return bytes(report[: REPORT_BYTES - plan.missing_bytes])


def require_possible(
    model: str,
    kind: SigningKey,
    report_version: int | None,
    uvm_form: UvmForm | None,
    faults: Collection[str],
) -> None:
    """ValueError if no such machine can be, as `Machine` would say, before a root is needed."""
    now = datetime.now(UTC)
    chip = bytes(blueprint.CHIP_BYTES)
    _planned(
        MODELS[model],
        kind,
        report_version,
        uvm_form,
        faults,
        host_data=bytes(32),
        chip=chip,
        now=now,
    )


def _planned(
    model: Model,
    kind: SigningKey,
    report_version: int | None,
    uvm_form: UvmForm | None,
    faults: Collection[str],
    *,
    host_data: bytes,
    chip: bytes,
    now: datetime,
) -> Blueprint:
    version = report_version or model.version
    if version not in ACCEPTED_VERSIONS:
        raise ValueError(f"no report has version {version}; wanted 2, 3, 4 or 5")
    good = blueprint.good(now, model, kind, version, host_data, chip, uvm_form)
    return fault_table.apply(faults, good)


def _endorsement(plan: Blueprint, endorser: SimulatedEndorser | None) -> bytes | None:
    if endorser is None or plan.statement is None:
        return None
    return endorser.endorse(plan.statement, plan.now)


def _new_key(plan: Blueprint) -> ec.EllipticCurvePrivateKey:
    curve = ec.SECP384R1() if plan.curve == "secp384r1" else ec.SECP256R1()
    return ec.generate_private_key(curve)


def _spoken_for(plan: Blueprint, data: bytes) -> bytes:
    """What the report will say it was asked for; a faulty machine lies."""
    if plan.other_claims:
        return report_data(b"other claims")
    return data[:32] + bytes([1] * 32) if plan.stray_tail else data


def _signed(plan: Blueprint, data: bytes, report_id: bytes) -> bytes:
    """Bytes 0 to 0x2A0 of a report (AMD 56860 rev 1.58, ATTESTATION_REPORT)."""
    line = plan.line
    head = struct.pack(
        "<IIQ16s16sII8sQII64s48s32s48s48s32s32s8s",
        plan.version,
        plan.guest_svn,
        plan.policy,
        _FAMILY_ID,
        _IMAGE_ID,
        plan.vmpl,
        plan.signature_algorithm,
        _raw(plan.current_tcb, line),
        plan.platform_info,
        plan.key_info,
        0,
        data,
        plan.measurement,
        plan.host_data,
        plan.id_key_digest,
        bytes(48),  # no author key
        report_id,
        bytes([0xFF] * 32),  # no migration agent
        _raw(plan.reported_tcb, line),
    )
    tail = struct.pack(
        "<3s21s64s8s3sx3sx8s",
        bytes(plan.cpuid) if plan.version >= 3 else b"",
        bytes(21),
        plan.chip_id,
        _raw(plan.committed_tcb, line),
        bytes(plan.current_firmware),
        bytes(plan.committed_firmware),
        _raw(plan.launch_tcb, line),
    )
    vectors = struct.pack("<QQ", plan.launch_mitigations, plan.mitigations)
    return (head + tail + vectors).ljust(SIGNED_BYTES, b"\0")


def _raw(version: Tcb, line: Line) -> bytes:
    return tcb.encode(version, line)
