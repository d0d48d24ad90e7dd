"""`sealserve evidence`: judge evidence kept in files; keep a server's evidence in files."""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from sealserve.attestation.binding import MAX_CLAIMS_BYTES
from sealserve.attestation.bundle import Bundle, certificate
from sealserve.attestation.certs import MAX_CERTIFICATE_BYTES
from sealserve.attestation.cose import MAX_MESSAGE_BYTES
from sealserve.attestation.crl import MAX_CRL_BYTES
from sealserve.attestation.hcl import MAX_HCL_BYTES
from sealserve.attestation.pem import MAX_PEM_BYTES
from sealserve.attestation.report import REPORT_BYTES
from sealserve.attestation.roots import Roots
from sealserve.attestation.thim import MAX_THIM_BYTES
from sealserve.attestation.tpm import MAX_DOCUMENT_BYTES
from sealserve.attestation.verify import Statement
from sealserve.cli import files
from sealserve.cli.output import emit, json_option, printable
from sealserve.native.errors import ConfigError, EvidenceError, Finding
from sealserve.policy import Trust
from sealserve.policy.execution.text import MAX_POLICY_BYTES
from sealserve.policy.inspection import Inspection, Judgement, Line, inspect
from sealserve.policy.verdict import SIMULATED_BANNER

EXIT: dict[Judgement, int] = {
    "accept": 0,
    "incomplete": 3,
    "crypto-reject": 5,
    "time-reject": 5,
    "policy-reject": 6,
}
WIDTH = 79
CHECK_WIDTH = 21
_MARKS = {"ok": "ok", "failed": "FAIL", "unasked": "--", "note": "note"}
_WORDS: dict[Judgement, str] = {
    "incomplete": "INCOMPLETE, nothing is proven",
    "crypto-reject": "REJECTED, not genuine",
    "time-reject": "REJECTED, not valid at this time",
    "policy-reject": "REJECTED, genuine but not what is expected",
}


def _moment(_ctx: click.Context, _param: click.Parameter, value: str | None) -> datetime | None:
    """A time of RFC 3339, so with a time zone."""
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no time such as 2026-09-01T00:00:00Z") from None
    if moment.tzinfo is None:
        raise click.BadParameter(f"{value!r} has no time zone; add Z for UTC")
    return moment


def _file(name: str, parameter: str, text: str, *, required: bool = False) -> Callable[..., Any]:
    kind = click.Path(path_type=Path, dir_okay=False)
    return click.option(name, parameter, type=kind, required=required, help=text)


@click.group("evidence")
def command() -> None:
    """Judge evidence kept in files; keep a server's evidence in files."""


@command.command(
    "check",
    epilog="Example: sealserve evidence check --report report.bin --leaf vcek.der "
    "--at 2026-09-01T00:00:00Z",
)
@_file("--report", "report", "Attestation report, 1184 bytes.", required=True)
@_file("--leaf", "leaf", "VCEK or VLEK, DER or PEM.")
@_file("--chain", "chain", "Certificates above it, PEM.  [default: AMD's own]")
@_file("--host-amd-cert", "host_certificate", "Leaf and chain as an Azure host has them, JSON.")
@_file("--uvm", "uvm", "Endorsement of the launch, COSE_Sign1.")
@_file("--hcl", "hcl", "HCL report of an Azure confidential VM.")
@_file("--tpm-quote", "quote", "Quote of its vTPM, JSON.")
@_file("--runtime-data", "runtime", "What REPORT_DATA has to be the SHA-256 of.")
@_file("--policy", "policy", "What HOST_DATA has to be the SHA-256 of.")
@_file("--crl", "crl", "AMD's revocation list, DER or PEM.")
@_file("--trust", "trust_file", "What you expect.  [default: no debug, no migration, VMPL 0]")
@_file("--simulated-root", "root_file", "Root of a simulated platform, DER or PEM.")
@click.option(
    "--at",
    metavar="RFC3339",
    callback=_moment,
    help="When it has to be valid.  [default: now]",
)
@json_option
def check(
    report: Path,
    leaf: Path | None,
    chain: Path | None,
    host_certificate: Path | None,
    uvm: Path | None,
    hcl: Path | None,
    quote: Path | None,
    runtime: Path | None,
    policy: Path | None,
    crl: Path | None,
    trust_file: Path | None,
    root_file: Path | None,
    at: datetime | None,
    as_json: bool,
) -> int:
    """Judge evidence in files, without a network: every check, and what was not checked.

    Exit status 0 means accepted. 5 is not genuine, not valid at that time or unreadable; 6 genuine
    but not what is expected; 3 incomplete. 8 is a file that cannot be opened.
    """
    trust = None if trust_file is None else Trust.load(trust_file)
    root = None if root_file is None else _root(root_file)
    bundle = Bundle(
        report=files.read_start(report, 2 * REPORT_BYTES),
        leaf=_start(leaf, max(MAX_CERTIFICATE_BYTES, MAX_PEM_BYTES)),
        chain=_start(chain, MAX_PEM_BYTES),
        host_certificate=_start(host_certificate, MAX_THIM_BYTES),
        root=root,
        crl=_start(crl, max(MAX_CRL_BYTES, MAX_PEM_BYTES)),
        uvm=_start(uvm, MAX_MESSAGE_BYTES),
        hcl=_start(hcl, MAX_HCL_BYTES),
        quote=_start(quote, MAX_DOCUMENT_BYTES),
        runtime=None if runtime is None else files.read(runtime, MAX_CLAIMS_BYTES),
    )
    inspection = inspect(
        bundle,
        _roots(trust, root),
        at or datetime.now(UTC),
        trust=trust,
        execution_policy=None if policy is None else files.read(policy, MAX_POLICY_BYTES),
    )
    emit(_json(inspection), "\n".join(_text(inspection, trust)), as_json=as_json)
    return EXIT[inspection.judgement]


def _start(path: Path | None, limit: int) -> bytes | None:
    return None if path is None else files.read_start(path, limit)


def _root(path: Path) -> bytes:
    try:
        return certificate(files.read(path, MAX_PEM_BYTES))
    except EvidenceError as error:
        raise ConfigError(error.message, file=str(path), hint=error.hint) from error


def _roots(trust: Trust | None, root: bytes | None) -> Roots:
    """Those of the trust file, or the one simulated root, or AMD's."""
    if root is None:
        return Roots.amd() if trust is None else trust.roots()
    digest = hashlib.sha256(root).digest()
    if trust is not None and trust.simulated_root_sha256 != digest:
        raise ConfigError(
            f"this root ({digest.hex()}) is not the one of {trust.file}", key="--simulated-root"
        )
    try:
        return Roots.simulated(digest)
    except ValueError as error:
        raise ConfigError(str(error), key="--simulated-root") from error


def _json(inspection: Inspection) -> dict[str, object]:
    return {
        "verdict": inspection.judgement,
        "failures": [_failure(finding) for finding in inspection.findings],
        "not_checked": list(inspection.not_checked),
        "claims": {} if inspection.statement is None else _claims(inspection.statement),
    }


def _failure(finding: Finding) -> dict[str, str]:
    return {
        "code": finding.code,
        "seen": finding.seen,
        "wanted": finding.wanted,
        "hint": finding.hint,
    }


def _claims(said: Statement) -> dict[str, object]:
    report, endorsement = said.report, said.endorsement
    return {
        "platform": said.platform,
        "line": said.line,
        "signing_key": said.signing_key,
        "csp_id": said.csp_id,
        "chip_id": said.chip_id.hex(),
        "version": report.version,
        "firmware": str(report.current_firmware),
        "tcb": {
            "reported": said.reported_tcb.components(),
            "committed": said.committed_tcb.components(),
            "current": said.current_tcb.components(),
            "launch": said.launch_tcb.components(),
        },
        "cpuid": None if report.cpuid is None else list(report.cpuid),
        "policy": f"0x{report.policy_raw:x}",
        "platform_info": f"0x{report.platform_info.raw:x}",
        "vmpl": report.vmpl,
        "guest_svn": report.guest_svn,
        "measurement": report.measurement.hex(),
        "host_data": report.host_data.hex(),
        "report_data": report.report_data.hex(),
        "report_id": report.report_id.hex(),
        "family_id": report.family_id.hex(),
        "image_id": report.image_id.hex(),
        "id_key_digest": report.id_key_digest.hex(),
        "author_key_digest": report.author_key_digest.hex(),
        "crl_this_update": said.crl_this_update and said.crl_this_update.isoformat(),
        "uvm": endorsement
        and {
            "issuer": endorsement.issuer,
            "feed": endorsement.feed,
            "svn": endorsement.svn,
            "measurement": endorsement.measurement.hex(),
            "signed_at": endorsement.signed_at.isoformat(),
        },
    }


def _text(inspection: Inspection, trust: Trust | None) -> Iterator[str]:
    for line in inspection.lines:
        if line.state != "absent":
            yield from _line(line)
    yield ""
    yield from _summary(inspection, trust)


def _line(line: Line) -> Iterator[str]:
    finding = line.finding
    words = line.sentence if finding is None else _named(finding.code, line.sentence)
    yield from _wrapped(f"  {_MARKS[line.state]:<6}{line.check:<{CHECK_WIDTH}}", words)
    if finding is not None:
        for side, text in (
            ("seen", finding.seen),
            ("wanted", finding.wanted),
            ("hint", finding.hint),
        ):
            if text and text != line.sentence:
                yield from _wrapped(f"          {side:<8}", text)


def _named(code: str, sentence: str) -> str:
    return code if sentence == code else f"{code}: {sentence}"


def _summary(inspection: Inspection, trust: Trust | None) -> Iterator[str]:
    judgement, said = inspection.judgement, inspection.statement
    rest = "; ".join(inspection.not_checked)
    if judgement == "accept":
        whose = "" if trust is None else f', acceptable to "{trust.name}"'
        yield from _wrapped("", f"genuine{whose}; NOT CHECKED: {rest}", "  ")
    else:
        codes = ", ".join(finding.code for finding in inspection.findings)
        yield from _wrapped("", f"{_WORDS[judgement]}: {codes}", "  ")
        yield from _wrapped("", f"NOT CHECKED: {rest}", "  ")
    if said is not None and said.platform == "simulated":
        yield SIMULATED_BANNER


def _wrapped(start: str, words: str, indent: str = "") -> list[str]:
    """Lines of at most WIDTH; long digests are broken where they have to be."""
    return textwrap.wrap(
        printable(words),
        WIDTH,
        initial_indent=start,
        subsequent_indent=indent or " " * len(start),
        break_on_hyphens=False,
    )
