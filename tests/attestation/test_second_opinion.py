"""Verifiers we did not write agree: `openssl` on every row, `tinfoil` on what it knows.

openssl judges a chain and a report's signature, and nothing else: a row that is not acceptable but
genuine is good to it. `tinfoil` verifies reports of Genoa machines signed by a VCEK, by code of its
own from the bytes on; its download of the VCEK is answered with the recorded one.
"""

from __future__ import annotations

import json
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sealserve.attestation import Evidence, Roots, asn1, roots
from sealserve.attestation.certs import Leaf
from sealserve.attestation.report import Report
from sealserve.attestation.simulated import SimulatedRoot
from sealserve.attestation.verify import signed_report
from sealserve.native.errors import EvidenceError
from support.attestation_simulated import evidence_of
from support.attestation_vectors import Vector, vector, vectors

ROOT = Path(__file__).resolve().parent.parent.parent
TINFOIL = ROOT / ".venv-tinfoil" / "bin" / "python"
PROGRAM = ROOT / "tests" / "support" / "tinfoil_peer.py"
SIGNED_BYTES = 0x2A0
ROWS = vectors("snp", "report.bin", "leaf.der")
of_each = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)


# ---- openssl


def openssl(*arguments: object) -> bool:
    """Whether it is content."""
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, check=False)
    return done.returncode == 0


class Files:
    """Evidence as files that openssl reads: PEM, and the signature as DER."""

    def __init__(self, folder: Path, evidence: Evidence, root: bytes) -> None:
        self.folder = folder
        pem = {"root": root, "intermediate": evidence.intermediate, "leaf": evidence.leaf}
        for name, data in pem.items():
            (folder / f"{name}.der").write_bytes(data)
            assert openssl("x509", "-in", self.path(name, "der"), "-out", self.path(name))
        key = ("x509", "-in", self.path("leaf"), "-pubkey", "-noout", "-out", self.path("key"))
        assert openssl(*key)
        report = evidence.report
        (folder / "signed").write_bytes(report[:SIGNED_BYTES])
        numbers = (report[at : at + 72] for at in (0x2A0, 0x2E8))
        integers = (asn1.integer(int.from_bytes(number, "little")) for number in numbers)
        (folder / "signature").write_bytes(asn1.sequence(*integers))

    def path(self, name: str, kind: str = "pem") -> Path:
        return self.folder / f"{name}.{kind}"

    def chain_is_good(self, at: datetime) -> bool:
        trusted = ("-CAfile", self.path("root"), "-untrusted", self.path("intermediate"))
        # Not -x509_strict: AMD's leaves do not name their issuer's key.
        alone = ("-attime", int(at.timestamp()), "-no-CApath", "-no-CAstore")
        return openssl("verify", *alone, *trusted, self.path("leaf"))

    def signature_is_good(self) -> bool:
        signature = ("-signature", self.folder / "signature", self.folder / "signed")
        return openssl("dgst", "-sha384", "-verify", self.path("key"), *signature)

    def good(self, at: datetime) -> bool:
        return self.chain_is_good(at) and self.signature_is_good()


def amd_root(evidence: Evidence) -> bytes:
    """The root AMD has for the line of this leaf (DER)."""
    line = Leaf.parse(evidence.leaf).certificate.issuer.common_name.split("-")[-1].lower()
    pem = (Path(roots.__file__).parent / f"{line}_ark.pem").read_text()
    return ssl.PEM_cert_to_DER_cert(pem)


def ours(evidence: Evidence, believed: Roots, at: datetime) -> bool:
    """Whether we find chain and report genuine, whatever the report speaks for."""
    with suppress(EvidenceError):
        signed_report(evidence, believed, at)
        return True
    return False


@of_each
def test_openssl_agrees(row: Vector, tmp_path: Path) -> None:
    evidence = row.evidence()
    files = Files(tmp_path, evidence, amd_root(evidence))
    assert files.good(row.at) == ours(evidence, Roots.amd(), row.at)


def test_both_verdicts_occur() -> None:
    """Otherwise agreement is easy."""
    verdicts = [ours(row.evidence(), Roots.amd(), row.at) for row in ROWS]
    assert verdicts.count(True) > 15
    assert verdicts.count(False) > 3


SIMULATED = {
    "": (True, True),
    "debug": (True, True),  # genuine, and not acceptable: no question for openssl
    "other-key": (True, False),
    "leaf-signature": (False, True),
    "intermediate-signature": (False, True),
    "not-a-ca": (False, True),
    "chain-names": (False, True),
    "leaf-expired": (False, True),
    "leaf-early": (False, True),
    "intermediate-expired": (False, True),
    "intermediate-early": (False, True),
}


@pytest.mark.parametrize("fault", SIMULATED, ids=lambda fault: fault or "good")
def test_openssl_agrees_about_the_simulated_platform(
    fault: str, simulated_root: SimulatedRoot, simulated_roots: Roots, tmp_path: Path
) -> None:
    evidence = evidence_of(simulated_root, *filter(None, [fault]))
    assert evidence.root is not None
    now = datetime.now(UTC)
    files = Files(tmp_path, evidence, evidence.root)
    assert (files.chain_is_good(now), files.signature_is_good()) == SIMULATED[fault]
    assert ours(evidence, simulated_roots, now) == all(SIMULATED[fault])


# ---- tinfoil, which knows Genoa, and a VCEK with a chip's 64 bytes

GENOA = (
    "ccfdns/aci-genoa-v3",
    "ms-tav/genoa-v3-aci",
    "openpcc/az-cvm-genoa-v3",
    "veraison/genoa-v3-configfs-tsm",
)
CHANGED = range(0, 0x4A0, 37)  # one bit each, in every part of a report


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def cases(row: Vector) -> Iterator[Evidence]:
    """The row as it is, and with one thing changed."""
    evidence = row.evidence()
    ends = len(evidence.leaf) - 1
    yield evidence
    for at in CHANGED:
        yield replace(evidence, report=flipped(evidence.report, at))
    for at in (ends, ends - 300, ends - 600):
        yield replace(evidence, leaf=flipped(evidence.leaf, at))


def asked(folder: Path, evidences: list[Evidence]) -> list[dict[str, str]]:
    """What tinfoil says of each: its refusal, or the fields it read."""
    for number, evidence in enumerate(evidences):
        (folder / f"{number}.report").write_bytes(evidence.report)
        (folder / f"{number}.leaf").write_bytes(evidence.leaf)
    assert TINFOIL.exists(), "`make build/stamps/tinfoil` sets up tinfoil"
    done = subprocess.run(
        [TINFOIL, "-I", PROGRAM, folder, str(len(evidences))],
        capture_output=True,
        check=True,
        env={"HOME": str(folder), "PATH": "/usr/bin:/bin"},
    )
    told: list[dict[str, str]] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize("name", GENOA)
def test_tinfoil_agrees(name: str, tmp_path: Path) -> None:
    row = vector(name)
    evidences = list(cases(row))
    told = asked(tmp_path, evidences)
    good = told[0]
    report = Report.parse(evidences[0].report)
    assert good == {
        "measurement": report.measurement.hex(),
        "host_data": report.host_data.hex(),
        "report_data": report.report_data.hex(),
        "chip_id": evidences[0].report[0x1A0:0x1E0].hex(),
    }
    for evidence, verdict in zip(evidences, told, strict=True):
        assert ("refused" not in verdict) == ours(evidence, Roots.amd(), row.at), verdict
