"""Verifiers of Google and of virtee judge the same evidence as ours: `make interop`.

    python tests/interop/run.py FOLDER

Builds go-sev-guest's `check` with Go and `snpguest` with Rust under FOLDER, from their registries,
and shows both what ours is shown: every recorded machine, each once more with one bit changed, and
simulated machines, good and faulty. One line for each question; exit code 1 if an answer differs
from ours or a verifier could not be built, with the reason.

Two things are not asked. What a verifier is known not to look at (`beyond`), and whether somebody
believes the simulated platform's name: its certificates say that they are not AMD's, and `check`
refuses them for that. It is shown the same machines under AMD's name, made here and nowhere else.
"""

from __future__ import annotations

import shutil
import ssl
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:1] = [str(ROOT / "src"), str(ROOT / "tests")]

from sealserve.attestation import Evidence, roots  # noqa: E402
from sealserve.attestation.certificate_table import ARK, ASK, VCEK  # noqa: E402
from sealserve.attestation.certs import Leaf  # noqa: E402
from sealserve.attestation.report import Report  # noqa: E402
from sealserve.attestation.roots import AMD_ORGANIZATION, Roots  # noqa: E402
from sealserve.attestation.simulated import Machine, SimulatedRoot, issue  # noqa: E402
from sealserve.attestation.tcb import LINES, Line  # noqa: E402
from sealserve.attestation.verify import signed_report  # noqa: E402
from sealserve.native.errors import EvidenceError  # noqa: E402
from support.attestation_table import table  # noqa: E402
from support.attestation_vectors import vectors  # noqa: E402

CHECK = "github.com/google/go-sev-guest/tools/check@v0.15.0"
SNPGUEST = ("snpguest", "--version", "0.11.0")
FAULTS = ("other-key", "leaf-signature", "intermediate-signature", "microcode-level", "hwid")
MEASUREMENT_BYTE = 0x90
ZEN_4C = (0xA0,)  # the CPU model of Bergamo and Siena, on the Genoa line
PRODUCT = {"milan": "Milan-B0", "genoa": "Genoa-B1"}


class NotBuiltError(Exception):
    """Why a verifier could not be built."""


@dataclass(frozen=True)
class Question:
    """Evidence with its root (DER), and whether we find chain and report genuine."""

    name: str
    evidence: Evidence
    root: bytes
    line: Line
    genuine: bool

    @property
    def report(self) -> Report:
        return Report.parse(self.evidence.report)

    @property
    def kind(self) -> str:
        return Leaf.parse(self.evidence.leaf).kind


class Verifier(Protocol):
    """name: for people. beyond: why it is not asked this, if so. accepts: its own verdict."""

    name: str

    def build(self, folder: Path) -> None: ...
    def beyond(self, question: Question) -> str: ...
    def accepts(self, question: Question, folder: Path) -> bool: ...


def built(command: list[str], **environment: str) -> None:
    """Run what builds something; NotBuiltError with its last words if it does not."""
    if shutil.which(command[0]) is None:
        raise NotBuiltError(f"no {command[0]} here")
    done = subprocess.run(
        ["env", *(f"{name}={value}" for name, value in environment.items()), *command],
        capture_output=True,
        check=False,
        text=True,
    )
    if done.returncode:
        raise NotBuiltError(done.stderr.strip()[-2000:])


def content(*command: object) -> bool:
    """Whether a verifier is content."""
    done = subprocess.run([*map(str, command)], capture_output=True, check=False)
    return done.returncode == 0


class GoSevGuest:
    """Google's, in Go: reads a report followed by its certificate table."""

    name = "go-sev-guest"

    def build(self, folder: Path) -> None:
        self._check = folder / "bin" / "check"
        if not self._check.exists():
            built(["go", "install", CHECK], GOBIN=str(folder / "bin"))

    def beyond(self, question: Question) -> str:
        if question.line == "turin":
            return "its release does not read Turin's certificates"
        if (question.report.cpuid or ())[1:2] == ZEN_4C:
            return "it has no line for the CPU model of Bergamo and Siena"
        if question.kind == "vlek":
            return "it has no ASVK of its own and takes none from a table"
        return ""

    def accepts(self, question: Question, folder: Path) -> bool:
        evidence = question.evidence
        authorities = folder / "authorities.pem"
        authorities.write_text(_pem(evidence.intermediate) + _pem(question.root))
        file = folder / "report-and-table"
        contents = {VCEK: evidence.leaf, ASK: evidence.intermediate, ARK: question.root}
        file.write_bytes(evidence.report + table(contents))
        policy, platform = (struct.unpack_from("<Q", evidence.report, at)[0] for at in (8, 0x40))
        return content(
            self._check,
            *("-in", file, "-network=false", "-provisional=true"),
            # What is acceptable is another question: everything that this report has.
            *(f"-guest_policy={policy}", f"-platform_info={platform}"),
            f"-product_name={PRODUCT[question.line]}",
            f"-product_key_path={authorities}",
        )


class SnpGuest:
    """virtee's, in Rust: reads a folder of certificates."""

    name = "snpguest"

    def build(self, folder: Path) -> None:
        self._snpguest = folder / "bin" / "snpguest"
        if not self._snpguest.exists():
            built(["cargo", "install", "--locked", "--root", str(folder), *SNPGUEST])

    def beyond(self, question: Question) -> str:
        if question.name.endswith("hwid"):
            return "its comparison of hwID and CHIP_ID is never reached"
        if datetime.now(UTC) > Leaf.parse(question.evidence.leaf).certificate.not_after:
            return "it does not look at the time"
        return ""

    def accepts(self, question: Question, folder: Path) -> bool:
        evidence, vlek = question.evidence, question.kind == "vlek"
        certificates = folder / "certificates"
        shutil.rmtree(certificates, ignore_errors=True)
        certificates.mkdir()
        (certificates / "ark.pem").write_text(_pem(question.root))
        (certificates / ("asvk.pem" if vlek else "ask.pem")).write_text(_pem(evidence.intermediate))
        (certificates / ("vlek.pem" if vlek else "vcek.pem")).write_text(_pem(evidence.leaf))
        report = folder / "report"
        report.write_bytes(evidence.report)
        model = ("--processor-model", question.line)
        return content(self._snpguest, "verify", "certs", certificates) and content(
            self._snpguest, "verify", "attestation", *model, certificates, report
        )


# ---- what is asked


def questions() -> Iterator[Question]:
    """Everything both sides are asked."""
    yield from _recorded()
    yield from _simulated()


def _recorded() -> Iterator[Question]:
    for row in vectors("snp", "report.bin", "leaf.der"):
        evidence = row.evidence()
        issuer = Leaf.parse(evidence.leaf).certificate.issuer.common_name
        line = next(line for line in LINES if line == issuer.split("-")[-1].lower())
        pem = (Path(roots.__file__).parent / f"{line}_ark.pem").read_text()
        root = ssl.PEM_cert_to_DER_cert(pem)
        changed = replace(evidence, report=_flipped(evidence.report, MEASUREMENT_BYTE))
        for name, shown in ((row.id, evidence), (f"{row.id}, one bit changed", changed)):
            yield Question(name, shown, root, line, _genuine(shown, Roots.amd()))


def _simulated() -> Iterator[Question]:
    with _under_amds_name():
        for line in LINES:
            keys = SimulatedRoot.create(datetime.now(UTC), line)
            for fault in ("", *FAULTS):
                evidence = Machine(keys, bytes(32), faults=[fault] if fault else []).evidence(b"{}")
                # Ours refuses AMD's name under another root; what it finds of each fault under
                # the simulated name is shown by tests/attestation/test_verify.py.
                name = f"simulated {line}{', ' if fault else ''}{fault}"
                yield Question(name, evidence, keys.ark, line, genuine=not fault)


@contextmanager
def _under_amds_name() -> Iterator[None]:
    ours = issue.name
    issue.name = lambda common_name, *_: ours(common_name, AMD_ORGANIZATION)
    try:
        yield
    finally:
        issue.name = ours


def _genuine(evidence: Evidence, believed: Roots) -> bool:
    with suppress(EvidenceError):
        signed_report(evidence, believed, datetime.now(UTC))
        return True
    return False


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def _pem(der: bytes) -> str:
    return ssl.DER_cert_to_PEM_cert(der)


# ---- asking


def ask(verifier: Verifier, folder: Path) -> int:
    """How many answers differ from ours."""
    scratch = folder / verifier.name
    scratch.mkdir(parents=True, exist_ok=True)
    differ = 0
    for question in questions():
        if reason := verifier.beyond(question):
            print(f"{verifier.name}: {question.name}: not asked: {reason}")
            continue
        accepts = verifier.accepts(question, scratch)
        differ += accepts != question.genuine
        verdict = "as we do" if accepts == question.genuine else "WE DO NOT"
        print(f"{verifier.name}: {question.name}: {'accepts' if accepts else 'refuses'}, {verdict}")
    return differ


def main(folder: Path) -> int:
    """The exit code."""
    failed = 0
    for verifier in (GoSevGuest(), SnpGuest()):
        try:
            verifier.build(folder)
        except NotBuiltError as error:
            print(f"{verifier.name}: COULD NOT BE BUILT: {error}")
            failed += 1
            continue
        failed += ask(verifier, folder)
    print(f"{failed} differences or missing verifiers")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute()))
