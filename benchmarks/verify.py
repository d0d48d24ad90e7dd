"""How long does verifying a confidential container take, beside the signatures it stands on?

Evidence of a real machine (Milan, Azure Container Instances) with the endorsement of its utility
VM. The floor is the arithmetic alone: the signatures that are checked, by the same library, over
the same bytes, with keys that were read before. Everything else is ours: reading and comparing.

"Again" is what a process does that met the machine before. It remembers roots, the endorsement
(judged at the time of its signing, so for good), how certificates read, and which of them were
signed by which key; the report's signature is new each time. "Roots already checked" checks the
signatures of the chain too. "In full" checks every signature, root and endorsement included, of
documents that were read before. "The first time" forgets all of that, and reads AMD's root from
the disk.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils
from cryptography.hazmat.primitives.serialization import load_der_public_key
from support.native import one_core
from support.options import options
from support.report import Report, begin, event

from sealserve.attestation import (
    Evidence,
    Roots,
    certs,
    der,
    did_x509,
    pem,
    roots,
    tcb,
    uvm,
    verify,
    x509_path,
)
from sealserve.attestation.certs import Certificate, Leaf
from sealserve.attestation.cose import Sign1

QUESTION = "How long does verifying a confidential container take?"
VECTORS = Path(__file__).resolve().parent.parent / "tests" / "vectors"
RECORDED = VECTORS / "azure" / "cleanroom" / "maa-request.json"
AT = datetime(2026, 9, 1, tzinfo=UTC)
CHAIN = (certs._verify,)
VERDICTS = (*CHAIN, roots.ark, roots._self_signed, x509_path._require_path, uvm._read)
REMEMBERED = (
    *VERDICTS,
    certs._certificate,
    certs._leaf,
    certs._leaf_key,
    certs._name,
    certs._public_key,
    roots._shipped,
    x509_path._read,
    did_x509._fingerprint,
    did_x509._model,
    did_x509._parse,
    tcb.components,
    tcb.decode,
    der.object_identifier,
)
Check = Callable[[], object]


def evidence() -> Evidence:
    """What that machine sent to an attestation service."""
    request = json.loads(RECORDED.read_text())
    told = json.loads(decoded(request["report"]))
    leaf, intermediate, _root = pem.read(decoded(told["VcekCertChain"]), "CERTIFICATE", at_most=3)
    return Evidence(
        report=decoded(told["SnpReport"]),
        leaf=leaf,
        intermediate=intermediate,
        claims=decoded(request["runtimeData"]["data"]),
        uvm_endorsement=decoded(json.loads(decoded(told["Endorsements"]))["Uvm"][0]),
    )


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def pss(issuer: Certificate, signed: Certificate) -> Check:
    """One signature of AMD's."""
    scheme = padding.PSS(mgf=padding.MGF1(hashes.SHA384()), salt_length=48)
    key = load_der_public_key(issuer.spki)
    return partial(key.verify, signed.signature, signed.signed, scheme, hashes.SHA384())


def report_signature(given: Evidence) -> Check:
    key = load_der_public_key(Leaf.parse(given.leaf).certificate.spki)
    numbers = (given.report[at : at + 72] for at in (0x2A0, 0x2E8))
    signature = utils.encode_dss_signature(*(int.from_bytes(n, "little") for n in numbers))
    return partial(key.verify, signature, given.report[:0x2A0], ec.ECDSA(hashes.SHA384()))


def endorsement_signatures(data: bytes) -> tuple[Check, list[Check]]:
    """That of the message, and those of its chain, root included."""
    message = Sign1.parse(data)
    chain = [x509.load_der_x509_certificate(der) for der in message.protected[33]]
    signed = cbor2.dumps(["Signature1", message.signed_header, b"", message.payload])
    scheme = padding.PSS(mgf=padding.MGF1(hashes.SHA384()), salt_length=48)
    whole = partial(
        chain[0].public_key().verify, message.signature, signed, scheme, hashes.SHA384()
    )
    issuers = (*chain[1:], chain[-1])
    path = [
        partial(
            issuer.public_key().verify,
            below.signature,
            below.tbs_certificate_bytes,
            below.signature_algorithm_parameters,
            below.signature_hash_algorithm,
        )
        for below, issuer in zip(chain, issuers, strict=True)
    ]
    return whole, path


def each(checks: Sequence[Check]) -> Check:
    def run() -> None:
        for check in checks:
            check()

    return run


def forgetting(remembered: Sequence[Any], given: Evidence) -> Check:
    """Verify after these were forgotten."""

    def run() -> None:
        for each_one in remembered:
            each_one.cache_clear()
        verify(given, Roots.amd(), AT)

    return run


def compare(report: Report) -> None:
    given = evidence()
    ask, leaf = Certificate.parse(given.intermediate), Leaf.parse(given.leaf).certificate
    ark = roots.ark("milan")
    whole, path = endorsement_signatures(given.uvm_endorsement or b"")
    always = [pss(ark, ask), pss(ask, leaf), report_signature(given)]
    once = [pss(ark, ark), whole, *path]
    again = event("verify, a machine seen before", lambda: verify(given, Roots.amd(), AT))
    chain = event("verify, roots already checked", forgetting(CHAIN, given))
    full = event("verify in full, documents read before", forgetting(VERDICTS, given))
    first = event("verify, the first time in a process", forgetting(REMEMBERED, given))
    floor = event(f"its {len(always)} signatures alone", each(always))
    floor_first = event(f"its {len(always) + len(once)} signatures alone", each(always + once))
    parts = [
        event("report, ECDSA P-384", always[2]),
        event("leaf and intermediate, RSA-4096 PSS", each(always[:2])),
        event("endorsement, RSA PSS, and its chain", each([whole, *path])),
    ]
    speeds = report.compare("Verified again", [again, chain], [floor, *parts])
    report.at_most("a machine seen before", speeds[again.name], speeds[parts[0].name])
    report.at_most("roots already checked", speeds[chain.name], speeds[floor.name], 1.15)
    speeds = report.compare("Verified in full", [full, first], [floor_first])
    report.at_most("every signature", speeds[full.name], speeds[floor_first.name], 1.3)
    report.at_most("everything anew", speeds[first.name], speeds[floor_first.name], 1.3)


def main() -> None:
    report = begin("verify", QUESTION, options(QUESTION, repeats=25))
    with one_core():
        compare(report)
    report.finish()


main()
