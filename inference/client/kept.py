"""Collected evidence as files that outlive the server: what anybody needs to judge it again."""

from __future__ import annotations

import textwrap

from sealserve.attestation import pem
from sealserve.inference.client.collect import Collected

_OPTIONS = {
    "report.bin": "--report",
    "leaf.der": "--leaf",
    "chain.pem": "--chain",
    "crl.der": "--crl",
    "uvm.cose": "--uvm",
    "runtime.json": "--runtime-data",
    "simulated_root.der": "--simulated-root",
}
_WHAT = {
    "report.bin": "attestation report, as AMD's firmware wrote it",
    "leaf.der": "certificate of the key that signed the report (VCEK or VLEK)",
    "chain.pem": "the certificate that issued it, and the root where it is simulated",
    "crl.der": "AMD's revocation list, as the server had it",
    "uvm.cose": "endorsement of what was launched",
    "runtime.json": "what the report speaks for: keys, roots of models, nonces",
    "evidence.cbor": "all of that as the server sent it",
    "server.der": "the server's TLS certificate; runtime.json names its key",
    "nonce.bin": "our nonce; runtime.json names it, so the report is younger than it",
    "simulated_root.der": "root of the SIMULATED platform: proves nothing about hardware",
}


def bundle_of(collected: Collected) -> dict[str, bytes]:
    """The files by name, README.txt first. A simulated root is a file of its own."""
    evidence = collected.evidence
    chain = [evidence.intermediate, *([evidence.root] if evidence.root else [])]
    members = {
        "report.bin": evidence.report,
        "leaf.der": evidence.leaf,
        "chain.pem": b"".join(pem.write(der, "CERTIFICATE") for der in chain),
        "crl.der": evidence.crl,
        "uvm.cose": evidence.uvm_endorsement,
        "runtime.json": evidence.claims,
        "simulated_root.der": evidence.root,
        "evidence.cbor": collected.encoded,
        "server.der": collected.certificate,
        "nonce.bin": collected.nonce,
    }
    files = {name: data for name, data in members.items() if data is not None}
    return {"README.txt": _readme(collected, list(files)).encode(), **files}


def _readme(collected: Collected, names: list[str]) -> str:
    at = collected.at.isoformat(timespec="seconds")
    judged = "nobody judged it then"
    if collected.verdict is not None:
        judged = f'it was found acceptable to "{collected.verdict.trust_name}"'
    words = " ".join(f"{option} {name}" for name, option in _OPTIONS.items() if name in names)
    command = textwrap.wrap(
        f"sealserve evidence check {words} --at {at}",
        76,
        initial_indent="    ",
        subsequent_indent="        ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    lines = [
        f"Evidence of the server at {collected.address}, asked for at {at}; {judged}.",
        "",
        *(f"    {name:<20}{_WHAT[name]}" for name in names),
        "",
        "Judge it, now or in years, as of the time it was made:",
        "",
        " \\\n".join(command),
        "",
        "A trust file (--trust) says what you expect; without one the answer lists what was",
        "not checked. That these files are the ones of that day, only you can know.",
        "",
    ]
    return "\n".join(lines)
