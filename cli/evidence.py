"""`sealserve evidence`: judge evidence kept in files; keep a server's evidence in files."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from sealserve.attestation.binding import MAX_CLAIMS_BYTES
from sealserve.attestation.bundle import Bundle
from sealserve.attestation.certs import MAX_CERTIFICATE_BYTES
from sealserve.attestation.cose import MAX_MESSAGE_BYTES
from sealserve.attestation.crl import MAX_CRL_BYTES
from sealserve.attestation.hcl import MAX_HCL_BYTES
from sealserve.attestation.pem import MAX_PEM_BYTES
from sealserve.attestation.report import REPORT_BYTES
from sealserve.attestation.thim import MAX_THIM_BYTES
from sealserve.attestation.tpm import MAX_DOCUMENT_BYTES
from sealserve.cli import files
from sealserve.cli.asking import timeout_option
from sealserve.cli.client_certificate import certificate_options, read_certificate
from sealserve.cli.judging import at_option, root_in, root_option, roots_of
from sealserve.cli.output import emit, json_option, say
from sealserve.inference.client.collect import collect
from sealserve.inference.client.kept import bundle_of
from sealserve.policy import Trust
from sealserve.policy.execution.text import MAX_POLICY_BYTES
from sealserve.policy.inspection import Judgement, inspect_evidence
from sealserve.policy.inspection_words import explain, to_json

EXIT: dict[Judgement, int] = {
    "accept": 0,
    "incomplete": 3,
    "crypto-reject": 5,
    "time-reject": 5,
    "policy-reject": 6,
}


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
@root_option
@at_option
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
    root = None if root_file is None else root_in(root_file)
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
    inspection = inspect_evidence(
        bundle,
        roots_of(trust, root),
        at or datetime.now(UTC),
        trust=trust,
        execution_policy=None if policy is None else files.read(policy, MAX_POLICY_BYTES),
    )
    emit(to_json(inspection), explain(inspection, trust), as_json=as_json)
    return EXIT[inspection.judgement]


def _start(path: Path | None, limit: int) -> bytes | None:
    return None if path is None else files.read_start(path, limit)


@command.command(
    "get", epilog="Example: sealserve evidence get model.example.org -o evidence --trust trust.toml"
)
@click.argument("target", metavar="HOST[:PORT]")
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="New folder.",
)
@_file("--trust", "trust_file", "What you expect; without it nothing is judged.")
@certificate_options
@timeout_option
@json_option
def get(
    target: str,
    out: Path,
    trust_file: Path | None,
    certificate_file: Path | None,
    key_file: Path | None,
    timeout_seconds: float,
    as_json: bool,
) -> None:
    """Keep a server's evidence in a folder that `evidence check` can judge years later.

    With --trust the server is verified as `check` does, and nothing is kept of one that fails.
    """
    trust = None if trust_file is None else Trust.load(trust_file)
    certificate = read_certificate(certificate_file, key_file)
    files.check_place(out)
    collected = collect(target, trust, timeout_seconds=timeout_seconds, certificate=certificate)
    kept = bundle_of(collected)
    files.write_folder(out, kept)
    words = f"kept in {out}: {', '.join(kept)}"
    if trust is None:
        say("nothing was judged: `sealserve evidence check` does, README.txt says how")
    emit(
        {
            "folder": str(out),
            "files": list(kept),
            "at": collected.at.isoformat(),
            "verdict": None if collected.verdict is None else collected.verdict.to_json(),
        },
        words if collected.verdict is None else f"{collected.verdict.explain()}\n{words}",
        as_json=as_json,
    )
